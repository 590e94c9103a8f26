package controllers_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("An authority that is taken out of the spec", func() {
	const rotating = v1alpha1.ConditionCertificateAuthorityRotating

	// end is how an authority ends, and told what an event says of that.
	DescribeTable("is trusted until everybody has followed to one of the operator's making",
		func(ctx SpecContext, spec string, end func(fixture, *v1alpha1.ClusterMaster), told types.GomegaMatcher) {
			f := newFixture(ctx)
			m, r := f.master("alpha", spec), f.refinery("press", `{replicas: 2}`)
			f.create(f.tlsSecret("plant-ca", otherAuthorityPair()), m, r)
			Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
			f.becomeActive(m)
			f.loads(m)
			served, before := f.secret("alpha-tls").Data[corev1.TLSCertKey], f.secret("press-tls")
			former := leafFingerprint(before.Data[corev1.TLSCertKey])
			f.presents(r, map[string]string{"press/a": former, "press/b": former})
			settled()

			end(f, m)
			Eventually(condition(f, m, rotating)).Should(Equal("True/Preparing"))
			Eventually(f.anchors("alpha-tls")).Should(Equal(2))
			Eventually(f.events(m)).Should(told)
			f.loads(m)
			operatorClock.Step(time.Minute)
			wake(f, r)
			Eventually(f.anchors("press-tls")).Should(Equal(2))
			anew := leafFingerprint(f.secret("press-tls").Data[corev1.TLSCertKey])
			operatorClock.Step(3 * v1alpha1.DefaultOverlap)
			annotate(f, m, v1alpha1.RotateCAAnnotation, "meanwhile")
			Eventually(message(f, m, rotating)).Should(ContainSubstring("waiting for press/a, press/b; to continue without"))
			Expect(f.secret("alpha-tls").Data[corev1.TLSCertKey]).To(Equal(served))
			Expect(f.secret("press-tls").UID).To(Equal(before.UID))
			Expect(f.listed(r)()).To(ContainElement(And(HaveField("Fingerprint", former), HaveField("Until", BeNil()))))
			Expect(f.secret("alpha-ca").Data).NotTo(HaveKey("next.crt"))

			f.presents(r, map[string]string{"press/a": anew, "press/b": anew})
			Eventually(condition(f, m, rotating)).Should(Equal("True/Activating"))
			f.loads(m)
			operatorClock.Step(3 * time.Minute)
			annotate(f, m, "wake", time.Now().String())
			Eventually(f.anchors("alpha-tls")).Should(Equal(1))
			Expect(f.secret("alpha-tls").Data[corev1.TLSCertKey]).NotTo(Equal(served))
			Expect(f.events(m)()).To(told)
			// What was asked for meanwhile is carried out after it.
			Eventually(func() map[string][]byte { return f.secret("alpha-ca").Data }).Should(HaveKey("next.crt"))
		},
		Entry("when it was provided", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`,
			func(f fixture, m *v1alpha1.ClusterMaster) {
				change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates.Authority = nil })
			}, Not(ContainElement(ContainSubstring("CertificateAuthorityLost")))),
		Entry("when it was the operator's, and its Secret is deleted", `{}`,
			func(f fixture, _ *v1alpha1.ClusterMaster) {
				Expect(api.Delete(f.ctx, f.secret("alpha-ca"))).To(Succeed())
			},
			ContainElement(HavePrefix("Warning/CertificateAuthorityLost: Secret alpha-ca was deleted"))),
	)

	It("stays in the middle of taking over while its Secret is missing", func(ctx SpecContext) {
		f := newFixture(ctx)
		plant, second := f.tlsSecret("plant-ca", otherAuthorityPair()), otherAuthorityPair()
		m := f.master("alpha", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`)
		f.create(plant, m)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		settled()
		change(f, plant, func(s *corev1.Secret) {
			s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = second.Certificate, second.Key
		})
		Eventually(condition(f, m, rotating)).Should(Equal("True/Preparing"))
		Expect(api.Delete(f.ctx, plant)).To(Succeed())
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("False/SecretNotFound"))
		Consistently(condition(f, m, rotating)).Should(Equal("True/Preparing"))
		Expect(f.events(m)()).NotTo(ContainElement(ContainSubstring("CertificateAuthorityRotated")))
		f.create(f.tlsSecret("plant-ca", second))
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		Expect(condition(f, m, rotating)()).To(Equal("True/Preparing"))
		Expect(f.anchors("alpha-tls")()).To(Equal(2))
	})

	It("cannot be asked for another one while it is provided, and CertificateReady says so", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{}`)
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, v1alpha1.RotateCAAnnotation, "monday")
		f.create(f.tlsSecret("plant-ca", otherAuthorityPair()), m)
		const good, ignored = "Secret alpha-tls holds a certificate issued by the operator", "annotation cluster.refinery.dev/rotate-ca has no effect"
		Eventually(message(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal(good))
		name := func(m *v1alpha1.ClusterMaster) {
			m.Spec.Certificates = &v1alpha1.CertificatesSpec{Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}
		}
		change(f, m, name)
		Eventually(condition(f, m, rotating)).Should(Equal("True/Preparing"))
		Expect(message(f, m, v1alpha1.ConditionCertificateReady)()).To(Equal(good), "it was carried out by the operator's own")
		annotate(f, m, v1alpha1.RotateCAAnnotation, "tuesday")
		Eventually(message(f, m, v1alpha1.ConditionCertificateReady)).Should(HavePrefix(good + "; " + ignored))
		annotate(f, m, v1alpha1.RotateCAAnnotation, "")
		Eventually(message(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal(good))
	})
})
