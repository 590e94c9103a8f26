package controllers_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// runs creates ClusterMaster alpha and a Refinery of it, waits for the Deployment, and returns its UID.
func runs(f fixture, r *v1alpha1.Refinery) types.UID {
	GinkgoHelper()
	f.create(f.master("alpha", `{}`), r)
	d := &appsv1.Deployment{}
	Eventually(exists(f, d, r.Name)).Should(Succeed())
	settled()
	return d.UID
}

// undisturbed shows that a Refinery is not stalled and its Deployment is the one that it was.
func undisturbed(f fixture, r *v1alpha1.Refinery, uid types.UID) {
	GinkgoHelper()
	wake(f, r)
	settled()
	Expect(condition(f, r, v1alpha1.ConditionStalled)()).To(Or(BeEmpty(), Equal("True/CertificateNotReady")))
	d := &appsv1.Deployment{}
	Expect(f.get(d, r.Name)).To(Succeed())
	Expect(d.UID).To(Equal(uid))
	Expect(d.DeletionTimestamp).To(BeNil())
}

// nextSecond waits until what is created is younger than an object. The API server counts in seconds.
func nextSecond(object client.Object) {
	GinkgoHelper()
	Eventually(func() bool { return time.Now().Truncate(time.Second).After(object.GetCreationTimestamp().Time) }).Should(BeTrue())
}

func templateOf(yaml string) func(fixture) *v1alpha1.Refinery {
	return func(f fixture) *v1alpha1.Refinery { return f.withTemplate("press", yaml) }
}

func volumeOf(source string) func(fixture) *v1alpha1.Refinery {
	return templateOf(`{spec: {volumes: [{name: v, ` + source + `}]}}`)
}

func betaMaster(spec string) func(fixture) client.Object {
	return func(f fixture) client.Object { return f.master("beta", spec) }
}

func millRefinery(f fixture) client.Object { return f.refinery("mill", `{}`) }

