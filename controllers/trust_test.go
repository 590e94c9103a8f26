package controllers_test

import (
	"slices"
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

// publishedTrust is the trust bundle that ClusterMaster alpha publishes, or "".
func publishedTrust(f fixture) func() string {
	return func() string {
		trust := &corev1.ConfigMap{}
		if f.get(trust, "alpha-trust") != nil {
			return ""
		}
		return trust.Data[v1alpha1.AuthorityKey]
	}
}

var _ = Describe("The trust bundle of a ClusterMaster", func() {
	It("is published, owned and put back, and nothing is written at rest", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{}`)
		f.create(m)
		Eventually(publishedTrust(f)).Should(Equal(string(f.secret("alpha-ca").Data[corev1.TLSCertKey])))
		trust := &corev1.ConfigMap{}
		Expect(f.get(trust, "alpha-trust")).To(Succeed())
		Expect(metav1.IsControlledBy(trust, m)).To(BeTrue())
		Expect(trust.Labels).To(HaveKeyWithValue(resource.LabelInstance, "alpha"))
		before := trust.Data[v1alpha1.AuthorityKey]
		change(f, trust, func(c *corev1.ConfigMap) { c.Data[v1alpha1.AuthorityKey] = "someone else's" })
		Eventually(publishedTrust(f)).Should(Equal(before))
		Expect(api.Delete(ctx, trust)).To(Succeed())
		Eventually(publishedTrust(f)).Should(Equal(before))
		settled()
		writes := operatorWrites.total()
		annotate(f, m, "wake", time.Now().String())
		Consistently(func() []string { return operatorWrites.since(writes) }).Should(BeEmpty())
	})

	It("has a new authority before that signs, and the former one until nobody needs it", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{}`)
		f.create(m)
		Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
		settled()
		former, writes := publishedTrust(f)(), operatorWrites.total()
		annotate(f, m, v1alpha1.RotateCAAnnotation, "monday")
		Eventually(publishedTrust(f)).Should(HavePrefix(former), "both")
		Eventually(func() []string { return operatorWrites.since(writes) }).Should(ContainElement("apply Secret alpha-tls"))
		order := operatorWrites.since(writes)
		Expect(slices.Index(order, "apply ConfigMap alpha-trust")).To(BeNumerically("<", slices.Index(order, "apply Secret alpha-tls")))
		both := publishedTrust(f)()
		Expect(pki.ParseCertificates(v1alpha1.AuthorityKey, []byte(both))).To(HaveLen(2))

		rotating := condition(f, m, v1alpha1.ConditionCertificateAuthorityRotating)
		Eventually(rotating).Should(Equal("True/Preparing"))
		f.becomeActive(m)
		annotate(f, m, v1alpha1.ForceCARotationAnnotation, "monday")
		Eventually(rotating).Should(BeEmpty())
		Eventually(publishedTrust(f)).Should(Equal(string(f.secret("alpha-ca").Data[corev1.TLSCertKey])))
		Expect(both).To(HaveSuffix(publishedTrust(f)()))
	})

	It("is that of a provided authority, with certificates only", func(ctx SpecContext) {
		f := newFixture(ctx)
		authority := otherAuthority()
		m := f.master("alpha", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`)
		pair, err := authority.IssueServer("alpha", resource.MasterDNSNames(m, ""), operatorClock.Now())
		Expect(err).NotTo(HaveOccurred())
		served := f.tlsSecret("alpha-tls", pair)
		served.Data[v1alpha1.AuthorityKey] = append([]byte("a note of the user\n"), authority.BundlePEM()...)
		f.create(m, f.tlsSecret("plant-ca", pki.PEMPair{Certificate: authority.BundlePEM()}), served)
		Eventually(publishedTrust(f)).Should(Equal(string(authority.BundlePEM())))
	})

	It("that cannot be published ends the pass when everything else is done", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{}`)
		theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "alpha-trust"}, Data: map[string]string{"a": "b"}}
		f.create(theirs, m)
		Eventually(condition(f, m, v1alpha1.ConditionStalled)).Should(Equal("True/NameConflict"))
		Expect(message(f, m, v1alpha1.ConditionReady)()).To(HavePrefix("ConfigMap alpha-trust is needed and belongs to someone else"))
		Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
		Expect(condition(f, m, v1alpha1.ConditionCertificateReady)()).To(Equal("True/Issued"))
		Expect(f.get(theirs, "alpha-trust")).To(Succeed())
		Expect(theirs.Data).To(Equal(map[string]string{"a": "b"}))
		Expect(api.Delete(ctx, theirs)).To(Succeed())
		Eventually(publishedTrust(f)).ShouldNot(BeEmpty())
	})
})
