package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// ownerOf says what the garbage collector goes by.
func ownerOf(f fixture, secret string) func() []metav1.OwnerReference {
	return func() []metav1.OwnerReference { return f.secret(secret).OwnerReferences }
}

func setDeletionPolicy(f fixture, m *v1alpha1.ClusterMaster, policy v1alpha1.DeletionPolicy) {
	GinkgoHelper()
	change(f, m, func(m *v1alpha1.ClusterMaster) {
		if m.Spec.Certificates == nil {
			m.Spec.Certificates = &v1alpha1.CertificatesSpec{}
		}
		m.Spec.Certificates.DeletionPolicy = policy
	})
}

var _ = Describe("What the trust of nodes rests on", func() {
	const shared = `security: {transport: Plaintext, authentication: SharedCertificate}`
	retained := []string{"alpha-ca", "alpha-shared"}

	It("outlives its ClusterMaster, which owns everything else, unless the policy says otherwise, at once and back", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{`+shared+`}`)
		f.create(m)
		Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
		values := map[string]map[string][]byte{}
		for _, name := range retained {
			secret := f.secret(name)
			values[name] = secret.Data
			Expect(secret.OwnerReferences).To(BeEmpty(), name)
			Expect(secret.Labels).To(HaveKeyWithValue(resource.LabelManagedBy, resource.ManagedBy), name)
			Expect(secret.Annotations).To(HaveKeyWithValue(v1alpha1.OwnerAnnotation, string(m.UID)), name)
		}
		for _, name := range []string{"alpha-tls", "alpha-peer"} {
			Expect(metav1.IsControlledBy(f.secret(name), m)).To(BeTrue(), name)
		}

		setDeletionPolicy(f, m, v1alpha1.DeletionPolicyDelete)
		for _, name := range retained {
			Eventually(func() bool { return metav1.IsControlledBy(f.secret(name), m) }).Should(BeTrue(), name)
			Expect(f.secret(name).Annotations).NotTo(HaveKey(v1alpha1.OwnerAnnotation), name)
		}
		setDeletionPolicy(f, m, v1alpha1.DeletionPolicyRetain)
		for _, name := range retained {
			Eventually(ownerOf(f, name)).Should(BeEmpty(), name)
			Expect(f.secret(name).Data).To(Equal(values[name]), name)
		}
		settled()
		before := operatorWrites.total()
		change(f, m, func(m *v1alpha1.ClusterMaster) { metav1.SetMetaDataAnnotation(&m.ObjectMeta, "touched", "1") })
		Consistently(func() []string { return operatorWrites.since(before) }).Should(BeEmpty())
	})

	DescribeTable("is collected with its ClusterMaster, or is not, as the policy says",
		func(ctx SpecContext, policy v1alpha1.DeletionPolicy, stays bool) {
			f := newFixture(ctx)
			m := f.master("alpha", `{`+shared+`, certificates: {deletionPolicy: `+string(policy)+`}}`)
			f.create(m)
			Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
			authority := f.secret("alpha-ca").Data
			f.collect(m)
			for _, name := range retained {
				Expect(f.get(&corev1.Secret{}, name) == nil).To(Equal(stays), name)
			}
			Expect(f.get(&corev1.Secret{}, "alpha-tls")).NotTo(Succeed())
			if stays {
				f.create(f.master("alpha", `{}`))
				settled()
				Expect(f.secret("alpha-ca").Data).To(Equal(authority), "no other authority is written over it")
			}
		},
		Entry("Retain", v1alpha1.DeletionPolicyRetain, true),
		Entry("Delete", v1alpha1.DeletionPolicyDelete, false),
	)

	It("is what a ClusterMaster that is created again serves with, as the operator's mark proves it", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("edge", `{placement: External}`)
		f.create(m, r)
		Eventually(func() []v1alpha1.ListedCertificate { must(f.get(r, "edge")); return r.Status.Certificates }).Should(HaveLen(1))
		authority, node := f.authority("alpha"), f.secret("edge-tls").Data
		f.collect(m)
		again := f.master("alpha", `{}`)
		f.create(again)
		settled()
		Eventually(exists(f, &corev1.Secret{}, "alpha-tls")).Should(Succeed())
		served, err := pki.ParseCertificates(corev1.TLSCertKey, f.secret("alpha-tls").Data[corev1.TLSCertKey])
		Expect(err).NotTo(HaveOccurred())
		Expect(authority.Signed(served[0])).To(BeTrue(), "nodes trust what the master serves")
		Eventually(condition(f, again, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		settled()
		Expect(f.secret("edge-tls").Data).To(Equal(node), "nobody has to carry files to External nodes")
	})

	DescribeTable("follows the policy also while",
		func(ctx SpecContext, edit func(fixture, *v1alpha1.ClusterMaster)) {
			f := newFixture(ctx)
			m := f.master("alpha", `{}`)
			f.create(m, f.tlsSecret("plant-ca", otherAuthorityPair()))
			Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
			edit(f, m)
			settled()
			Expect(ownerOf(f, "alpha-ca")()).To(BeEmpty())
			setDeletionPolicy(f, m, v1alpha1.DeletionPolicyDelete)
			Eventually(ownerOf(f, "alpha-ca")).Should(HaveLen(1))
		},
		Entry("another authority is provided", func(f fixture, m *v1alpha1.ClusterMaster) {
			change(f, m, func(m *v1alpha1.ClusterMaster) {
				m.Spec.Certificates = &v1alpha1.CertificatesSpec{Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}
			})
		}),
		Entry("an issuer of cert-manager is named", func(f fixture, m *v1alpha1.ClusterMaster) {
			change(f, m, func(m *v1alpha1.ClusterMaster) {
				m.Spec.Certificates = &v1alpha1.CertificatesSpec{IssuerRef: &v1alpha1.IssuerReference{Name: "plant"}}
			})
		}),
		Entry("the authority does not parse", func(f fixture, m *v1alpha1.ClusterMaster) {
			change(f, f.secret("alpha-ca"), func(s *corev1.Secret) { s.Data[corev1.TLSCertKey] = []byte("spoilt") })
		}),
		Entry("another field of the spec is not valid", func(f fixture, m *v1alpha1.ClusterMaster) {
			change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.Protocol.AcceptedVersions = "no" })
		}),
		Entry("a rotation is under way", func(f fixture, m *v1alpha1.ClusterMaster) {
			change(f, m, func(m *v1alpha1.ClusterMaster) {
				metav1.SetMetaDataAnnotation(&m.ObjectMeta, v1alpha1.RotateCAAnnotation, "1")
			})
		}),
	)

	It("is not for the pods of any Refinery once its ClusterMaster is gone", func(ctx SpecContext) {
		f := newFixture(ctx)
		beta := f.master("beta", `{`+shared+`}`)
		f.create(f.master("alpha", `{}`), beta)
		Eventually(exists(f, &appsv1.Deployment{}, "beta")).Should(Succeed())
		f.collect(beta)
		for _, secret := range []string{"beta-ca", "beta-shared"} {
			r := f.withTemplate("press-"+secret, `{spec: {volumes: [{name: v, secret: {secretName: `+secret+`}}]}}`)
			f.create(r)
			Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidTemplate"))
			Expect(message(f, r, v1alpha1.ConditionReady)()).To(HavePrefix(
				"spec.template uses Secret " + secret + ": the operator created it for ClusterMaster beta, which does not exist any more"))
		}
		reference := f.refinery("pump", `{certificateSecretRef: {name: beta-ca}}`)
		f.create(reference)
		Eventually(condition(f, reference, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidReference"))
	})
})
