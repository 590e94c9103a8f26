package refinery

import (
	"context"

	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// reconcileDisruptionBudget keeps a PodDisruptionBudget over the pods, if there are any.
func (r *Reconciler) reconcileDisruptionBudget(ctx context.Context, s *scope) error {
	var desired *policyv1ac.PodDisruptionBudgetApplyConfiguration
	if s.refinery.Spec.Placement != v1alpha1.PlacementExternal && !s.refinery.Spec.PodDisruptionBudget.Disabled {
		desired = resource.RefineryDisruptionBudget(s.refinery)
	}
	return r.env.ReconcileDisruptionBudget(ctx, r.apply, s.refinery, desired)
}
