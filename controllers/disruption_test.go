package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// unavailable polls what the PodDisruptionBudget of a name allows, "" if there is none.
func unavailable(f fixture, name string) func() string {
	return func() string {
		budget := &policyv1.PodDisruptionBudget{}
		if f.get(budget, name) != nil || budget.DeletionTimestamp != nil || *budget.Spec.UnhealthyPodEvictionPolicy != policyv1.AlwaysAllow {
			return ""
		}
		return budget.Spec.MaxUnavailable.String()
	}
}

var _ = Describe("A PodDisruptionBudget", func() {
	It("is over the pods of a ClusterMaster while these are several", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{replicas: 2}`)
		f.create(m)
		Eventually(unavailable(f, "alpha")).Should(Equal("1"))
		change(f, m, func(m *v1alpha1.ClusterMaster) {
			m.Spec.Replicas, m.Spec.PodDisruptionBudget.MaxUnavailable = ptr.To[int32](5), ptr.To(intstr.FromString("40%"))
		})
		Eventually(unavailable(f, "alpha")).Should(Equal("40%"))
		change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.Replicas = ptr.To[int32](1) })
		Eventually(gone(f, &policyv1.PodDisruptionBudget{}, "alpha")).Should(BeTrue())
	})

	It("is over the pods of a Refinery, is put back, and goes with them", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{podDisruptionBudget: {maxUnavailable: 2}}`)
		f.create(f.master("alpha", `{}`), r)
		Eventually(unavailable(f, "press")).Should(Equal("2"))

		budget := &policyv1.PodDisruptionBudget{}
		budget.Namespace, budget.Name = f.namespace, "press"
		change(f, budget, func(b *policyv1.PodDisruptionBudget) { b.Spec.MaxUnavailable = ptr.To(intstr.FromInt32(0)) })
		Eventually(unavailable(f, "press")).Should(Equal("2"))

		change(f, r, func(r *v1alpha1.Refinery) {
			r.Spec.Placement, r.Spec.PodDisruptionBudget = v1alpha1.PlacementExternal, v1alpha1.DisruptionBudget{}
		})
		Eventually(gone(f, &policyv1.PodDisruptionBudget{}, "press")).Should(BeTrue())
	})
})
