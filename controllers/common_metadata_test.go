package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("spec.commonMetadata", func() {
	It("is on everything that is owned, but for annotations on Secrets, and goes when it is removed", func(ctx SpecContext) {
		f := newFixture(ctx)
		const common = `commonMetadata: {labels: {team: press}, annotations: {example.com/team: press}}`
		m, r := f.master("alpha", `{`+common+`, networkPolicy: {}}`), f.refinery("press", `{`+common+`}`)
		f.create(m, r)
		Eventually(exists(f, &policyv1.PodDisruptionBudget{}, "alpha")).Should(Succeed())
		Eventually(exists(f, &policyv1.PodDisruptionBudget{}, "press")).Should(Succeed())

		both := append(owned(f, m), owned(f, r)...)
		Expect(len(both)).To(BeNumerically(">", 12))
		for _, o := range both {
			Expect(o.GetLabels()).To(HaveKeyWithValue("team", "press"), "%T %s", o, o.GetName())
			_, annotated := o.GetAnnotations()["example.com/team"]
			Expect(annotated).To(Equal(!isSecret(o)), "%T %s", o, o.GetName())
		}
		deployment := &appsv1.Deployment{}
		Expect(f.get(deployment, "press")).To(Succeed())
		Expect(deployment.Spec.Template.Labels).NotTo(HaveKey("team"))

		change(f, r, func(r *v1alpha1.Refinery) { r.Spec.CommonMetadata = v1alpha1.CommonMetadata{} })
		Eventually(func() bool {
			must(f.get(deployment, "press"))
			_, labelled := deployment.Labels["team"]
			return labelled
		}).Should(BeFalse())
	})
})

func isSecret(o client.Object) bool {
	_, is := o.(*corev1.Secret)
	return is
}
