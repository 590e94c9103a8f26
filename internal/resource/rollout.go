package resource

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// addRollout says in the spec of a Deployment, which has its pod template already, how pods are replaced. surge is how many there may be
// beside those that are wanted, unless chosen says so or they cannot be beside each other.
func addRollout(spec *appsv1ac.DeploymentSpecApplyConfiguration, chosen v1alpha1.Rollout, surge intstr.IntOrString, namespace string) error {
	template := &corev1.PodTemplateSpec{}
	if err := convertJSON(spec.Template, template); err != nil {
		return err
	}
	spec.WithStrategy(rollingUpdate(rolloutBounds(chosen.Strategy, surge, excludesItself(template, namespace))))
	if chosen.MinReadySeconds > 0 {
		spec.WithMinReadySeconds(chosen.MinReadySeconds)
	}
	if seconds := chosen.ProgressDeadlineSeconds; seconds != nil {
		spec.WithProgressDeadlineSeconds(*seconds)
	}
	return nil
}

// rolloutBounds never takes a pod away before its replacement is ready, unless that could never become so: alone says that
// a pod does not run beside another one. some is the surge otherwise. A Deployment with both bounds 0 is not valid.
func rolloutBounds(chosen v1alpha1.RolloutStrategy, some intstr.IntOrString, alone bool) (surge, unavailable intstr.IntOrString) {
	none := intstr.FromInt32(0)
	switch {
	case chosen.MaxSurge != nil && chosen.MaxUnavailable != nil:
		return *chosen.MaxSurge, *chosen.MaxUnavailable
	case chosen.MaxUnavailable != nil && (alone && !isNone(*chosen.MaxUnavailable)):
		return none, *chosen.MaxUnavailable
	case chosen.MaxUnavailable != nil:
		return some, *chosen.MaxUnavailable
	case chosen.MaxSurge != nil && !isNone(*chosen.MaxSurge):
		return *chosen.MaxSurge, none
	case chosen.MaxSurge != nil || alone:
		return none, intstr.FromInt32(1)
	default:
		return some, none
	}
}

func isNone(bound intstr.IntOrString) bool {
	return bound == intstr.FromInt32(0) || bound == intstr.FromString("0%")
}

// excludesItself reports whether two pods of a template may be unable to run beside each other. A claim may be for a volume that
// only one Kubernetes node mounts: what its access modes are is not looked up.
func excludesItself(template *corev1.PodTemplateSpec, namespace string) bool {
	pod := &template.Spec
	return pod.HostNetwork ||
		slices.ContainsFunc(slices.Concat(pod.InitContainers, pod.Containers), func(c corev1.Container) bool {
			return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.HostPort != 0 })
		}) ||
		slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil }) ||
		avoidsItself(template, namespace)
}

// avoidsItself reports whether pods of a template must not be where other pods of it are, whatever the revision of these.
func avoidsItself(template *corev1.PodTemplateSpec, namespace string) bool {
	affinity := template.Spec.Affinity
	if affinity == nil || affinity.PodAntiAffinity == nil {
		return false
	}
	return slices.ContainsFunc(affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, func(term corev1.PodAffinityTerm) bool {
		here := (len(term.Namespaces) == 0 && term.NamespaceSelector == nil) || slices.Contains(term.Namespaces, namespace) || term.NamespaceSelector != nil
		selector, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
		return here && err == nil && selector.Matches(labels.Set(template.Labels)) &&
			!slices.Contains(term.MatchLabelKeys, appsv1.DefaultDeploymentUniqueLabelKey)
	})
}
