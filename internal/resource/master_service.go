package resource

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Names of the Cluster Protocol's ports in Service and container: the usual one, and that of the PROXY protocol.
const (
	clusterPort = "cluster"
	proxyPort   = "cluster-proxy"
)

// MasterService is how refineries reach the active master. It selects no pods, because standbys are ready and do not listen:
// its endpoint is in MasterEndpointSlice.
func MasterService(m *v1alpha1.ClusterMaster) *v1.ServiceApplyConfiguration {
	chosen := m.Spec.Service
	port := v1.ServicePort().WithName(clusterPort).WithProtocol(corev1.ProtocolTCP).
		WithPort(chosen.Port).WithTargetPort(intstr.FromInt32(v1alpha1.DefaultPort))
	port.NodePort = chosen.NodePort
	spec := v1.ServiceSpec().WithType(chosen.Type).WithPorts(port).WithIPFamilies(chosen.IPFamilies...)
	if p := chosen.ProxyProtocol; p != nil {
		spec.WithPorts(v1.ServicePort().WithName(proxyPort).WithProtocol(corev1.ProtocolTCP).
			WithPort(p.Port).WithTargetPort(intstr.FromInt32(v1alpha1.ProxyPort)))
	}
	if chosen.ExternalTrafficPolicy != "" {
		spec.WithExternalTrafficPolicy(chosen.ExternalTrafficPolicy)
	}
	if chosen.IPFamilyPolicy != "" {
		spec.WithIPFamilyPolicy(chosen.IPFamilyPolicy)
	}
	spec.LoadBalancerClass = chosen.LoadBalancerClass
	for _, r := range chosen.LoadBalancerSourceRanges {
		spec.WithLoadBalancerSourceRanges(string(r))
	}
	service := v1.Service(m.Name, m.Namespace).
		WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m)).
		WithSpec(spec)
	if len(chosen.Annotations) > 0 {
		service.WithAnnotations(chosen.Annotations)
	}
	return service
}

// MasterEndpoint is the address of a master inside the cluster, as host:port.
func MasterEndpoint(m *v1alpha1.ClusterMaster) string {
	return fmt.Sprintf("%s:%d", MasterServerName(m), m.Spec.Service.Port)
}

// MasterExternalEndpoints are the addresses of a master at the load balancer of its Service, as host:port, sorted. One that uses the
// PROXY protocol does so for all nodes.
func MasterExternalEndpoints(m *v1alpha1.ClusterMaster, service *corev1.Service) (endpoints []string) {
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	port := strconv.Itoa(int(m.Spec.Service.Port))
	if p := m.Spec.Service.ProxyProtocol; p != nil {
		port = strconv.Itoa(int(p.Port))
	}
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		for _, host := range []string{ingress.IP, ingress.Hostname} {
			if host != "" {
				endpoints = append(endpoints, net.JoinHostPort(host, port))
			}
		}
	}
	slices.Sort(endpoints)
	endpoints = slices.Compact(endpoints)
	return endpoints[:min(len(endpoints), v1alpha1.MaxExternalEndpoints)]
}
