package resource

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	v1 "k8s.io/client-go/applyconfigurations/discovery/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// MasterEndpointSlice is where the active master writes that it is the endpoint of MasterService, by the family that has this place
// among those of the Service. Its endpoints are left out, and so belong to the master: the operator neither sets nor empties them. The
// family is that of the addresses, which the API server lets nobody change.
func MasterEndpointSlice(m *v1alpha1.ClusterMaster, place int, family discoveryv1.AddressType) *v1.EndpointSliceApplyConfiguration {
	labels := MasterLabels(m)
	labels[discoveryv1.LabelServiceName] = m.Name
	labels[discoveryv1.LabelManagedBy] = ManagedBy
	slice := v1.EndpointSlice(m.EndpointSliceNames()[place], m.Namespace).
		WithLabels(labels).WithOwnerReferences(masterOwner(m)).
		WithAddressType(family).
		WithPorts(v1.EndpointPort().WithName(clusterPort).WithProtocol(corev1.ProtocolTCP).WithPort(v1alpha1.DefaultPort))
	if m.Spec.Service.ProxyProtocol != nil {
		slice.WithPorts(v1.EndpointPort().WithName(proxyPort).WithProtocol(corev1.ProtocolTCP).WithPort(v1alpha1.ProxyPort))
	}
	return slice
}
