package apply

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Owns reports whether owner controls an object: by its controller reference, or, for the Secrets that outlive a ClusterMaster,
// by annotation v1alpha1.OwnerAnnotation. Whoever may write the one may write the other, so both prove the same.
func Owns(owner client.Object, object metav1.Object) bool {
	if metav1.GetControllerOfNoCopy(object) != nil {
		return metav1.IsControlledBy(object, owner)
	}
	m, ok := owner.(*v1alpha1.ClusterMaster)
	if _, secret := object.(*corev1.Secret); !ok || !secret || (object.GetName() != m.AuthoritySecretName() && object.GetName() != m.SharedSecretName()) {
		return false
	}
	return m.UID != "" && object.GetAnnotations()[v1alpha1.OwnerAnnotation] == string(m.UID)
}
