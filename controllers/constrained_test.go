package controllers_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// constrainedPair is an authority as a company's might be.
func constrainedPair(constrain func(*x509.Certificate)) pki.PEMPair {
	GinkgoHelper()
	now, key := operatorClock.Now(), newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "corp"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(20000 * hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	constrain(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	Expect(err).NotTo(HaveOccurred())
	return pairOf(der, key)
}

func permitCorp(c *x509.Certificate)  { c.PermittedDNSDomains = []string{"corp.example"} }
func permitURIs(c *x509.Certificate)  { c.PermittedURIDomains = []string{"corp.example"} }
func serversOnly(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
func clientsOnly(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }

var _ = Describe("A provided authority with a constraint that its certificates would break", func() {
	const refused, issued = "False/AuthorityConstrained", "True/Issued"
	atRest := func() {
		GinkgoHelper()
		settled()
		before := operatorWrites.total()
		Consistently(func() []string { return operatorWrites.since(before) }).Should(BeEmpty())
	}

	DescribeTable("is named, and nothing that nobody would accept is written, once or again",
		func(ctx SpecContext, constrain func(*x509.Certificate), master, refinery, words string) {
			f := newFixture(ctx)
			m, r := f.master("alpha", `{certificates: {authority: {secretRef: {name: corp}}}}`), f.refinery("press", `{}`)
			secret := f.tlsSecret("corp", constrainedPair(constrain))
			f.create(secret, m, r)
			Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal(master))
			Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal(refinery))
			if master == refused {
				Expect(message(f, m, v1alpha1.ConditionCertificateReady)()).To(ContainSubstring(words))
				Expect(f.get(&corev1.Secret{}, "alpha-tls")).NotTo(Succeed())
			}
			if refinery == refused {
				Expect(message(f, r, v1alpha1.ConditionCertificateReady)()).To(ContainSubstring(words))
				Expect(f.get(&corev1.Secret{}, "press-tls")).NotTo(Succeed())
			}
			atRest()

			good := constrainedPair(func(*x509.Certificate) {})
			change(f, secret, func(s *corev1.Secret) {
				s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = good.Certificate, good.Key
			})
			Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal(issued))
			Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal(issued))
		},
		Entry("DNS names", permitCorp, refused, issued, `.svc" is not permitted by any constraint`),
		Entry("URI domains", permitURIs, issued, refused, "is not permitted by any constraint"),
		Entry("servers only", serversOnly, issued, refused, `"CN=corp" does not allow TLS client authentication`),
		Entry("clients only", clientsOnly, refused, issued, `"CN=corp" does not allow TLS server authentication`),
	)

	It("works where it breaks none, also with less time left than a certificate's duration", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{certificates: {authority: {secretRef: {name: corp}}}}`), f.refinery("press", `{}`)
		f.create(f.tlsSecret("corp", constrainedPair(func(c *x509.Certificate) {
			c.NotAfter, c.MaxPathLenZero = operatorClock.Now().Add(10*time.Minute), true
		})), m, r)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal(issued))
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal(issued))
		for _, object := range []client.Object{m, r} {
			Expect(message(f, object, v1alpha1.ConditionCertificateReady)()).To(MatchRegexp(
				`; it ends with the certificate authority "CN=corp", on \S+Z, and not after the 2160h0m0s of spec.certificates.duration$`))
		}
		atRest()
	})

	DescribeTable("leaves what was issued before in use and listed",
		func(ctx SpecContext, constrain func(*x509.Certificate), ofMaster bool) {
			f := newFixture(ctx)
			m, r := f.master("alpha", `{certificates: {authority: {secretRef: {name: corp}}}}`), f.refinery("press", `{}`)
			secret := f.tlsSecret("corp", constrainedPair(func(*x509.Certificate) {}))
			f.create(secret, m, r)
			Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal(issued))
			Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal(issued))
			settled()
			served, shown := f.secret("alpha-tls"), f.secret("press-tls")

			other := constrainedPair(constrain)
			change(f, secret, func(s *corev1.Secret) {
				s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = other.Certificate, other.Key
			})
			if ofMaster {
				Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal(refused))
				Expect(f.secret("alpha-tls").Data).To(Equal(served.Data))
			} else {
				Eventually(condition(f, m, v1alpha1.ConditionCertificateAuthorityRotating)).Should(HavePrefix("True/"))
				settled()
				// The nodes of a fleet do not all get a new one at once. Meanwhile the time for pods that report nothing is over, and
				// the master gets its own from the new authority.
				f.later(2*time.Minute, m, r)
				Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal(refused))
				Eventually(condition(f, m, v1alpha1.ConditionCertificateAuthorityRotating)).Should(Equal("True/Activating"))
			}
			atRest()
			Expect(f.secret("press-tls").Data).To(Equal(shown.Data))
			must(f.get(r, "press"))
			Expect(r.Status.Certificates).To(HaveExactElements(
				HaveField("Fingerprint", v1alpha1.Fingerprint(leafOf(pki.PEMPair{Certificate: shown.Data[corev1.TLSCertKey]})))))
		},
		Entry("of the master", clientsOnly, true),
		Entry("of the nodes", serversOnly, false),
	)
})
