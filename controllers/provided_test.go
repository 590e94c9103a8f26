package controllers_test

import (
	"crypto/x509"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

func leafOf(pair pki.PEMPair) *x509.Certificate {
	chain, err := pki.ParseCertificates("tls.crt", pair.Certificate)
	must(err)
	return chain[0]
}

var _ = Describe("A Secret that the user provides", func() {
	It("is waited for, named while it is missing, and never written to", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{certificateSecretRef: {name: press-own}}`)
		f.create(m, r)
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("False/SecretNotFound"))
		Expect(message(f, r, v1alpha1.ConditionCertificateReady)()).To(ContainSubstring("Secret press-own does not exist"))
		Eventually(f.events(r)).Should(ContainElement(HavePrefix("Warning/SecretNotFound: CertificateReady: Secret press-own does not exist")))
		// Its pods wait for the Secret and need no restart.
		Eventually(func() error { return f.get(&appsv1.Deployment{}, "press") }).Should(Succeed())
		Expect(f.get(&corev1.Secret{}, "press-tls")).NotTo(Succeed())

		secret := f.tlsSecret("press-own", client0(f.authority("alpha"), r))
		f.create(secret)
		before := secret.ResourceVersion
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Provided"))
		Expect(r.Status.Certificates).To(HaveLen(1))
		Consistently(func() string { must(f.get(secret, "press-own")); return secret.ResourceVersion }).Should(Equal(before))
	})

	It("keeps the replaced certificate listed until its overlap ends", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{certificateSecretRef: {name: press-own}}`)
		f.create(m)
		authority := f.authority("alpha")
		first, second := client0(authority, r), client0(authority, r)
		secret := f.tlsSecret("press-own", first)
		f.create(secret, r)
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Provided"))
		change(f, secret, func(s *corev1.Secret) {
			s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = second.Certificate, second.Key
		})
		listed := func() []v1alpha1.ListedCertificate { must(f.get(r, "press")); return r.Status.Certificates }
		Eventually(listed).Should(HaveExactElements(
			And(HaveField("Fingerprint", v1alpha1.Fingerprint(leafOf(second))), HaveField("Use", v1alpha1.CertificateCurrent)),
			And(HaveField("Fingerprint", v1alpha1.Fingerprint(leafOf(first))), HaveField("Use", v1alpha1.CertificatePrevious)),
		))
		Expect(r.Status.Certificates[1].Until.Time).To(BeTemporally("~", operatorClock.Now().Add(time.Hour), 2*time.Second))
		operatorClock.Step(61 * time.Minute)
		change(f, r, func(r *v1alpha1.Refinery) { r.Annotations = map[string]string{"wake": "up"} })
		Eventually(listed).Should(HaveLen(1))
	})

	It("revokes its certificate when another takes its name, also while nobody looks", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{certificateSecretRef: {name: press-own}}`)
		f.create(f.master("alpha", `{}`))
		first, second := client0(f.authority("alpha"), r), client0(f.authority("alpha"), r)
		secret := f.tlsSecret("press-own", first)
		f.create(secret, r)
		listed := func() []v1alpha1.ListedCertificate { must(f.get(r, "press")); return r.Status.Certificates }
		is := func(pair pki.PEMPair) []any {
			return []any{And(HaveField("Fingerprint", v1alpha1.Fingerprint(leafOf(pair))), HaveField("Use", v1alpha1.CertificateCurrent))}
		}
		Eventually(listed).Should(HaveExactElements(is(first)...))

		change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Paused = true }) // nothing is looked at meanwhile
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("Unknown/Paused"))
		Expect(api.Delete(ctx, secret)).To(Succeed())
		f.create(f.tlsSecret("press-own", second))
		change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Paused = false })
		Eventually(listed).Should(HaveExactElements(is(second)...))
	})

	It("may be the authority: with its key the operator issues from it, without it nothing", func(ctx SpecContext) {
		f := newFixture(ctx)
		pair, err := pki.NewAuthority("plant", v1alpha1.DefaultCADuration, operatorClock.Now())
		Expect(err).NotTo(HaveOccurred())
		m := f.master("alpha", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`)
		r := f.refinery("press", `{}`)
		f.create(m, r)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("False/SecretNotFound"))
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("False/AuthorityNotReady"))

		secret := f.tlsSecret("plant-ca", pki.PEMPair{Certificate: pair.Certificate})
		f.create(secret)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("False/AuthorityWithoutKey"))
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("False/AuthorityWithoutKey"))

		change(f, secret, func(s *corev1.Secret) { s.Data[corev1.TLSPrivateKeyKey] = pair.Key })
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		Expect(f.secret("press-tls").Data[v1alpha1.AuthorityKey]).To(Equal(pair.Certificate))
	})

	It("may be all certificates: an authority without its key, what the master serves, and what the nodes show", func(ctx SpecContext) {
		f := newFixture(ctx)
		authority := otherAuthority()
		m := f.master("alpha", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`)
		r := f.refinery("press", `{certificateSecretRef: {name: press-own}}`)
		f.create(m, r, f.tlsSecret("plant-ca", pki.PEMPair{Certificate: authority.BundlePEM()}), f.tlsSecret("press-own", client0(authority, r)))
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("False/AuthorityWithoutKey"))
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Provided"))

		pair, err := authority.IssueServer("alpha", resource.MasterDNSNames(m, ""), operatorClock.Now())
		Expect(err).NotTo(HaveOccurred())
		served := f.tlsSecret("alpha-tls", pair)
		f.create(served)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("False/SecretKeyMissing"))
		Expect(message(f, m, v1alpha1.ConditionCertificateReady)()).To(HavePrefix("Secret alpha-tls: key ca.crt is missing"))
		change(f, served, func(s *corev1.Secret) { s.Data[v1alpha1.AuthorityKey] = authority.BundlePEM() })
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Provided"))
		Expect(m.Status.Certificate.Fingerprint).To(Equal(v1alpha1.Fingerprint(leafOf(pair))))
	})

	It("may be the shared certificate, which has to be there and long enough not to be guessed", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{security: {authentication: SharedCertificate}, certificates: {shared: {secretRef: {name: plant-shared}}}}`)
		f.create(m)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("False/SecretNotFound"))
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "plant-shared"}, Data: map[string][]byte{"certificate": []byte(" \n")}}
		f.create(secret)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("False/SecretKeyMissing"))
		change(f, secret, func(s *corev1.Secret) { s.Data["certificate"] = []byte("x\n") })
		Eventually(conditionText(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("False/TooShort: certificates.shared: Secret plant-shared: " +
			"key certificate has fewer than 16 bytes, so it can be guessed; put in a longer one, such as openssl rand -hex 32 writes"))
		change(f, secret, func(s *corev1.Secret) { s.Data["certificate"] = []byte("the bearer's secret") })
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		Expect(string(f.secret("alpha-shared").Data["certificate"])).To(Equal("the bearer's secret"), "what master and nodes mount is a copy")
	})
})
