package resource

import (
	"fmt"

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
