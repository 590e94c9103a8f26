package resource

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// clusterPort is the name of the Cluster Protocol's port in Service and container.
const clusterPort = "cluster"

// MasterService is how refineries reach the active master. It selects no pods, because standbys are ready and do not listen:
// its endpoint is in MasterEndpointSlice.
func MasterService(m *v1alpha1.ClusterMaster) *v1.ServiceApplyConfiguration {
	service := v1.Service(m.Name, m.Namespace).
		WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m)).
		WithSpec(v1.ServiceSpec().
			WithType(m.Spec.Service.Type).
			WithPorts(v1.ServicePort().WithName(clusterPort).WithProtocol(corev1.ProtocolTCP).
				WithPort(m.Spec.Service.Port).WithTargetPort(intstr.FromInt32(v1alpha1.DefaultPort))))
	if len(m.Spec.Service.Annotations) > 0 {
		service.WithAnnotations(m.Spec.Service.Annotations)
	}
	return service
}

// MasterEndpoint is the address of a master inside the cluster, as host:port.
func MasterEndpoint(m *v1alpha1.ClusterMaster) string {
	return fmt.Sprintf("%s:%d", MasterServerName(m), m.Spec.Service.Port)
}
