package controllers_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// later lets time pass, and has the operator look at objects.
func (f fixture) later(passed time.Duration, objects ...client.Object) {
	GinkgoHelper()
	operatorClock.Step(passed)
	for _, o := range objects {
		change(f, o, func(o client.Object) {
			o.SetAnnotations(map[string]string{"wake": operatorClock.Now().String()})
		})
	}
}

// measured is what a metric of an operator's shows for an object, and whether it does.
func (f fixture) measured(shown *controllers.Metrics, metric, name string) func() (float64, error) {
	return func() (float64, error) {
		families, err := shown.Gather()
		must(err)
		for _, family := range families {
			if family.GetName() != "refinery_operator_"+metric {
				continue
			}
			for _, m := range family.GetMetric() {
				labels := map[string]string{}
				for _, l := range m.GetLabel() {
					labels[l.GetName()] = l.GetValue()
				}
				if labels["namespace"] == f.namespace && labels["name"] == name {
					return m.GetGauge().GetValue() + m.GetCounter().GetValue(), nil
				}
			}
		}
		return 0, fmt.Errorf("%s of %s is not shown", metric, name)
	}
}

// left is how many seconds before its end a certificate or an authority is, as its metric shows it.
func (f fixture) left(shown *controllers.Metrics, what, name string) float64 {
	GinkgoHelper()
	end, err := f.measured(shown, what+"_expiry_timestamp_seconds", name)()
	Expect(err).NotTo(HaveOccurred())
	return end - float64(operatorClock.Now().Unix())
}

// issuer is a certificate and its key, which may sign others.
type issuer struct {
	pair        pki.PEMPair
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// signedBy makes a certificate that lasts for some time from now: of an authority, or of a node with these identities.
func signedBy(above *issuer, name string, life time.Duration, identities ...*url.URL) issuer {
	GinkgoHelper()
	now, made := operatorClock.Now(), issuer{key: newKey()}
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now, NotAfter: now.Add(life), BasicConstraintsValid: true, URIs: identities}
	if len(identities) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	} else {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	}
	if above == nil {
		above = &issuer{certificate: template, key: made.key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, above.certificate, made.key.Public(), above.key)
	Expect(err).NotTo(HaveOccurred())
	made.pair = pairOf(der, made.key)
	made.certificate = leafOf(made.pair)
	return made
}

