package controllers_test

import (
	"crypto/ed25519"
	"crypto/rsa"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

var _ = Describe("The kind of the keys that the operator makes", func() {
	It("is the one that the spec asks for, and another from the next certificate on", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{certificates: {privateKey: {algorithm: RSA, size: 2048}}}`), f.refinery("press", `{}`)
		f.create(m, r)
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		key := func(secret string) func() any {
			return func() any {
				return leafOf(pki.PEMPair{Certificate: f.secret(secret).Data[corev1.TLSCertKey]}).PublicKey
			}
		}
		for _, secret := range []string{"alpha-ca", "alpha-tls", "press-tls"} {
			Expect(key(secret)()).To(BeAssignableToTypeOf(&rsa.PublicKey{}))
		}

		settled()
		before := operatorWrites.total()
		change(f, m, func(m *v1alpha1.ClusterMaster) {
			m.Spec.Certificates.PrivateKey = v1alpha1.PrivateKeySpec{Algorithm: v1alpha1.KeyEd25519}
		})
		Eventually(func() int64 { must(f.get(m, "alpha")); return m.Status.ReconciledGeneration }).Should(Equal(m.Generation))
		settled()
		Expect(operatorWrites.since(before)).To(HaveEach(ContainSubstring("status")))

		for _, secret := range []string{"alpha-tls", "press-tls"} {
			Expect(api.Delete(ctx, f.secret(secret))).To(Succeed())
			Eventually(key(secret)).Should(BeAssignableToTypeOf(ed25519.PublicKey{}))
		}
		Expect(key("alpha-ca")()).To(BeAssignableToTypeOf(&rsa.PublicKey{}))
		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
	})
})
