package clustermaster

import (
	"context"

	policyv1 "k8s.io/api/policy/v1"

	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// reconcileDisruptionBudget keeps a PodDisruptionBudget while there are pods of which one can serve in place of another.
func (r *Reconciler) reconcileDisruptionBudget(ctx context.Context, s *scope) error {
	if s.master.WantedPods() > 1 {
		return r.apply.Apply(ctx, s.master, resource.MasterDisruptionBudget(s.master))
	}
	budget := &policyv1.PodDisruptionBudget{}
	budget.Namespace, budget.Name = s.master.Namespace, s.master.Name
	return r.apply.Delete(ctx, s.master, budget)
}
