package v1alpha1

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// RefineryStatefulSet configures the StatefulSet of a Refinery.
type RefineryStatefulSet struct {
	// volumeClaimTemplates are volumes that each pod has for itself: the containers of template mount them by name. They cannot be
	// changed, as Kubernetes does not let a StatefulSet change them. Default: none.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="volumeClaimTemplates cannot be changed: Kubernetes keeps those that a StatefulSet was created with; edit the PersistentVolumeClaims, or make a new Refinery"
	VolumeClaimTemplates []VolumeClaimTemplate `json:"volumeClaimTemplates,omitempty"`
	// persistentVolumeClaimRetentionPolicy says what becomes of the claims of pods that are gone. Default: they are retained.
	// +optional
	ClaimRetention ClaimRetention `json:"persistentVolumeClaimRetentionPolicy,omitzero"`
}

// VolumeClaimTemplate is a PersistentVolumeClaim that is created for each pod.
type VolumeClaimTemplate struct {
	// name of the volume.
	// +required
	Name VolumeName `json:"name"`
	// labels of the claims. Labels that the operator sets cannot be replaced. commonMetadata does not reach claims, as it may change.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`
	// spec of the claim.
	// +required
	Spec corev1.PersistentVolumeClaimSpec `json:"spec"`
}

// ClaimRetention says what becomes of the PersistentVolumeClaims of pods that are gone.
type ClaimRetention struct {
	// whenDeleted is Retain or Delete, for when the Refinery is deleted. Where the operator deletes the StatefulSet alone, claims are
	// retained. Default: Retain.
	// +optional
	// +kubebuilder:validation:Enum=Retain;Delete
	WhenDeleted appsv1.PersistentVolumeClaimRetentionPolicyType `json:"whenDeleted,omitempty"`
	// whenScaled is Retain or Delete, for when replicas is lowered. Default: Retain.
	// +optional
	// +kubebuilder:validation:Enum=Retain;Delete
	WhenScaled appsv1.PersistentVolumeClaimRetentionPolicyType `json:"whenScaled,omitempty"`
}
