package resource

import (
	"slices"
	"strings"
	"time"

	v1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"

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

// FindsMaster reports whether the agent of a pod can connect to the master. One of a release before master.json was followed goes by
// the address that it was started with.
func FindsMaster(pod *v1.PodTemplateSpecApplyConfiguration, m *v1alpha1.ClusterMaster) bool {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if ptr.Deref(c.Name, "") != AgentContainer {
			continue
		}
		for _, arg := range c.Args {
			if address, ok := strings.CutPrefix(arg, "--address="); ok {
				return address == MasterEndpoint(m)
			}
		}
	}
	return true
}
