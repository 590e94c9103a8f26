package controllers_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// fleetTime makes a certificate valid by the operator's clock.
func fleetTime(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = operatorClock.Now().Add(-hour), operatorClock.Now().Add(10000*hour)
}

// pemOf is a certificate with its chain and its key.
func pemOf(c tls.Certificate) pki.PEMPair {
	certificate, key := pkitest.PEM(c)
	return pki.PEMPair{Certificate: certificate, Key: key}
}

// named is the text of authorities, and the key of the first.
func named(all ...*pkitest.Authority) pki.PEMPair {
	_, key := pkitest.PEM(tls.Certificate{PrivateKey: all[0].Key})
	return pki.PEMPair{Certificate: pkitest.Bundle(all...), Key: key}
}

// verified reports why who trusts the root alone does not verify what a Secret serves.
func verified(secret *corev1.Secret, root *pkitest.Authority, usage x509.ExtKeyUsage, name string) error {
	chain, err := pki.ParseCertificates(corev1.TLSCertKey, secret.Data[corev1.TLSCertKey])
	if err != nil {
		return err
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{Roots: pkitest.Pool(root), Intermediates: intermediates, CurrentTime: operatorClock.Now(),
		KeyUsages: []x509.ExtKeyUsage{usage}, DNSName: name})
	return err
}

var _ = Describe("A provided authority below a root", func() {
	DescribeTable("has its intermediates served by masters and nodes, so that who trusts the root verifies both",
		func(ctx SpecContext, key func() crypto.Signer, withRoot bool, above int) {
			f := newFixture(ctx)
			signer := key()
			root := pkitest.NewAuthorityWithKey("root", signer, fleetTime)
			issuing := root.IntermediateWithKey("policy", signer, fleetTime).IntermediateWithKey("issuing", signer, fleetTime)
			all := []*pkitest.Authority{issuing}
			if above > 1 {
				policy, err := x509.ParseCertificate(issuing.Chain[1])
				Expect(err).NotTo(HaveOccurred())
				all = append(all, &pkitest.Authority{Certificate: policy})
			}
			if withRoot {
				all = append(all, root)
			}
			m, r := f.master("alpha", `{certificates: {authority: {secretRef: {name: corp}}}}`), f.refinery("press", `{}`)
			f.create(f.tlsSecret("corp", named(all...)), m, r)
			Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
			Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))

			served, shown := f.secret("alpha-tls"), f.secret("press-tls")
			for _, secret := range []*corev1.Secret{served, shown} {
				Expect(bytes.Count(secret.Data[corev1.TLSCertKey], []byte("BEGIN CERTIFICATE"))).To(Equal(1 + above))
				Expect(secret.Data[v1alpha1.AuthorityKey]).To(Equal(pkitest.Bundle(all...)))
			}
			if above > 1 {
				Expect(verified(served, root, x509.ExtKeyUsageServerAuth, resource.MasterServerName(m))).To(Succeed())
				Expect(verified(shown, root, x509.ExtKeyUsageClientAuth, "")).To(Succeed())
			}
			settled()
			before := operatorWrites.total()
			Consistently(func() []string { return operatorWrites.since(before) }).Should(BeEmpty())
		},
		Entry("the issuing one and the policy one", func() crypto.Signer { return newKey() }, false, 2),
		Entry("both and their root", func() crypto.Signer { return newKey() }, true, 2),
		Entry("three tiers of RSA-4096", func() crypto.Signer { key, _ := rsa.GenerateKey(rand.Reader, 4096); return key }, true, 2),
		Entry("the issuing one alone: as much as there is", func() crypto.Signer { return newKey() }, false, 1),
	)
})

