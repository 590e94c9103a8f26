package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("A warning", func() {
	It("is not given from the first apply to Ready, in whatever order", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{}`)
		f.create(r)
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("False/MasterNotFound"))
		f.create(m)
		Eventually(exists(f, &corev1.Secret{}, "press-tls")).Should(Succeed())
		f.becomeActive(m)
		Eventually(func() error { return f.get(&corev1.ServiceAccount{}, "press-refinery") }).Should(Succeed())
		f.deploy(r, 1)
		f.report(r, metav1.ConditionTrue, v1alpha1.ReasonAuthenticated)
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("True/Ready"))
		Eventually(condition(f, m, v1alpha1.ConditionReady)).Should(Equal("True/Ready"))
		Eventually(f.events(r)).Should(ContainElement(HavePrefix("Normal/Ready: ")))
		for _, o := range []client.Object{m, r} {
			Expect(f.events(o)()).NotTo(ContainElement(HavePrefix("Warning/")))
		}
	})

	It("is one event, however often it is given", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{certificateSecretRef: {name: press-own}}`)
		f.create(m, r)
		secret := func() client.Object { return foreignSecret(f, "press-own") }
		for range 5 {
			Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("False/SecretNotFound"))
			f.create(secret())
			Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("False/SecretKeyMissing"))
			Expect(api.Delete(ctx, secret())).To(Succeed())
		}
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("False/SecretNotFound"))
		warnings := func() (notFound []int32) {
			list := &eventsv1.EventList{}
			must(api.List(ctx, list, client.InNamespace(f.namespace)))
			for _, e := range list.Items {
				if e.Reason == v1alpha1.ReasonSecretNotFound && e.Series != nil {
					notFound = append(notFound, e.Series.Count)
				} else if e.Reason == v1alpha1.ReasonSecretNotFound {
					notFound = append(notFound, 1)
				}
			}
			return notFound
		}
		Eventually(warnings).Should(HaveExactElements(BeNumerically(">", 1)))
		Consistently(warnings).Should(HaveLen(1))
	})
})

var _ = Describe("A Secret of the operator that cannot be made", func() {
	It("is not to be created by a person while the quota is full", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{}`)
		f.create(m)
		Eventually(exists(f, &corev1.Secret{}, "alpha-peer")).Should(Succeed())
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "full"},
			Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": resource.MustParse("0")}}}
		f.create(quota)
		changeStatus(f, quota, func(q *corev1.ResourceQuota) { q.Status.Hard, q.Status.Used = q.Spec.Hard, q.Spec.Hard }) // as its controller does
		Eventually(func() error {                                                                                         // until the admission plugin has seen it
			return api.Create(ctx, foreignSecret(f, "probe-"+r.Name), client.DryRunAll)
		}).Should(MatchError(ContainSubstring("quota")))
		f.create(r)
		Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/Rejected"))
		Expect(conditionText(f, r, v1alpha1.ConditionCertificateReady)()).To(Equal(
			"False/NotIssued: Secret press-tls does not exist yet; the operator creates it, and condition Ready says what it waits for"))
	})

	It("is not said to be issued where it is someone else's", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{}`)
		f.create(m)
		secret := f.tlsSecret("press-tls", client0(f.authority("alpha"), r))
		f.create(secret, r)
		Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/NameConflict"))
		Expect(condition(f, r, v1alpha1.ConditionCertificateReady)()).To(Equal("False/NameConflict"))
	})
})
