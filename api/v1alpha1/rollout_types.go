package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// Rollout says how pods are replaced when they change, as in the spec of a Deployment.
type Rollout struct {
	// strategy says how pods are replaced when they change.
	// +optional
	Strategy RolloutStrategy `json:"strategy,omitzero"`
	// minReadySeconds is how long a new pod has to be ready before it counts as available, and the next one is replaced.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	MinReadySeconds int32 `json:"minReadySeconds,omitempty"`
	// progressDeadlineSeconds is how long a rollout may go without progress before it counts as failed. Default: 600.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`
}

// RolloutStrategy says how pods are replaced, as the strategy RollingUpdate of a Deployment does.
// +kubebuilder:validation:XValidation:rule="!has(self.maxSurge) || !has(self.maxUnavailable) || !(string(self.maxSurge) in ['0', '0%'] && string(self.maxUnavailable) in ['0', '0%'])",message="maxSurge and maxUnavailable must not both be 0: then no pod could ever be replaced"
type RolloutStrategy struct {
	// maxSurge is how many pods, or what percentage, there may be beside those that are wanted. Default: 25%, and 1
	// for masters; 0 where two pods cannot be beside each other, because the template has a hostPort, hostNetwork, a
	// persistentVolumeClaim or a required anti-affinity to the pods themselves.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 && self <= 10000 : self.matches('^([0-9]|[1-9][0-9]|100)%$')",message="must be a number of pods from 0 to 10000, or a percentage from '0%' to '100%'"
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`
	// maxUnavailable is how many pods, or what percentage, may be missing meanwhile. Default: 0; 1 where maxSurge is 0.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 && self <= 10000 : self.matches('^([0-9]|[1-9][0-9]|100)%$')",message="must be a number of pods from 0 to 10000, or a percentage from '0%' to '100%'"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}
