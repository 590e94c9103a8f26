package controllers_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	apiac "github.com/refinery-operator/refinery-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// annotate sets an annotation, or takes it away.
func annotate(f fixture, m *v1alpha1.ClusterMaster, key, value string) {
	GinkgoHelper()
	change(f, m, func(m *v1alpha1.ClusterMaster) {
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, key, value)
		if value == "" {
			delete(m.Annotations, key)
		}
	})
}

// loads does what an active master does that has loaded the Secret of its certificate.
func (f fixture) loads(m *v1alpha1.ClusterMaster) {
	GinkgoHelper()
	secret := f.secret(m.CertificateSecretName())
	bundle, err := pki.ParseCertificates("ca.crt", secret.Data[v1alpha1.AuthorityKey])
	Expect(err).NotTo(HaveOccurred())
	active := apiac.ActiveMaster().WithPod(m.Name + "-0").WithEpoch(1).WithSince(metav1.NewTime(time.Now())).
		WithCertificate(leafFingerprint(secret.Data[corev1.TLSCertKey]))
	for _, c := range bundle {
		active.WithAuthorities(v1alpha1.Fingerprint(c))
	}
	Expect(api.Status().Apply(f.ctx, apiac.ClusterMaster(m.Name, m.Namespace).WithStatus(apiac.ClusterMasterStatus().WithActive(active)),
		client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)).To(Succeed())
}

// anchors polls the number of authorities in a trust bundle.
func (f fixture) anchors(name string) func() int {
	return func() int {
		bundle, err := pki.ParseCertificates("ca.crt", f.secret(name).Data[v1alpha1.AuthorityKey])
		must(err)
		return len(bundle)
	}
}

// listed polls status.certificates.
func (f fixture) listed(r *v1alpha1.Refinery) func() []v1alpha1.ListedCertificate {
	return func() []v1alpha1.ListedCertificate {
		must(f.get(r, r.Name))
		return r.Status.Certificates
	}
}

