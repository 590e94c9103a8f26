package resource

import (
	"slices"
	"strings"
	"time"

	v1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// patience is the least that a master waits for a heartbeat of a node that does not know its alive timeout yet.
const patience = 35 * time.Second

// Connects reports whether nodes in pods of the template running are let in as those in pods of the template desired are: whether
// they find the master, are heard often enough, and connect in the same way with the same Secrets.
func Connects(running, desired *v1.PodTemplateSpecApplyConfiguration, m *v1alpha1.ClusterMaster) bool {
	is, want := agentOf(running), agentOf(desired)
	if is == nil || want == nil {
		return false
	}
	// An agent of a release before master.json was followed goes by the flags that it was started with.
	if address, ok := flagOf(is, "address"); ok && address != MasterEndpoint(m) {
		return false
	}
	if text, ok := flagOf(is, "alive-interval"); ok {
		interval, err := time.ParseDuration(text)
		if err != nil || 2*interval > max(patience, time.Duration(m.Spec.Protocol.AliveTimeoutSeconds)*time.Second) {
			return false
		}
	}
	isTransport, _ := flagOf(is, "transport")
	wantTransport, _ := flagOf(want, "transport")
	return isTransport == wantTransport && slices.Equal(secretsOf(running), secretsOf(desired))
}

// agentOf is the agent's container, or nil.
func agentOf(pod *v1.PodTemplateSpecApplyConfiguration) *v1.ContainerApplyConfiguration {
	if pod.Spec == nil {
		return nil
	}
	for _, containers := range [][]v1.ContainerApplyConfiguration{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if ptr.Deref(containers[i].Name, "") == AgentContainer {
				return &containers[i]
			}
		}
	}
	return nil
}

// flagOf is the value of a flag of a container.
func flagOf(c *v1.ContainerApplyConfiguration, name string) (value string, given bool) {
	for _, arg := range c.Args {
		if value, given = strings.CutPrefix(arg, "--"+name+"="); given {
			return value, true
		}
	}
	return "", false
}

// secretsOf are the Secrets in the operator's volumes, each after its volume, sorted.
func secretsOf(pod *v1.PodTemplateSpecApplyConfiguration) []string {
	var secrets []string
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		name := ptr.Deref(v.Name, "")
		if !strings.HasPrefix(name, ownVolumes) {
			continue
		}
		if v.Secret != nil {
			secrets = append(secrets, name+" "+ptr.Deref(v.Secret.SecretName, ""))
		}
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.Secret != nil {
				secrets = append(secrets, name+" "+ptr.Deref(source.Secret.Name, ""))
			}
		}
	}
	slices.Sort(secrets)
	return secrets
}
