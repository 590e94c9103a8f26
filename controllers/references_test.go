package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("What is not for the nodes of a Refinery to read", func() {
	DescribeTable("is refused as the shared certificate of a ClusterMaster, and nothing is made with it",
		func(ctx SpecContext, certificates, secret, why string) {
			f := newFixture(ctx)
			m := f.master("alpha", `{security: {authentication: SharedCertificate}, certificates: `+certificates+`}`)
			r := f.refinery("press", `{}`)
			f.create(m, r)
			words := "spec.certificates.shared.secretRef names Secret " + secret + ": " + why
			Eventually(condition(f, m, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidReference"))
			Expect(message(f, m, v1alpha1.ConditionReady)()).To(HavePrefix(words))
			Eventually(message(f, r, v1alpha1.ConditionReady)).Should(HavePrefix("ClusterMaster alpha: " + words))
			Expect(f.get(&appsv1.Deployment{}, "press")).NotTo(Succeed())
			Expect(f.get(&appsv1.Deployment{}, "alpha")).NotTo(Succeed())

			change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = nil })
			Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
			Eventually(condition(f, m, v1alpha1.ConditionStalled)).Should(BeEmpty())
		},
		Entry("the authority", `{shared: {secretRef: {name: alpha-ca}}}`, "alpha-ca", "it is for the certificate authority of ClusterMaster alpha"),
		Entry("what the master serves", `{shared: {secretRef: {name: alpha-tls}}}`, "alpha-tls", "it is for the certificate that ClusterMaster alpha serves"),
		Entry("the authority that was provided", `{authority: {secretRef: {name: plant-ca}}, shared: {secretRef: {name: plant-ca}}}`,
			"plant-ca", "it is for the certificate authority of ClusterMaster alpha"),
	)

	DescribeTable("is refused as the certificate of a Refinery, and heals when another is named",
		func(ctx SpecContext, secret, why string) {
			f := newFixture(ctx)
			m := f.master("alpha", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`)
			mill := f.refinery("mill", `{}`)
			f.create(f.tlsSecret("plant-ca", otherAuthorityPair()), m, mill)
			Eventually(exists(f, &appsv1.Deployment{}, "mill")).Should(Succeed())
			r := f.refinery("press", `{certificateSecretRef: {name: `+secret+`}}`)
			f.create(r)
			Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidReference"))
			Expect(message(f, r, v1alpha1.ConditionReady)()).To(HavePrefix("spec.certificateSecretRef names Secret " + secret + ": " + why))
			Expect(f.get(&appsv1.Deployment{}, "press")).NotTo(Succeed())
			change(f, r, func(r *v1alpha1.Refinery) { r.Spec.CertificateSecretRef = nil })
			Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		},
		Entry("the master's own authority", "alpha-ca", "it is for the certificate authority of ClusterMaster alpha"),
		Entry("the authority that was provided", "plant-ca", "it is for the certificate authority of ClusterMaster alpha"),
		Entry("what the master serves", "alpha-tls", "it is for the certificate that ClusterMaster alpha serves"),
		Entry("another Refinery's", "mill-tls", "it belongs to Refinery mill"),
	)

	DescribeTable("is refused in spec.template, and a workload may read its own",
		func(ctx SpecContext, template, words string) {
			f := newFixture(ctx)
			f.create(f.master("alpha", `{}`), f.refinery("mill", `{}`), f.master("beta", `{}`))
			for _, name := range []string{"mill", "beta"} {
				Eventually(exists(f, &appsv1.Deployment{}, name)).Should(Succeed())
			}
			r := f.refinery("press", `{}`)
			raw, err := yaml.YAMLToJSON([]byte(template))
			must(err)
			r.Spec.Template = &runtime.RawExtension{Raw: raw}
			f.create(r)
			if words == "" {
				Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
				return
			}
			Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidTemplate"))
			Expect(message(f, r, v1alpha1.ConditionReady)()).To(HavePrefix(words))
			Expect(f.get(&appsv1.Deployment{}, "press")).NotTo(Succeed())
		},
		Entry("the master's account", `{spec: {serviceAccountName: alpha-master}}`,
			"spec.template uses ServiceAccount alpha-master: it is for the pods of ClusterMaster alpha"),
		Entry("the master's account by the field's old name", `{spec: {serviceAccountName: null, serviceAccount: alpha-master}}`,
			"spec.template uses ServiceAccount alpha-master: it is for the pods of ClusterMaster alpha"),
		Entry("another master's account", `{spec: {serviceAccountName: beta-master}}`,
			"spec.template uses ServiceAccount beta-master: it belongs to ClusterMaster beta"),
		Entry("the authority", `{spec: {volumes: [{name: v, secret: {secretName: alpha-ca}}]}}`,
			"spec.template uses Secret alpha-ca: it is for the certificate authority of ClusterMaster alpha"),
		Entry("what the master serves", `{spec: {volumes: [{name: v, projected: {sources: [{secret: {name: alpha-tls}}]}}]}}`,
			"spec.template uses Secret alpha-tls: it is for the certificate that ClusterMaster alpha serves"),
		Entry("another master's authority", `{spec: {containers: [{name: app, image: a, envFrom: [{secretRef: {name: beta-ca}}]}]}}`,
			"spec.template uses Secret beta-ca: it is for the certificate authority of ClusterMaster beta"),
		Entry("another Refinery's certificate", `{spec: {containers: [{name: app, image: a, env: [{name: A, valueFrom: {secretKeyRef: {name: mill-tls, key: tls.key}}}]}]}}`,
			"spec.template uses Secret mill-tls: it belongs to Refinery mill"),
		Entry("its own", `{spec: {serviceAccountName: mine, containers: [{name: app, image: a, envFrom: [{secretRef: {name: press-tls}}, {secretRef: {name: mine}}]}]}}`, ""),
	)
})