var _ = Describe("The rotation of an authority", func() {
	const rotating = v1alpha1.ConditionCertificateAuthorityRotating

	It("waits for the active master and for every node, tells for whom, and writes nothing meanwhile", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{replicas: 2}`)
		f.create(m, r)
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		f.becomeActive(m)
		f.loads(m)
		former := leafFingerprint(f.secret("press-tls").Data[corev1.TLSCertKey])
		f.presents(r, map[string]string{"press/a": former, "press/b": former})
		authority := f.secret("alpha-ca").Data[corev1.TLSCertKey]
		annotate(f, m, v1alpha1.RotateCAAnnotation, "monday")
		Eventually(condition(f, m, rotating)).Should(Equal("True/Preparing"))
		Eventually(f.events(m)).Should(ContainElement(HavePrefix("Normal/CertificateAuthorityPreparing: 0/2 nodes have been seen to trust the new authority ")))
		operatorClock.Step(5 * time.Minute) // everybody's turn to be issued anew has come, and the time for the unseen is over
		wake(f, r)
		Eventually(f.anchors("press-tls")).Should(Equal(2))
		Expect(f.anchors("alpha-tls")()).To(Equal(2))
		anew := leafFingerprint(f.secret("press-tls").Data[corev1.TLSCertKey])
		Expect(anew).NotTo(Equal(former))

		f.presents(r, map[string]string{"press/a": anew, "press/b": former})
		Eventually(message(f, m, rotating)).Should(SatisfyAll(HavePrefix("1/2 nodes have been seen to trust"),
			ContainSubstring("waiting for press/b; the active master alpha-0, which has yet to load it; to continue without")))
		settled()
		before := operatorWrites.total()
		annotate(f, m, "wake", time.Now().String())
		Consistently(func() []string { return operatorWrites.since(before) }).Should(BeEmpty())
		f.loads(m)
		Eventually(message(f, m, rotating)).Should(ContainSubstring("waiting for press/b; to continue without"))
		Expect(f.secret("alpha-ca").Data[corev1.TLSCertKey]).To(Equal(authority))

		f.presents(r, map[string]string{"press/a": anew, "press/b": anew})
		Eventually(condition(f, m, rotating)).Should(Equal("True/Activating"))
		Eventually(f.events(m)).Should(ContainElement(HavePrefix("Normal/CertificateAuthorityActivating: ")))
		Expect(f.secret("alpha-ca").Data["previous.crt"]).To(Equal(authority))
	})

	It("goes on without those who are not ready when it is forced, and says who was cut off", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{replicas: 2}`)
		f.create(m, r)
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		former := leafFingerprint(f.secret("press-tls").Data[corev1.TLSCertKey])
		f.presents(r, map[string]string{"press/a": former, "press/b": former})
		annotate(f, m, v1alpha1.RotateCAAnnotation, "monday")
		Eventually(condition(f, m, rotating)).Should(Equal("True/Preparing"))
		annotate(f, m, v1alpha1.ForceCARotationAnnotation, "sunday")
		Consistently(condition(f, m, rotating)).Should(Equal("True/Preparing"))
		annotate(f, m, v1alpha1.ForceCARotationAnnotation, "Preparing")
		Eventually(condition(f, m, rotating)).Should(Equal("True/Activating"))
		Eventually(f.events(m)).Should(ContainElement(HavePrefix(
			"Warning/CertificateAuthorityForced: annotation cluster.refinery.dev/force-ca-rotation: the rotation continued without waiting for press/a, press/b")))
		Consistently(condition(f, m, rotating)).Should(Equal("True/Activating"))
		annotate(f, m, v1alpha1.ForceCARotationAnnotation, "monday")
		Eventually(condition(f, m, rotating)).Should(BeEmpty())
		Eventually(f.anchors("alpha-tls")).Should(Equal(1))
		Eventually(f.events(m)).Should(ContainElement(HavePrefix("Normal/CertificateAuthorityRotated: ")))
	})

	It("keeps a provided authority trusted that was replaced, until nobody needs it", func(ctx SpecContext) {
		f := newFixture(ctx)
		first, second := otherAuthorityPair(), otherAuthorityPair()
		plant := f.tlsSecret("plant-ca", first)
		m, r := f.master("alpha", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`), f.refinery("press", `{replicas: 2}`)
		f.create(plant, m, r)
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		f.becomeActive(m)
		f.loads(m)
		served, former := f.secret("alpha-tls").Data[corev1.TLSCertKey], leafFingerprint(f.secret("press-tls").Data[corev1.TLSCertKey])
		f.presents(r, map[string]string{"press/a": former, "press/b": former})
		settled()
		change(f, plant, func(s *corev1.Secret) {
			s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = second.Certificate, second.Key
		})
		Eventually(condition(f, m, rotating)).Should(Equal("True/Preparing"))
		Eventually(f.anchors("alpha-tls")).Should(Equal(2))
		Consistently(f.anchors("press-tls")).Should(Equal(1)) // the master would not let in yet what the new one signs
		Expect(condition(f, r, v1alpha1.ConditionCertificateReady)()).To(Equal("True/Issued"))
		f.loads(m)
		operatorClock.Step(2 * time.Minute)
		wake(f, r)
		Eventually(f.anchors("press-tls")).Should(Equal(2))
		anew := leafFingerprint(f.secret("press-tls").Data[corev1.TLSCertKey])
		Expect(anew).NotTo(Equal(former))
		f.presents(r, map[string]string{"press/a": anew, "press/b": former})
		Eventually(message(f, m, rotating)).Should(ContainSubstring("waiting for press/b; to continue"))
		Expect(f.secret("alpha-tls").Data[corev1.TLSCertKey]).To(Equal(served))
		operatorClock.Step(3 * v1alpha1.DefaultOverlap)
		wake(f, r)
		Consistently(f.listed(r)).Should(ContainElement(And(HaveField("Fingerprint", former), HaveField("Until", BeNil()))))

		f.presents(r, map[string]string{"press/a": anew, "press/b": anew})
		Eventually(condition(f, m, rotating)).Should(Equal("True/Activating"))
		Eventually(func() []byte { return f.secret("alpha-tls").Data[corev1.TLSCertKey] }).ShouldNot(Equal(served))
		Expect(f.anchors("alpha-tls")()).To(Equal(2))
		operatorClock.Step(3 * time.Minute)
		Consistently(condition(f, m, rotating)).Should(Equal("True/Activating"))
		f.loads(m)
		Eventually(condition(f, m, rotating)).Should(BeEmpty())
		Eventually(f.anchors("alpha-tls")).Should(Equal(1))
		Eventually(f.anchors("press-tls")).Should(Equal(1))
		Expect(leafFingerprint(f.secret("press-tls").Data[corev1.TLSCertKey])).To(Equal(anew))
		Eventually(f.listed(r)).Should(ContainElement(And(HaveField("Fingerprint", former),
			HaveField("Until.Time", BeTemporally("~", operatorClock.Now().Add(v1alpha1.DefaultOverlap), time.Minute)))))
	})

	It("trusts nothing that someone else has put into the trust bundle of the master", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`)
		f.create(f.tlsSecret("plant-ca", otherAuthorityPair()), m)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		intruder := otherAuthorityPair()
		change(f, f.secret("alpha-tls"), func(s *corev1.Secret) {
			s.Data[v1alpha1.AuthorityKey] = append(s.Data[v1alpha1.AuthorityKey], intruder.Certificate...)
		})
		Eventually(f.anchors("alpha-tls")).Should(Equal(1))
		Expect(condition(f, m, rotating)()).To(BeEmpty())
	})

	It("begins by itself at two thirds of caDuration, and a request that comes meanwhile is carried out after it", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{certificates: {duration: 1h, caDuration: 3h}}`)
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, v1alpha1.RotateCAAnnotation, "of a former life")
		f.create(m)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		first := f.secret("alpha-ca").Data[corev1.TLSCertKey]
		operatorClock.Step(110 * time.Minute)
		annotate(f, m, "wake", time.Now().String())
		Consistently(condition(f, m, rotating)).Should(BeEmpty())
		operatorClock.Step(11 * time.Minute)
		annotate(f, m, "wake", time.Now().String())
		Eventually(condition(f, m, rotating)).Should(Equal("True/Preparing"))
		second := f.secret("alpha-ca").Data["next.crt"]
		annotate(f, m, v1alpha1.RotateCAAnnotation, "now")
		Consistently(condition(f, m, rotating)).Should(Equal("True/Preparing"))
		operatorClock.Step(3 * time.Minute)
		annotate(f, m, "wake", time.Now().String())
		Eventually(func() []byte { return f.secret("alpha-ca").Data[corev1.TLSCertKey] }).Should(Equal(second))
		operatorClock.Step(3 * time.Minute)
		annotate(f, m, "wake", time.Now().String())
		Eventually(func() []byte { return f.secret("alpha-ca").Data["next.crt"] }).ShouldNot(BeEmpty())
		authority := f.secret("alpha-ca")
		Expect(authority.Data[corev1.TLSCertKey]).To(Equal(second))
		Expect(authority.Data).NotTo(HaveKey("previous.crt"))
		Expect(authority.Data["next.crt"]).NotTo(Or(Equal(first), Equal(second)))
	})

	It("makes another authority in the place of one that expired before it was replaced", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{certificates: {duration: 1h, caDuration: 3h}}`), f.refinery("press", `{}`)
		f.create(m, r)
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		renewed := func(former []byte) {
			GinkgoHelper()
			Eventually(func() []byte { return f.secret("alpha-ca").Data[corev1.TLSCertKey] }).ShouldNot(Equal(former))
			Expect(f.secret("alpha-ca").Data).To(HaveLen(2))
			bundle := f.authority("alpha").BundlePEM()
			Eventually(func() []byte { return f.secret("alpha-tls").Data[v1alpha1.AuthorityKey] }).Should(Equal(bundle))
			Eventually(func() []byte { return f.secret("press-tls").Data[v1alpha1.AuthorityKey] }).Should(Equal(bundle))
			Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
			Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
			Eventually(condition(f, m, rotating)).Should(BeEmpty())
		}
		first := f.secret("alpha-ca").Data[corev1.TLSCertKey]
		operatorClock.Step(4 * time.Hour) // as if the operator had been away
		wake(f, m)
		renewed(first)

		annotate(f, m, v1alpha1.ForceCARotationAnnotation, "Preparing")
		annotate(f, m, v1alpha1.RotateCAAnnotation, "monday")
		Eventually(condition(f, m, rotating)).Should(Equal("True/Activating"))
		second := f.secret("alpha-ca").Data[corev1.TLSCertKey]
		operatorClock.Step(4 * time.Hour)
		annotate(f, m, "wake", time.Now().String())
		renewed(second)
	})
})