var _ = Describe("A name that the pods of a Refinery had first", func() {
	beta, shared := betaMaster(`{}`), betaMaster(`{security: {transport: Plaintext, authentication: SharedCertificate}}`)

	DescribeTable("is refused to whoever would keep a key there, before one is written, and the pods go on",
		func(ctx SpecContext, name string, first func(fixture) *v1alpha1.Refinery, second func(fixture) client.Object) {
			f := newFixture(ctx)
			r, later := first(f), second(f)
			uid := runs(f, r)
			f.create(later)
			Eventually(condition(f, later, v1alpha1.ConditionStalled)).Should(Equal("True/NameConflict"))
			Expect(message(f, later, v1alpha1.ConditionReady)()).To(And(
				HavePrefix("Secret "+name+" is needed for a key, and Refinery press had the name first"), ContainSubstring("from the spec of Refinery press, or give ")))
			undisturbed(f, r, uid)
			for _, suffix := range []string{"-ca", "-tls", "-shared", "-peer"} {
				Expect(f.get(&corev1.Secret{}, later.GetName()+suffix)).NotTo(Succeed(), suffix)
			}

			change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Template, r.Spec.CertificateSecretRef = nil, nil })
			Eventually(exists(f, &corev1.Secret{}, name)).Should(Succeed())
			Eventually(condition(f, later, v1alpha1.ConditionStalled)).Should(BeEmpty())
		},
		Entry("an authority, in a volume", "beta-ca", volumeOf(`secret: {secretName: beta-ca, optional: true}`), beta),
		Entry("a served certificate, to pull images", "beta-tls", templateOf(`{spec: {imagePullSecrets: [{name: beta-tls}]}}`), beta),
		Entry("a shared certificate, as variables", "beta-shared",
			templateOf(`{spec: {containers: [{name: app, image: a, envFrom: [{secretRef: {name: beta-shared, optional: true}}]}]}}`), shared),
		Entry("the masters' key pair, for a CSI driver", "beta-peer", volumeOf(`csi: {driver: d, nodePublishSecretRef: {name: beta-peer}}`), beta),
		Entry("the masters' key pair, projected beside something else", "beta-peer",
			volumeOf(`projected: {sources: [{configMap: {name: c, optional: true}}, {secret: {name: beta-peer, optional: true, items: [{key: tls.crt, path: a}]}}]}`), beta),
		Entry("an authority, as one variable of an init container", "beta-ca",
			templateOf(`{spec: {initContainers: [{name: i, image: a, env: [{name: A, valueFrom: {secretKeyRef: {name: beta-ca, key: tls.key, optional: true}}}]}], containers: [{name: app, image: a}]}}`), beta),
		Entry("an authority, for a flex volume", "beta-ca", volumeOf(`flexVolume: {driver: example.com/d, secretRef: {name: beta-ca}}`), beta),
		Entry("a served certificate, as the Refinery's own", "beta-tls",
			func(f fixture) *v1alpha1.Refinery {
				return f.refinery("press", `{certificateSecretRef: {name: beta-tls}}`)
			}, beta),
		Entry("another Refinery's certificate", "mill-tls", volumeOf(`projected: {sources: [{secret: {name: mill-tls, optional: true}}]}`), millRefinery),
		Entry("another Refinery's certificate, as the Refinery's own", "mill-tls",
			func(f fixture) *v1alpha1.Refinery {
				return f.refinery("press", `{certificateSecretRef: {name: mill-tls}}`)
			}, millRefinery),
		Entry("another Refinery's certificate, for Azure", "mill-tls", volumeOf(`azureFile: {secretName: mill-tls, shareName: s}`), millRefinery),
	)

	It("is refused also while the Refinery has no pods yet, and is free once it is gone", func(ctx SpecContext) {
		f := newFixture(ctx)
		r, later := f.withTemplate("press", `{spec: {volumes: [{name: v, secret: {secretName: beta-ca}}]}}`), f.master("beta", `{}`)
		f.create(r)
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("False/MasterNotFound"))
		nextSecond(r)
		f.create(later)
		Eventually(condition(f, later, v1alpha1.ConditionStalled)).Should(Equal("True/NameConflict"))
		f.create(f.master("alpha", `{}`))
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		Expect(f.get(&corev1.Secret{}, "beta-ca")).NotTo(Succeed())
		f.collect(r)
		Eventually(exists(f, &corev1.Secret{}, "beta-ca")).Should(Succeed())
	})

	It("is not taken by its own ClusterMaster's Refinery, however early that was created", func(ctx SpecContext) {
		f := newFixture(ctx)
		r, m := f.withTemplate("press", `{spec: {volumes: [{name: v, secret: {secretName: alpha-ca}}]}}`), f.master("alpha", `{}`)
		f.create(r)
		nextSecond(r)
		f.create(m)
		Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
		Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidTemplate"))
		Expect(condition(f, m, v1alpha1.ConditionStalled)()).To(BeEmpty())
	})

	DescribeTable("stays with whom it is for once that has it in use, also while its Secret is deleted",
		func(ctx SpecContext, name string, second func(fixture) client.Object) {
			f := newFixture(ctx)
			r, later := f.refinery("press", `{}`), second(f)
			f.create(f.master("alpha", `{}`), r)
			nextSecond(r)
			f.create(later)
			Eventually(exists(f, &appsv1.Deployment{}, later.GetName())).Should(Succeed())
			change(f, r, func(r *v1alpha1.Refinery) {
				r.Spec.Template = &runtime.RawExtension{Raw: []byte(`{"spec":{"volumes":[{"name":"v","secret":{"secretName":"` + name + `"}}]}}`)}
			})
			Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidTemplate"))
			before := f.secret(name).UID
			Expect(api.Delete(ctx, f.secret(name))).To(Succeed())
			Eventually(func() types.UID { return f.secret(name).UID }).ShouldNot(Equal(before))
			settled()
			Expect(condition(f, later, v1alpha1.ConditionStalled)()).To(BeEmpty())
			Expect(condition(f, r, v1alpha1.ConditionStalled)()).To(Equal("True/InvalidTemplate"))
		},
		Entry("an authority", "beta-ca", beta),
		Entry("a served certificate", "beta-tls", beta),
		Entry("another Refinery's, which deleting it revokes", "mill-tls", millRefinery),
	)

	It("is refused to the ServiceAccount of a master, and the pods go on", func(ctx SpecContext) {
		f := newFixture(ctx)
		r, beta := f.withTemplate("press", `{spec: {serviceAccountName: beta-master}}`), f.master("beta", `{}`)
		uid := runs(f, r)
		f.create(beta)
		Eventually(condition(f, beta, v1alpha1.ConditionStalled)).Should(Equal("True/NameConflict"))
		Expect(message(f, beta, v1alpha1.ConditionReady)()).To(HavePrefix("ServiceAccount beta-master is needed for the master, and Refinery press had the name first"))
		undisturbed(f, r, uid)
		Expect(f.get(&corev1.ServiceAccount{}, "beta-master")).NotTo(Succeed())
		Expect(f.get(&corev1.Secret{}, "beta-ca")).NotTo(Succeed())
		change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Template = nil })
		Eventually(exists(f, &corev1.ServiceAccount{}, "beta-master")).Should(Succeed())
	})
})

