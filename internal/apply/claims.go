package apply

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

const keepClaims = `{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Retain"}}}`

// retainClaims has the claims of a StatefulSet that is about to be deleted outlive it, whatever it says of them: its owner is not deleted
// with it. The error is a *PendingError until the controller of StatefulSets has seen that. Any other object has no claims.
func (a *Applier) retainClaims(ctx context.Context, object client.Object) error {
	set, ok := object.(*appsv1.StatefulSet)
	if !ok || len(set.Spec.VolumeClaimTemplates) == 0 {
		return nil
	}
	policy := set.Spec.PersistentVolumeClaimRetentionPolicy
	deletes := policy != nil && policy.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	if deletes {
		err := a.client.Patch(ctx, set.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(keepClaims)), client.FieldOwner(v1alpha1.OperatorFieldOwner))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("retain the claims of StatefulSet %s: %w", set.Name, err)
		}
	}
	if deletes || set.Status.ObservedGeneration < set.Generation {
		return &PendingError{fmt.Sprintf("StatefulSet %s is deleted when Kubernetes has taken up that its claims are retained", set.Name)}
	}
	return nil
}
