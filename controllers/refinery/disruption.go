package refinery

import (
	"context"

	policyv1 "k8s.io/api/policy/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// reconcileDisruptionBudget keeps a PodDisruptionBudget over the pods, if there are any.
func (r *Reconciler) reconcileDisruptionBudget(ctx context.Context, s *scope) error {
	if s.refinery.Spec.Placement != v1alpha1.PlacementExternal {
		return r.apply.Apply(ctx, s.refinery, resource.RefineryDisruptionBudget(s.refinery))
	}
	budget := &policyv1.PodDisruptionBudget{}
	budget.Namespace, budget.Name = s.refinery.Namespace, s.refinery.Name
	return r.apply.Delete(ctx, s.refinery, budget)
}
