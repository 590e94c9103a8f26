package resource

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// OwnedSecret sets only the owner of a Secret that cert-manager fills: a ClusterMaster or a Refinery. It applies to the
// Secret of that UID only.
func OwnedSecret(owner metav1.Object, name string, uid types.UID) (*v1.SecretApplyConfiguration, error) {
	secret := v1.Secret(name, owner.GetNamespace()).WithUID(uid)
	switch o := owner.(type) {
	case *v1alpha1.ClusterMaster:
		return secret.WithOwnerReferences(masterOwner(o)), nil
	case *v1alpha1.Refinery:
		return secret.WithOwnerReferences(refineryOwner(o)), nil
	default:
		return nil, fmt.Errorf("%T owns no Secrets", owner)
	}
}

// SecretFiles are the keys of all Secrets that the operator fills.
var SecretFiles = []string{
	corev1.TLSCertKey, corev1.TLSPrivateKeyKey, v1alpha1.AuthorityKey, nextCertKey, nextKeyKey, previousCertKey,
	v1alpha1.SharedCertificateKey, v1alpha1.SharedNextKey, v1alpha1.SharedFormerKey, v1alpha1.SharedUntilKey, v1alpha1.SharedGenerationKey,
}

// SecretAnnotations are those in which the operator notes what goes with the files of a Secret.
var SecretAnnotations = []string{rotatedFor, rotationCause, phaseBegan, signedBy}

// AdoptedSecret is a Secret that the operator filled, with the owner that it lost, and nothing that the operator did not write.
func AdoptedSecret(owner metav1.Object, secret *corev1.Secret) (*v1.SecretApplyConfiguration, error) {
	labels, err := Labels(owner)
	if err != nil {
		return nil, err
	}
	adopted, err := OwnedSecret(owner, secret.Name, secret.UID)
	if err != nil {
		return nil, err
	}
	if m, ok := owner.(*v1alpha1.ClusterMaster); ok && (secret.Name == m.AuthoritySecretName() || secret.Name == m.SharedSecretName()) {
		adopted = retainedSecret(m, secret.Name)
	}
	adopted.WithUID("").WithLabels(labels).WithType(secret.Type)
	for _, file := range SecretFiles {
		if value, ok := secret.Data[file]; ok {
			adopted.WithData(map[string][]byte{file: value})
		}
	}
	for _, annotation := range SecretAnnotations {
		if value, ok := secret.Annotations[annotation]; ok {
			adopted.WithAnnotations(map[string]string{annotation: value})
		}
	}
	return adopted, nil
}

// Labels are the labels of every object of owner: a ClusterMaster or a Refinery.
func Labels(owner metav1.Object) (map[string]string, error) {
	switch o := owner.(type) {
	case *v1alpha1.ClusterMaster:
		return MasterLabels(o), nil
	case *v1alpha1.Refinery:
		return RefineryLabels(o), nil
	default:
		return nil, fmt.Errorf("%T owns nothing", owner)
	}
}
