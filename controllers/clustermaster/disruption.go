package clustermaster

import (
	"context"

	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// reconcileDisruptionBudget keeps a PodDisruptionBudget while there are pods of which one can serve in place of another.
func (r *Reconciler) reconcileDisruptionBudget(ctx context.Context, s *scope) error {
	var desired *policyv1ac.PodDisruptionBudgetApplyConfiguration
	if s.master.WantedPods() > 1 && !s.master.Spec.PodDisruptionBudget.Disabled {
		desired = resource.MasterDisruptionBudget(s.master)
	}
	return r.env.ReconcileDisruptionBudget(ctx, r.apply, s.master, desired)
}
