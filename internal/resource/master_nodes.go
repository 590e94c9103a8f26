package resource

import (
	"time"

	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/masterfile"
)

// MasterNodes tells the nodes in pods where the master is, and how often it wants to hear from them. They follow it: a change
// restarts no pod.
func MasterNodes(m *v1alpha1.ClusterMaster) *v1.ConfigMapApplyConfiguration {
	settings := masterfile.Settings{Address: MasterEndpoint(m),
		AliveInterval: time.Duration(m.Spec.Protocol.AliveIntervalSeconds) * time.Second,
		AliveTimeout:  time.Duration(m.Spec.Protocol.AliveTimeoutSeconds) * time.Second}
	return v1.ConfigMap(m.NodesName(), m.Namespace).WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m)).
		WithData(map[string]string{masterfile.Name: settings.Encode()})
}