var _ = Describe("A certificate that nobody renews", func() {
	const ready, expiring = v1alpha1.ConditionCertificateReady, v1alpha1.ConditionCertificateExpiring

	It("is told of while a Refinery is paused, and what is let in stays as it is", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{certificates: {duration: 3h}}`)
		provided, issued := f.refinery("press", `{certificateSecretRef: {name: press-own}}`), f.refinery("mill", `{}`)
		f.create(m)
		authority := f.authority("alpha")
		authority.LeafDuration = 3 * time.Hour
		f.create(f.tlsSecret("press-own", client0(authority, provided)), provided, issued)
		for _, r := range []*v1alpha1.Refinery{provided, issued} {
			Eventually(condition(f, r, ready)).Should(HavePrefix("True/"))
			change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Paused = true })
			Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("Unknown/Paused"))
		}
		before := provided.Status.Certificates

		f.later(150*time.Minute, provided, issued)
		Eventually(message(f, provided, expiring)).Should(And(HavePrefix("the certificate in Secret press-own expires in less than a day"), HaveSuffix("put a new one into the Secret before then")))
		Eventually(message(f, issued, expiring)).Should(And(HavePrefix("the certificate in Secret mill-tls expires in less than a day"), HaveSuffix("it is not renewed while spec.paused of the Refinery is set")))
		Expect(condition(f, provided, ready)()).To(Equal("True/Provided"))
		Expect(condition(f, issued, ready)()).To(Equal("True/Issued"))

		f.later(time.Hour, provided, issued)
		for _, r := range []*v1alpha1.Refinery{provided, issued} {
			Eventually(condition(f, r, ready)).Should(Equal("False/Expired"))
			Expect(condition(f, r, expiring)()).To(BeEmpty())
			Expect(condition(f, r, v1alpha1.ConditionReady)()).To(Equal("Unknown/Paused"))
			Eventually(f.events(r)).Should(ContainElement(HavePrefix("Warning/Expired: CertificateReady: ")))
			Expect(f.left(operatorMetrics, "certificate", r.Name)).To(BeNumerically("<", -1000))
		}
		Expect(provided.Status.Certificates).To(Equal(before))

		change(f, issued, func(r *v1alpha1.Refinery) { r.Spec.Paused = false })
		Eventually(condition(f, issued, ready)).Should(Equal("True/Issued"))
	})

	It("is told of while a ClusterMaster is paused", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{certificates: {duration: 3h}}`)
		f.create(m)
		Eventually(condition(f, m, ready)).Should(Equal("True/Issued"))
		change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.Paused = true })
		Eventually(condition(f, m, v1alpha1.ConditionReady)).Should(Equal("Unknown/Paused"))

		f.later(150*time.Minute, m)
		Eventually(message(f, m, expiring)).Should(And(HavePrefix("the certificate that the master serves, in Secret alpha-tls, expires in less than a day"),
			HaveSuffix("it is not renewed while spec.paused is set")))
		f.later(time.Hour, m)
		Eventually(condition(f, m, ready)).Should(Equal("False/Expired"))
		Expect(m.Status.Certificate).NotTo(BeNil())

		change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.Paused = false })
		Eventually(condition(f, m, ready)).Should(Equal("True/Issued"))
	})

	It("is renewed while something else in the spec is wrong", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{security: {authentication: SharedCertificate}, certificates: {duration: 3h}}`), f.refinery("press", `{}`)
		f.create(m, r)
		Eventually(condition(f, m, ready)).Should(Equal("True/Issued"))
		Eventually(condition(f, r, ready)).Should(Equal("True/Issued"))
		change(f, m, func(m *v1alpha1.ClusterMaster) {
			m.Spec.Certificates.Shared = &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "alpha-ca"}}
		})
		Eventually(condition(f, m, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidReference"))
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("False/InvalidReference"))
		served, listed := m.Status.Certificate.Fingerprint, r.Status.Certificates[0].Fingerprint

		f.later(150*time.Minute, m, r)
		Eventually(func() string { must(f.get(m, "alpha")); return m.Status.Certificate.Fingerprint }).ShouldNot(Equal(served))
		Eventually(func() string { must(f.get(r, "press")); return r.Status.Certificates[0].Fingerprint }).ShouldNot(Equal(listed))
		Expect(condition(f, m, v1alpha1.ConditionStalled)()).To(Equal("True/InvalidReference"))
	})

	It("is told of while its Refinery names a Secret that is not for it", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{certificateSecretRef: {name: press-own}}`)
		f.create(f.master("alpha", `{}`))
		f.create(f.tlsSecret("press-own", client0(f.authority("alpha"), r)), r)
		Eventually(condition(f, r, ready)).Should(Equal("True/Provided"))
		before := r.Status.Certificates
		change(f, r, func(r *v1alpha1.Refinery) { r.Spec.CertificateSecretRef.Name = "alpha-tls" })
		Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidReference"))
		f.later(80*24*time.Hour, r)
		Eventually(message(f, r, expiring)).Should(HavePrefix("the certificate in Secret press-own expires in "))
		Expect(condition(f, r, ready)()).To(Equal("True/Provided"))
		Expect(condition(f, r, v1alpha1.ConditionStalled)()).To(Equal("True/InvalidReference"))
		Expect(r.Status.Certificates).To(Equal(before))
	})

	It("is told of before an intermediate above it ends", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`)
		r := f.refinery("press", `{certificateSecretRef: {name: press-own}}`)
		root := signedBy(nil, "plant", 10000*time.Hour)
		middle := signedBy(&root, "middle", 3*time.Hour)
		leaf := signedBy(&middle, "press", 1000*time.Hour, r.Identity())
		chain := pki.PEMPair{Certificate: slices.Concat(leaf.pair.Certificate, middle.pair.Certificate), Key: leaf.pair.Key}
		f.create(f.tlsSecret("plant-ca", root.pair), m, f.tlsSecret("press-own", chain), r)
		Eventually(condition(f, r, ready)).Should(Equal("True/Provided"))
		Expect(condition(f, r, expiring)()).To(BeEmpty())

		f.later(150*time.Minute, r)
		Eventually(message(f, r, expiring)).Should(And(HavePrefix("an intermediate above the certificate in Secret press-own expires in less than a day"),
			HaveSuffix("put a new one into the Secret before then")))
		Expect(f.left(operatorMetrics, "certificate", "press")).To(BeNumerically("~", 1800, 60))
		f.later(time.Hour, r)
		Eventually(condition(f, r, ready)).Should(Equal("False/Expired"))
	})

	It("is measured when its authority has expired, by an operator that has just come too", func(ctx SpecContext) {
		f := newFixture(ctx)
		pair, err := pki.NewAuthority("plant", 3*time.Hour, operatorClock.Now())
		Expect(err).NotTo(HaveOccurred())
		m := f.master("alpha", `{certificates: {authority: {secretRef: {name: plant-ca}}, duration: 1h}}`)
		f.create(f.tlsSecret("plant-ca", pair), m)
		Eventually(condition(f, m, ready)).Should(Equal("True/Issued"))
		settled() // a pass in the middle of which the time comes finds the certificate due by an authority that was good
		served := m.Status.Certificate.Fingerprint

		f.later(4*time.Hour, m)
		Eventually(condition(f, m, ready)).Should(Equal("False/Expired"))
		fresh := newProcessAt(f.namespace, 0, false, clocktesting.NewFakePassiveClock(operatorClock.Now()))
		for _, reconcile := range fresh.reconciles {
			Expect(reconcile(ctx)).To(Succeed())
		}
		for _, metrics := range []*controllers.Metrics{operatorMetrics, fresh.metrics} {
			Expect(f.left(metrics, "authority", "alpha")).To(BeNumerically("~", -3600, 60))
			Expect(f.left(metrics, "certificate", "alpha")).To(BeNumerically("<", -3600))
		}
		Expect(m.Status.Certificate).To(HaveField("Fingerprint", served))
	})
})

var _ = Describe("A certificate that takes the place of another", func() {
	It("is counted, whoever issued it", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{certificates: {duration: 3h}}`)
		provided, issued := f.refinery("press", `{certificateSecretRef: {name: press-own}}`), f.refinery("mill", `{}`)
		f.create(m)
		authority := f.authority("alpha")
		secret := f.tlsSecret("press-own", client0(authority, provided))
		f.create(secret, provided, issued)
		renewals := func(name string) func() (float64, error) {
			return f.measured(operatorMetrics, "certificate_renewals_total", name)
		}
		for name, o := range map[string]client.Object{"alpha": m, "press": provided, "mill": issued} {
			Eventually(condition(f, o, v1alpha1.ConditionCertificateReady)).Should(HavePrefix("True/"))
			Expect(renewals(name)()).To(BeZero())
		}
		for n := range 2 {
			next := client0(authority, provided)
			change(f, secret, func(s *corev1.Secret) {
				s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = next.Certificate, next.Key
			})
			f.later(150*time.Minute, m, issued)
			for _, name := range []string{"alpha", "press", "mill"} {
				Eventually(renewals(name)).Should(BeEquivalentTo(n + 1))
			}
		}
		settled()
		for _, name := range []string{"alpha", "press", "mill"} {
			Expect(renewals(name)()).To(BeEquivalentTo(2))
		}
	})
})
