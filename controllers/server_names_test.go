package controllers_test

import (
	"crypto/x509"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

var _ = Describe("The names of the certificate that a master serves", func() {
	const refused, issued = "False/AuthorityConstrained", "True/Issued"
	served := func(f fixture) *x509.Certificate {
		return leafOf(pki.PEMPair{Certificate: f.secret("alpha-tls").Data[corev1.TLSCertKey]})
	}
	names := func(f fixture) func() []string {
		return func() []string {
			leaf := served(f)
			found := leaf.DNSNames
			for _, ip := range leaf.IPAddresses {
				found = append(found, ip.String())
			}
			return found
		}
	}
	rename := func(f fixture, m *v1alpha1.ClusterMaster, dns, ips []string) {
		change(f, m, func(m *v1alpha1.ClusterMaster) {
			m.Spec.Certificates.DNSNames, m.Spec.Certificates.IPAddresses = dns, ips
		})
	}

	It("are those of its Service and those that the spec adds, and a change has it issued anew, once", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{}`)
		f.create(m, r)
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal(issued))
		service := "alpha." + f.namespace
		own := []string{"alpha", service, service + ".svc", service + ".svc.cluster.local", "localhost"}
		Expect(names(f)()).To(ConsistOf(own))
		shown := f.secret("press-tls").Data

		rename(f, m, []string{"alpha.example.com", "*.plant.example.com", service + ".svc"}, []string{"192.0.2.10", "2001:db8::10"})
		Eventually(names(f)).Should(ConsistOf(append(own, "alpha.example.com", "*.plant.example.com", "192.0.2.10", "2001:db8::10")))
		settled()
		before := operatorWrites.total()
		Consistently(func() []string { return operatorWrites.since(before) }).Should(BeEmpty())
		Expect(f.authority("alpha").VerifyServer([]*x509.Certificate{served(f)}, []string{"a.plant.example.com", "2001:db8::10"}, operatorClock.Now())).To(Succeed())

		rename(f, m, nil, nil)
		Eventually(names(f)).Should(ConsistOf(own))
		Expect(f.secret("press-tls").Data).To(Equal(shown))
	})

	It("leave short ones and localhost out where somebody else trusts the authority, and keep what it may not sign from taking the place of what is served", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{certificates: {authority: {secretRef: {name: corp}}}}`)
		f.create(f.tlsSecret("corp", constrainedPair(func(c *x509.Certificate) {
			c.PermittedDNSDomains = []string{"svc", "cluster.local", "example.com"}
		})), m)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal(issued))
		service := resource.MasterServerName(m)
		Expect(names(f)()).To(ConsistOf(service, service+".cluster.local"))
		before := f.secret("alpha-tls").Data

		rename(f, m, []string{"alpha.example.com", "alpha.elsewhere.test"}, nil)
		Eventually(conditionText(f, m, v1alpha1.ConditionCertificateReady)).Should(And(
			HavePrefix(refused), ContainSubstring(`DNS name "alpha.elsewhere.test" is not permitted by any constraint`)))
		Expect(f.secret("alpha-tls").Data).To(Equal(before))

		rename(f, m, []string{"alpha.example.com"}, nil)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal(issued))
		Expect(names(f)()).To(ConsistOf(service, service+".cluster.local", "alpha.example.com"))
	})

	It("do not hurry the change of an authority: what nodes trust is served until they trust the other", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{certificates: {authority: {secretRef: {name: corp}}}}`), f.refinery("press", `{}`)
		secret := f.tlsSecret("corp", constrainedPair(func(*x509.Certificate) {}))
		f.create(secret, m, r)
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal(issued))
		before := served(f)
		change(f, secret, func(s *corev1.Secret) {
			other := constrainedPair(func(*x509.Certificate) {})
			s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = other.Certificate, other.Key
		})
		rename(f, m, []string{"alpha.example.com"}, nil)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateAuthorityRotating)).Should(Equal("True/Preparing"))
		settled()
		Expect(served(f)).To(Equal(before))
	})

	It("are not asked of a certificate that a user provides", func(ctx SpecContext) {
		f := newFixture(ctx)
		root := pkitest.NewAuthority("root", fleetTime)
		m := f.master("alpha", `{certificates: {authority: {secretRef: {name: corp}}, dnsNames: [alpha.example.com]}}`)
		provided := f.tlsSecret("alpha-tls", pemOf(root.Issue(fleetTime, pkitest.Server(resource.MasterServerName(m)))))
		provided.Data[v1alpha1.AuthorityKey] = pkitest.Bundle(root)
		f.create(f.tlsSecret("corp", pki.PEMPair{Certificate: pkitest.Bundle(root)}), provided, m)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Provided"))
	})
})
