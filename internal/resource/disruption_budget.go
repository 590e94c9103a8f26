package resource

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// MasterDisruptionBudget keeps the pods of a ClusterMaster from being evicted together.
func MasterDisruptionBudget(m *v1alpha1.ClusterMaster) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	return policyv1ac.PodDisruptionBudget(m.Name, m.Namespace).
		WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m)).
		WithSpec(disruptionBudget(m.Spec.PodDisruptionBudget, MasterSelector(m)))
}

// RefineryDisruptionBudget keeps the pods of a Refinery from being evicted together.
func RefineryDisruptionBudget(r *v1alpha1.Refinery) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	return policyv1ac.PodDisruptionBudget(r.Name, r.Namespace).
		WithLabels(RefineryLabels(r)).WithOwnerReferences(refineryOwner(r)).
		WithSpec(disruptionBudget(r.Spec.PodDisruptionBudget, RefinerySelector(r)))
}

// disruptionBudget never stands in the way for ever: a pod that is not ready can always be evicted. Nodes whose master is away are
// not ready, and may stay so.
func disruptionBudget(chosen v1alpha1.DisruptionBudget, selector map[string]string) *policyv1ac.PodDisruptionBudgetSpecApplyConfiguration {
	return policyv1ac.PodDisruptionBudgetSpec().
		WithMaxUnavailable(ptr.Deref(chosen.MaxUnavailable, intstr.FromInt32(1))).
		WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(selector))
}
