package resource

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// httpPortOf is where an agent tells the workload in the same pod its upstream.
func httpPortOf(r *v1alpha1.Refinery) int32 { return ptr.Deref(r.Spec.Agent.HTTPPort, 8081) }

// healthPortOf is where an agent serves probes and metrics.
func healthPortOf(r *v1alpha1.Refinery) int32 { return ptr.Deref(r.Spec.Agent.HealthPort, 8082) }

// agentPortsOf are the ports that the agent takes of those that a pod has.
func agentPortsOf(r *v1alpha1.Refinery) []int32 {
	ports := []int32{httpPortOf(r), healthPortOf(r)}
	if relay := r.Spec.Agent.Relay; relay != nil {
		ports = append(ports, relay.Port)
	}
	return ports
}

// relayArgs leave to the agent what is not chosen.
func relayArgs(relay *v1alpha1.AgentRelay) []string {
	if relay == nil {
		return nil
	}
	args := []string{fmt.Sprintf("--relay-address=127.0.0.1:%d", relay.Port)}
	for _, chosen := range []struct {
		format string
		value  *int32
	}{
		{"--relay-drain=%ds", relay.DrainSeconds},
		{"--relay-max-connections=%d", relay.MaxConnections},
		{"--relay-idle-timeout=%ds", relay.IdleTimeoutSeconds},
	} {
		if chosen.value != nil {
			args = append(args, fmt.Sprintf(chosen.format, *chosen.value))
		}
	}
	return args
}

func agentResources(r *v1alpha1.Refinery) *v1.ResourceRequirementsApplyConfiguration {
	chosen := r.Spec.Agent.Resources
	built := v1.ResourceRequirements()
	switch {
	case chosen.Requests == nil && chosen.Limits == nil && chosen.Claims == nil:
		return built.WithRequests(requests("10m", "16Mi")).
			WithLimits(corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")})
	case chosen.Requests != nil:
		built.WithRequests(chosen.Requests)
	}
	if chosen.Limits != nil {
		built.WithLimits(chosen.Limits)
	}
	for _, claim := range chosen.Claims {
		c := v1.ResourceClaim().WithName(claim.Name)
		if claim.Request != "" {
			c.WithRequest(claim.Request)
		}
		built.WithClaims(c)
	}
	return built
}

func variables(chosen []v1alpha1.Variable) []*v1.EnvVarApplyConfiguration {
	var env []*v1.EnvVarApplyConfiguration
	for _, variable := range chosen {
		env = append(env, v1.EnvVar().WithName(variable.Name).WithValue(variable.Value))
	}
	return env
}

// adjustTo makes of the operator's pod what goes with a user's template.
func adjustTo(template *corev1.PodTemplateSpec, base *v1.PodTemplateSpecApplyConfiguration) *v1.PodTemplateSpecApplyConfiguration {
	agent := &base.Spec.Containers
	if hasWorkload(template) {
		agent = &base.Spec.InitContainers
	}
	keepFromRoot(&template.Spec, &(*agent)[0])
	leaveToken(&template.Spec, base.Spec, &(*agent)[0])
	return base
}

// imageUser is the user that the images name.
const imageUser = 65532

// keepFromRoot gives the agent a user of its own in a pod whose template chooses root for all: a kubelet does not start it as root.
func keepFromRoot(template *corev1.PodSpec, agent *v1.ContainerApplyConfiguration) {
	if s := template.SecurityContext; s != nil && s.RunAsUser != nil && *s.RunAsUser == 0 {
		agent.SecurityContext.WithRunAsUser(imageUser)
	}
}

// tokenDirectory is where Kubernetes mounts the token of a ServiceAccount, unless a container has another mount there.
const tokenDirectory = "/var/run/secrets/kubernetes.io/serviceaccount"

// leaveToken leaves it to the ServiceAccount that a template names whether the workload gets its token. The agent gets none.
func leaveToken(template *corev1.PodSpec, base *v1.PodSpecApplyConfiguration, agent *v1.ContainerApplyConfiguration) {
	named := template.ServiceAccountName != "" || template.DeprecatedServiceAccount != ""
	if named {
		base.AutomountServiceAccountToken = nil
	}
	if ptr.Deref(template.AutomountServiceAccountToken, named) {
		base.WithVolumes(sharedMemory(noTokenVolume))
		agent.WithVolumeMounts(readOnlyMount(noTokenVolume, tokenDirectory))
	}
}
