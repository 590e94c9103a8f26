package resource

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// CommonMetadata returns what the spec of owner, a ClusterMaster or a Refinery, puts on every owned object of a kind. Secrets get only
// the annotations that are in onSecrets: by annotation other programs copy Secrets, and these hold keys.
func CommonMetadata(owner metav1.Object, kind string, onSecrets []string) (labels, annotations map[string]string) {
	common := commonOf(owner)
	annotations = maps.Clone(common.Annotations)
	if kind == "Secret" {
		maps.DeleteFunc(annotations, func(key, _ string) bool { return !slices.Contains(onSecrets, key) })
	}
	return commonLabels(owner), annotations
}

func commonOf(owner metav1.Object) v1alpha1.CommonMetadata {
	switch o := owner.(type) {
	case *v1alpha1.ClusterMaster:
		return o.Spec.CommonMetadata
	case *v1alpha1.Refinery:
		return o.Spec.CommonMetadata
	default:
		return v1alpha1.CommonMetadata{}
	}
}

func commonLabels(owner metav1.Object) map[string]string {
	labels := map[string]string{}
	for key, value := range commonOf(owner).Labels {
		labels[key] = string(value)
	}
	return labels
}
