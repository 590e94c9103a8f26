package resource

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// peerPort is the name of the port at which masters answer each other, in Service and container.
const peerPort = "peer"

// MasterPeerService is how the masters of a ClusterMaster find each other: its name stands for the addresses of all their pods,
// also of those that are not ready.
func MasterPeerService(m *v1alpha1.ClusterMaster) *v1.ServiceApplyConfiguration {
	return v1.Service(m.PeerName(), m.Namespace).
		WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m)).
		WithSpec(v1.ServiceSpec().
			WithClusterIP(corev1.ClusterIPNone).
			WithPublishNotReadyAddresses(true).
			WithSelector(MasterSelector(m)).
			WithPorts(v1.ServicePort().WithName(peerPort).WithProtocol(corev1.ProtocolTCP).
				WithPort(v1alpha1.PeerPort).WithTargetPort(intstr.FromString(peerPort))))
}

// masterPeers is where a master finds all of them, as host:port.
func masterPeers(m *v1alpha1.ClusterMaster) string {
	return fmt.Sprintf("%s.%s.svc:%d", m.PeerName(), m.Namespace, v1alpha1.PeerPort)
}
