package e2e

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("A template", func() {
	It("that the API server refuses ends in a condition with its words, and harms nobody else", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		refused := newRefinery(ctx, master, "refused", template(`{"spec":{"containers":[{"name":"Bad_Name","image":"workload"}]}}`))
		shapeless := newRefinery(ctx, master, "shapeless", template(`{"spec":{"containers":"none"}}`))
		fine := newRefinery(ctx, master, "fine")

		Eventually(ctx, conditionOf(refused, v1alpha1.ConditionReady)).Should(And(
			HaveField("Status", metav1.ConditionFalse),
			HaveField("Reason", v1alpha1.ReasonRejected),
			HaveField("Message", And(ContainSubstring("Bad_Name"), ContainSubstring("Invalid value"))),
		))
		Eventually(ctx, conditionOf(shapeless, v1alpha1.ConditionReady)).Should(And(
			HaveField("Status", metav1.ConditionFalse),
			HaveField("Reason", v1alpha1.ReasonInvalidTemplate),
			HaveField("Message", ContainSubstring("containers")),
		))
		for _, r := range []*v1alpha1.Refinery{refused, shapeless} {
			Eventually(ctx, warningsOn(r)).ShouldNot(BeEmpty())
		}
		Eventually(ctx, columnsOf(fine)).WithTimeout(startTimeout).Should(Equal(authenticated(1)))

		By("going on once it is put right")
		change(ctx, refused, func(r *v1alpha1.Refinery) { r.Spec.Template = nil })
		Eventually(ctx, columnsOf(refused)).WithTimeout(startTimeout).Should(Equal(authenticated(1)))
	}, SpecTimeout(specTimeout))
})

func template(json string) func(*v1alpha1.Refinery) {
	return func(r *v1alpha1.Refinery) { r.Spec.Template = &runtime.RawExtension{Raw: []byte(json)} }
}