var _ = Describe("An authority that pods read", func() {
	const named = `{certificates: {authority: {secretRef: {name: plant-ca}}}}`
	refuses := func(f fixture, m *v1alpha1.ClusterMaster) {
		GinkgoHelper()
		Eventually(condition(f, m, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidReference"))
		Expect(condition(f, m, v1alpha1.ConditionCertificateReady)()).To(Equal("False/InvalidReference"))
		Expect(message(f, m, v1alpha1.ConditionCertificateReady)()).To(HavePrefix(
			"spec.certificates.authority.secretRef names Secret plant-ca, which the spec of Refinery press brought into pods before"))
	}

	DescribeTable("is refused to the ClusterMaster that names it later, nothing is issued by it, and the pods go on",
		func(ctx SpecContext, first func(fixture) *v1alpha1.Refinery) {
			f := newFixture(ctx)
			f.create(f.tlsSecret("plant-ca", otherAuthorityPair()))
			r, beta, of := first(f), f.master("beta", named), f.refinery("pump", `{masterRef: {name: beta}}`)
			uid := runs(f, r)
			f.create(beta, of)
			refuses(f, beta)
			undisturbed(f, r, uid)
			Eventually(message(f, of, v1alpha1.ConditionReady)).Should(HavePrefix("ClusterMaster beta: spec.certificates.authority.secretRef names Secret plant-ca"))
			for _, name := range []string{"beta-tls", "pump-tls"} {
				Expect(f.get(&corev1.Secret{}, name)).NotTo(Succeed())
			}

			change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Template, r.Spec.CertificateSecretRef = nil, nil })
			Eventually(condition(f, beta, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
			Eventually(exists(f, &corev1.Secret{}, "pump-tls")).Should(Succeed())
			change(f, r, func(r *v1alpha1.Refinery) {
				r.Spec.Template, r.Spec.CertificateSecretRef = first(f).Spec.Template, first(f).Spec.CertificateSecretRef
			})
			Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(HavePrefix("True/Invalid"), "now it is someone's")
		},
		Entry("in a volume", volumeOf(`secret: {secretName: plant-ca}`)),
		Entry("as variables", templateOf(`{spec: {containers: [{name: app, image: a, envFrom: [{prefix: CA_, secretRef: {name: plant-ca}}]}]}}`)),
		Entry("projected, the key alone", volumeOf(`projected: {sources: [{secret: {name: plant-ca, items: [{key: tls.key, path: key}]}}]}`)),
		Entry("as a Refinery's certificate",
			func(f fixture) *v1alpha1.Refinery {
				return f.refinery("press", `{certificateSecretRef: {name: plant-ca}}`)
			}),
	)

	It("does not take the place of the one in use, whose certificates stay", func(ctx SpecContext) {
		f := newFixture(ctx)
		r, beta, of := f.withTemplate("press", `{spec: {volumes: [{name: v, secret: {secretName: plant-ca}}]}}`), f.master("beta", `{}`), f.refinery("pump", `{masterRef: {name: beta}}`)
		f.create(f.tlsSecret("plant-ca", otherAuthorityPair()), beta, of)
		uid := runs(f, r)
		Eventually(exists(f, &appsv1.Deployment{}, "pump")).Should(Succeed())
		served, node := f.secret("beta-tls").Data, f.secret("pump-tls").Data
		change(f, beta, func(m *v1alpha1.ClusterMaster) {
			m.Spec.Certificates = &v1alpha1.CertificatesSpec{Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}
		})
		refuses(f, beta)
		undisturbed(f, r, uid)
		Expect(f.secret("beta-tls").Data).To(Equal(served))
		Expect(f.secret("pump-tls").Data).To(Equal(node))
		must(f.get(of, "pump"))
		Expect(of.Status.Certificates).To(HaveLen(1))
		change(f, beta, func(m *v1alpha1.ClusterMaster) { m.Spec.Certificates = nil })
		Eventually(condition(f, beta, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
	})

	It("is refused also where its own ClusterMaster's Refinery reads it", func(ctx SpecContext) {
		f := newFixture(ctx)
		f.create(f.tlsSecret("plant-ca", otherAuthorityPair()))
		r, m := f.withTemplate("press", `{spec: {volumes: [{name: v, secret: {secretName: plant-ca}}]}}`), f.master("alpha", `{}`)
		uid := runs(f, r)
		change(f, m, func(m *v1alpha1.ClusterMaster) {
			m.Spec.Certificates = &v1alpha1.CertificatesSpec{Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}
		})
		refuses(f, m)
		d := &appsv1.Deployment{}
		settled()
		Expect(f.get(d, "press")).To(Succeed())
		Expect(d.UID).To(Equal(uid))
		Expect(d.DeletionTimestamp).To(BeNil())
	})
})

var _ = Describe("Pods that were given someone else's Secret", func() {
	DescribeTable("by hand are ended, whether or not the operator may change their Refinery",
		func(ctx SpecContext, secret string, paused bool) {
			f := newFixture(ctx)
			r := f.refinery("press", `{}`)
			runs(f, r)
			f.create(f.master("beta", `{security: {authentication: SharedCertificate}}`), f.refinery("mill", `{}`))
			for _, name := range []string{"beta", "mill"} {
				Eventually(exists(f, &appsv1.Deployment{}, name)).Should(Succeed())
			}
			if paused {
				change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Paused = true })
				settled()
			}
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "press"}}
			change(f, d, func(d *appsv1.Deployment) {
				d.Spec.Template.Spec.Volumes = append(d.Spec.Template.Spec.Volumes, corev1.Volume{Name: "v",
					VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}})
			})
			podsGone(f, "press")
			if paused {
				Consistently(gone(f, &appsv1.Deployment{}, "press")).Should(BeTrue())
			} else { // as its spec says
				Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
			}
		},
		Entry("an authority", "beta-ca", false),
		Entry("a shared certificate", "beta-shared", true),
		Entry("the masters' key pair", "beta-peer", true),
		Entry("another Refinery's certificate", "mill-tls", true),
	)
})

var _ = Describe("A shared certificate that the operator created", func() {
	It("is refused to another ClusterMaster that names it", func(ctx SpecContext) {
		f := newFixture(ctx)
		f.create(f.master("beta", `{security: {authentication: SharedCertificate}}`))
		Eventually(exists(f, &corev1.Secret{}, "beta-shared")).Should(Succeed())
		settled()
		m, r := f.master("alpha", `{security: {authentication: SharedCertificate}, certificates: {shared: {secretRef: {name: beta-shared}}}}`), f.refinery("press", `{}`)
		f.create(m, r)
		Eventually(condition(f, m, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidReference"))
		Expect(message(f, m, v1alpha1.ConditionReady)()).To(HavePrefix(
			"spec.certificates.shared.secretRef names Secret beta-shared: it is one that the operator created for ClusterMaster beta"))
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("False/InvalidReference"))
		Expect(f.get(&appsv1.Deployment{}, "press")).NotTo(Succeed())
	})
})
