package controllers_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers/passtest"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

const hour = time.Hour

// provided is a certificate that a person provides, of which a row of a table spoils something.
type provided struct {
	fixture
	authority *pki.Authority
	refinery  *v1alpha1.Refinery
	pair      pki.PEMPair
}

// issue signs what the operator would not.
func (b *provided) issue(edit func(*x509.Certificate)) {
	b.issueFor(edit, newKey())
}

func (b *provided) issueFor(edit func(*x509.Certificate), key crypto.Signer) {
	GinkgoHelper()
	now := operatorClock.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "press"}, URIs: []*url.URL{b.refinery.Identity()},
		NotBefore: now.Add(-hour), NotAfter: now.Add(1000 * hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	edit(template)
	der, err := x509.CreateCertificate(rand.Reader, template, b.authority.Certificates[0], key.Public(), b.authority.Key)
	Expect(err).NotTo(HaveOccurred())
	b.pair = pairOf(der, key)
}

func newKey() *ecdsa.PrivateKey {
	GinkgoHelper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	return key
}

func pairOf(der []byte, key crypto.Signer) pki.PEMPair {
	GinkgoHelper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	Expect(err).NotTo(HaveOccurred())
	return pki.PEMPair{Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})}
}

// says fills in what a row cannot know: {namespace}, and {from} and {to} of the certificate.
func (b *provided) says(text string) string {
	pairs := []string{"{namespace}", b.namespace}
	if chain, err := pki.ParseCertificates("tls.crt", b.pair.Certificate); err == nil {
		pairs = append(pairs, "{from}", chain[0].NotBefore.UTC().Format(time.RFC3339), "{to}", chain[0].NotAfter.UTC().Format(time.RFC3339))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// sentence is what the row of a table has to tell, by the words of the row: in testdata, as people read it.
func sentence() string {
	GinkgoHelper()
	raw, err := os.ReadFile(filepath.Join("testdata", "sentences.yaml"))
	Expect(err).NotTo(HaveOccurred())
	var sentences map[string]map[string]string
	Expect(yaml.UnmarshalStrict(raw, &sentences)).To(Succeed())
	row := CurrentSpecReport()
	told := sentences[row.ContainerHierarchyTexts[0]][row.LeafNodeText]
	Expect(told).NotTo(BeEmpty(), "testdata/sentences.yaml has no sentence for this row")
	return told
}

// overTheBound is more than is read.
func overTheBound(value []byte) []byte {
	return append(bytes.Repeat([]byte("\n"), secretfiles.MaxBytes), value...)
}

// conditionText polls one condition as "status/reason: message".
func conditionText(f fixture, object client.Object, kind string) func() string {
	return func() string { return passtest.Text(conditionOf(f, object, kind)) }
}

var _ = Describe("A certificate that the user provides for a Refinery", func() {
	const intact = "True/Provided: Secret press-own holds a valid certificate, provided by a user"
	setUp := func(ctx SpecContext) *provided {
		f := newFixture(ctx)
		b := &provided{fixture: f, refinery: f.refinery("press", `{certificateSecretRef: {name: press-own}}`)}
		f.create(f.master("alpha", `{}`))
		b.authority = f.authority("alpha")
		b.pair = client0(b.authority, b.refinery)
		return b
	}
	DescribeTable("is told with what to do when it is no good, and heals when it is put right, without a restart",
		func(ctx SpecContext, spoil func(*provided), want string, listed bool) {
			b := setUp(ctx)
			good, r := b.pair, b.refinery
			spoil(b)
			secret := b.tlsSecret("press-own", b.pair)
			if b.pair.Certificate == nil {
				delete(secret.Data, corev1.TLSCertKey)
			}
			b.create(secret, r)
			Eventually(condition(b.fixture, r, v1alpha1.ConditionCertificateReady)).Should(Equal("False/" + want))
			Expect(message(b.fixture, r, v1alpha1.ConditionCertificateReady)()).To(Equal(b.says(sentence())))
			if listed {
				Expect(r.Status.Certificates).To(HaveExactElements(HaveField("Fingerprint", v1alpha1.Fingerprint(leafOf(b.pair)))))
			} else {
				Expect(r.Status.Certificates).To(BeEmpty())
			}
			Eventually(condition(b.fixture, r, v1alpha1.ConditionReady)).Should(Equal("False/CertificateNotReady"))
			deployment := &appsv1.Deployment{}
			Eventually(func() error { return b.get(deployment, "press") }).Should(Succeed())
			before := deployment.Generation

			change(b.fixture, secret, func(s *corev1.Secret) {
				s.Data = map[string][]byte{corev1.TLSCertKey: good.Certificate, corev1.TLSPrivateKeyKey: good.Key}
			})
			Eventually(conditionText(b.fixture, r, v1alpha1.ConditionCertificateReady)).Should(Equal(intact))
			Consistently(func() int64 { must(b.get(deployment, "press")); return deployment.Generation }).Should(Equal(before))
		},
		Entry("no key tls.crt", func(b *provided) { b.pair.Certificate = nil }, "SecretKeyMissing", false),
		Entry("no key tls.key", func(b *provided) { b.pair.Key = nil }, "SecretKeyMissing", true),
		Entry("a certificate that is not PEM", func(b *provided) { b.pair.Certificate = []byte("garbage") }, "NotPEM", false),
		Entry("a key that is not PEM", func(b *provided) { b.pair.Key = []byte("garbage") }, "NotPEM", true),
		Entry("a key that does not parse", func(b *provided) {
			b.pair.Key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
		}, "NotPEM", true),
		Entry("another certificate's key", func(b *provided) { b.pair.Key = client0(otherAuthority(), b.refinery).Key }, "KeyMismatch", true),
		Entry("another authority", func(b *provided) { b.pair = client0(otherAuthority(), b.refinery) }, "WrongAuthority", true),
		Entry("another Refinery's name", func(b *provided) {
			b.issue(func(c *x509.Certificate) {
				c.URIs = []*url.URL{v1alpha1.RefineryIdentity("alpha", b.namespace, "mill")}
			})
		}, "WrongIdentity", true),
		Entry("no URI SAN", func(b *provided) { b.issue(func(c *x509.Certificate) { c.URIs = nil }) }, "WrongIdentity", true),
		Entry("not yet valid", func(b *provided) {
			b.issue(func(c *x509.Certificate) { c.NotBefore = operatorClock.Now().Add(48 * hour) })
		}, "NotYetValid", true),
		Entry("expired", func(b *provided) {
			b.issue(func(c *x509.Certificate) { c.NotAfter = operatorClock.Now().Add(-time.Minute) })
		}, "Expired", true),
		Entry("a certificate that is too large", func(b *provided) { b.pair.Certificate = overTheBound([]byte("\n")) }, "TooLarge", false),
		Entry("a key that is too large", func(b *provided) { b.pair.Key = overTheBound([]byte("\n")) }, "TooLarge", true),
		Entry("a long chain", func(b *provided) { b.pair.Certificate = bytes.Repeat(b.pair.Certificate, 6) }, "TooLarge", true),
		Entry("a server's certificate", func(b *provided) {
			b.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
		}, "WrongUsage", true),
		Entry("an authority's certificate", func(b *provided) {
			b.issue(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
		}, "WrongUsage", true),
		Entry("a weak key", func(b *provided) {
			key, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // which is what the row is about
			Expect(err).NotTo(HaveOccurred())
			b.issueFor(func(*x509.Certificate) {}, key)
		}, "UnsupportedKey", true),
	)

	It("is missed by name until it is there", func(ctx SpecContext) {
		b := setUp(ctx)
		b.create(b.refinery)
		Eventually(conditionText(b.fixture, b.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal(
			"False/SecretNotFound: Secret press-own does not exist; create it and reconciliation resumes"))
		b.create(b.tlsSecret("press-own", b.pair))
		Eventually(conditionText(b.fixture, b.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal(intact))
	})

	It("is warned of from 14 days before its end on, with an event, until another one is there", func(ctx SpecContext) {
		b := setUp(ctx)
		good := b.pair
		b.issue(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = operatorClock.Now().Add(-1000*hour), operatorClock.Now().Add(10*24*hour+6*hour)
		})
		secret := b.tlsSecret("press-own", b.pair)
		b.create(secret, b.refinery)
		want := b.says("the certificate in Secret press-own expires in 10 days, at {to}; put a new one into the Secret before then")
		Eventually(conditionText(b.fixture, b.refinery, v1alpha1.ConditionCertificateExpiring)).Should(Equal("True/Expiring: " + want))
		Expect(conditionText(b.fixture, b.refinery, v1alpha1.ConditionCertificateReady)()).To(Equal(intact))
		Eventually(b.events(b.refinery)).Should(ContainElement("Warning/Expiring: CertificateExpiring: " + want))
		change(b.fixture, secret, func(s *corev1.Secret) {
			s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = good.Certificate, good.Key
		})
		Eventually(conditionText(b.fixture, b.refinery, v1alpha1.ConditionCertificateExpiring)).Should(BeEmpty())
	})
})

var _ = Describe("A certificate authority that the user provides", func() {
	setUp := func(ctx SpecContext) (b *provided, m *v1alpha1.ClusterMaster) {
		f := newFixture(ctx)
		b = &provided{fixture: f, authority: otherAuthority(), pair: otherAuthorityPair(), refinery: f.refinery("press", `{}`)}
		return b, f.master("alpha", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`)
	}
	authority := func(edit func(*x509.Certificate)) func(*provided) {
		return func(b *provided) {
			GinkgoHelper()
			now, key := operatorClock.Now(), newKey()
			template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "plant"}, IsCA: true, BasicConstraintsValid: true,
				KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-hour), NotAfter: now.Add(10000 * hour)}
			edit(template)
			der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
			Expect(err).NotTo(HaveOccurred())
			b.pair = pairOf(der, key)
		}
	}
	DescribeTable("is told with what to do when it is no good, by the ClusterMaster and by its Refineries",
		func(ctx SpecContext, spoil func(*provided), want string) {
			b, m := setUp(ctx)
			good := b.pair
			spoil(b)
			secret := b.tlsSecret("plant-ca", b.pair)
			if b.pair.Certificate == nil {
				delete(secret.Data, corev1.TLSCertKey)
			}
			b.create(secret, m, b.refinery)
			told := b.says(sentence())
			Eventually(conditionText(b.fixture, m, v1alpha1.ConditionCertificateReady)).Should(Equal("False/" + want + ": certificates.authority: " + told))
			Eventually(conditionText(b.fixture, b.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal(
				"False/AuthorityNotReady: the certificate authority of ClusterMaster alpha: " + told))
			change(b.fixture, secret, func(s *corev1.Secret) {
				s.Data = map[string][]byte{corev1.TLSCertKey: good.Certificate, corev1.TLSPrivateKeyKey: good.Key}
			})
			Eventually(conditionText(b.fixture, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued: Secret alpha-tls holds a certificate issued by the operator"))
			Eventually(conditionText(b.fixture, b.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued: Secret press-tls holds a certificate issued by the operator"))
		},
		Entry("no key tls.crt", func(b *provided) { b.pair.Certificate = nil }, "SecretKeyMissing"),
		Entry("not PEM", func(b *provided) { b.pair.Certificate = []byte("garbage") }, "NotPEM"),
		Entry("a key that is not PEM", func(b *provided) { b.pair.Key = []byte("garbage") }, "NotPEM"),
		Entry("another's key", func(b *provided) { b.pair.Key = otherAuthorityPair().Key }, "KeyMismatch"),
		Entry("too large", func(b *provided) { b.pair.Certificate = overTheBound([]byte("x")) }, "TooLarge"),
		Entry("no authority", authority(func(c *x509.Certificate) { c.IsCA = false }), "WrongUsage"),
		Entry("may not sign", authority(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), "WrongUsage"),
		Entry("not yet valid", authority(func(c *x509.Certificate) { c.NotBefore = operatorClock.Now().Add(48 * hour) }), "NotYetValid"),
		Entry("expired", authority(func(c *x509.Certificate) { c.NotAfter = operatorClock.Now().Add(-time.Minute) }), "Expired"),
	)

	It("is missed by name, and warned of before its end", func(ctx SpecContext) {
		b, m := setUp(ctx)
		b.create(m)
		Eventually(conditionText(b.fixture, m, v1alpha1.ConditionCertificateReady)).Should(Equal(
			"False/SecretNotFound: certificates.authority: Secret plant-ca does not exist; create it and reconciliation resumes"))
		authority(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = operatorClock.Now().Add(-1000*hour), operatorClock.Now().Add(5*24*hour+6*hour)
		})(b)
		b.create(b.tlsSecret("plant-ca", b.pair))
		Eventually(conditionText(b.fixture, m, v1alpha1.ConditionCertificateExpiring)).Should(Equal(b.says(
			"True/Expiring: the certificate authority in Secret plant-ca expires in 5 days, at {to}; before then put the new authority first in tls.crt, " +
				"with its key in tls.key if you provide the key, and keep the old one after it until every node presents a certificate that the new one signed")))
	})

	It("may come without its key: then what has to be provided is told, and checked", func(ctx SpecContext) {
		b, m := setUp(ctx)
		b.create(m, b.refinery, b.tlsSecret("plant-ca", pki.PEMPair{Certificate: b.authority.BundlePEM()}))
		Eventually(conditionText(b.fixture, m, v1alpha1.ConditionCertificateReady)).Should(Equal(
			"False/AuthorityWithoutKey: certificates.authority is provided without its key, so the operator cannot issue: create Secret alpha-tls with tls.crt, " +
				"a certificate that the authority signed for the DNS SAN " + resource.MasterServerName(m) + ", its key as tls.key, and the authority as ca.crt"))
		Eventually(conditionText(b.fixture, b.refinery, v1alpha1.ConditionCertificateReady)).Should(Equal(
			"False/AuthorityWithoutKey: the certificate authority of ClusterMaster alpha is provided without its key, so the operator cannot issue: " +
				"name a Secret with a certificate in spec.certificateSecretRef"))

		wrong, err := b.authority.IssueServer("alpha", []string{"elsewhere"}, operatorClock.Now())
		Expect(err).NotTo(HaveOccurred())
		served := b.tlsSecret("alpha-tls", wrong)
		b.create(served)
		Eventually(conditionText(b.fixture, m, v1alpha1.ConditionCertificateReady)).Should(Equal("False/SecretKeyMissing: Secret alpha-tls: " +
			"key ca.crt is missing or empty; put in the certificates of authorities as PEM text"))
		change(b.fixture, served, func(s *corev1.Secret) { s.Data[v1alpha1.AuthorityKey] = b.authority.BundlePEM() })
		Eventually(conditionText(b.fixture, m, v1alpha1.ConditionCertificateReady)).Should(Equal(`False/WrongIdentity: Secret alpha-tls: ` +
			`the certificate "CN=alpha" is not valid for ` + resource.MasterServerName(m) +
			`, by which nodes verify the master; its names are "elsewhere"; put in one that is`))
		stranger, err := otherAuthority().IssueServer("alpha", resource.MasterDNSNames(m, ""), operatorClock.Now())
		Expect(err).NotTo(HaveOccurred())
		change(b.fixture, served, func(s *corev1.Secret) {
			s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = stranger.Certificate, stranger.Key
		})
		Eventually(conditionText(b.fixture, m, v1alpha1.ConditionCertificateReady)).Should(HavePrefix("False/WrongAuthority: Secret alpha-tls: "))
		good, err := b.authority.IssueServer("alpha", resource.MasterDNSNames(m, ""), operatorClock.Now())
		Expect(err).NotTo(HaveOccurred())
		change(b.fixture, served, func(s *corev1.Secret) {
			s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = good.Certificate, good.Key
		})
		Eventually(conditionText(b.fixture, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Provided: Secret alpha-tls holds a valid certificate, provided by a user"))
	})
})