var _ = Describe("A certificate that comes with its chain", func() {
	It("may be of RSA-4096 in three tiers, and stand in its file as people have it", func(ctx SpecContext) {
		f := newFixture(ctx)
		key, err := rsa.GenerateKey(rand.Reader, 4096)
		Expect(err).NotTo(HaveOccurred())
		root := pkitest.NewAuthorityWithKey("root", key, fleetTime)
		issuing := root.IntermediateWithKey("policy", key, fleetTime).IntermediateWithKey("issuing", key, fleetTime)
		m := f.master("alpha", `{certificates: {authority: {secretRef: {name: corp}}}}`)
		r := f.refinery("press", `{certificateSecretRef: {name: press-own}}`)
		pair := pemOf(issuing.IssueWithKey(key, fleetTime, pkitest.Named("press"), pkitest.Client(r.Identity().String())))
		damaged := bytes.Replace(pair.Certificate, []byte("-----\n-----BEGIN"), []byte("\n-----BEGIN"), 1)
		pair.Certificate = []byte("\ufeffplant\r\n" + strings.Replace(strings.ReplaceAll(string(pair.Certificate), "\n", "\r\n"), "-----\r\n-----BEGIN", "----------BEGIN", 1))
		secret := f.tlsSecret("press-own", pair)
		f.create(f.tlsSecret("corp", named(root)), m, r, secret)
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Provided"))

		change(f, secret, func(s *corev1.Secret) { s.Data[corev1.TLSCertKey] = damaged })
		Eventually(conditionText(f, r, v1alpha1.ConditionCertificateReady)).Should(MatchRegexp(
			`^False/NotPEM: Secret press-own: tls\.crt, block 1 of 3 \(CERTIFICATE, line 1\): line \d+ has to be its END line; put in the whole block again; until then certificate .* is let in`))
	})

	DescribeTable("is that of a master, and needs no name but the one that nodes verify", func(ctx SpecContext, want string, names ...string) {
		f := newFixture(ctx)
		root := pkitest.NewAuthority("root", fleetTime)
		m := f.master("alpha", `{certificates: {authority: {secretRef: {name: corp}}}}`)
		for i, name := range names {
			names[i] = strings.ReplaceAll(name, "NAMESPACE", f.namespace)
		}
		served := f.tlsSecret("alpha-tls", pemOf(root.Intermediate("issuing", fleetTime).Issue(fleetTime, pkitest.Server(names...))))
		served.Data[v1alpha1.AuthorityKey] = pkitest.Bundle(root)
		f.create(f.tlsSecret("corp", pki.PEMPair{Certificate: pkitest.Bundle(root)}), served, m)
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal(want))
	},
		Entry("it alone", "True/Provided", "alpha.NAMESPACE.svc"),
		Entry("a wildcard for it", "True/Provided", "*.NAMESPACE.svc"),
		Entry("a wildcard that is too wide", "False/WrongIdentity", "*.svc"),
		Entry("every other name", "False/WrongIdentity", "alpha", "alpha.NAMESPACE", "alpha.NAMESPACE.svc.cluster.local", "localhost"),
	)

	It("is served with a trust bundle that is read whole, or is told why not", func(ctx SpecContext) {
		f := newFixture(ctx)
		root := pkitest.NewAuthority("root", fleetTime)
		m := f.master("alpha", `{certificates: {authority: {secretRef: {name: corp}}}}`)
		served := f.tlsSecret("alpha-tls", pemOf(root.Issue(fleetTime, pkitest.Server(resource.MasterServerName(m)))))
		broken := pkitest.Bundle(root, root)
		served.Data[v1alpha1.AuthorityKey] = broken[:len(broken)-40]
		f.create(f.tlsSecret("corp", pki.PEMPair{Certificate: pkitest.Bundle(root)}), served, m)
		Eventually(conditionText(f, m, v1alpha1.ConditionCertificateReady)).Should(MatchRegexp(
			`^False/NotPEM: Secret alpha-tls: ca\.crt, block 2 of 2 \(CERTIFICATE, line \d+\): it has no END line; put in the whole block again$`))
		change(f, served, func(s *corev1.Secret) { s.Data[v1alpha1.AuthorityKey] = bytes.Repeat(pkitest.Bundle(root), 60) }) // more than 32 KiB
		Eventually(condition(f, m, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Provided"))
	})
})
