package controllers_test

import (
	"errors"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// collect does what the garbage collector does for an owner that is gone: also for what a pass makes that began before.
func (f fixture) collect(owner client.Object) {
	GinkgoHelper()
	Expect(api.Delete(f.ctx, owner)).To(Succeed())
	Eventually(func() int { settled(); return f.sweep(owner) }).Should(BeZero())
}

// sweep deletes what there is of an owner, and returns how much that was.
func (f fixture) sweep(owner client.Object) (swept int) {
	GinkgoHelper()
	for _, list := range []client.ObjectList{&appsv1.DeploymentList{}, &corev1.SecretList{}, &corev1.ConfigMapList{}, &corev1.ServiceList{},
		&corev1.ServiceAccountList{}, &policyv1.PodDisruptionBudgetList{}, &networkingv1.NetworkPolicyList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{}} {
		Expect(api.List(f.ctx, list, client.InNamespace(f.namespace))).To(Succeed())
		Expect(meta.EachListItem(list, func(o runtime.Object) error {
			object := o.(client.Object)
			if controller := metav1.GetControllerOf(object); controller == nil || controller.UID != owner.GetUID() {
				return nil
			}
			swept++
			return client.IgnoreNotFound(api.Delete(f.ctx, object))
		})).To(Succeed())
	}
	return swept
}

var _ = Describe("A name that a ClusterMaster and a Refinery have", func() {
	It("stays with the Refinery that had it first, which goes on in full, and is free once that is gone", func(ctx SpecContext) {
		f := newFixture(ctx)
		r, second := f.refinery("press", `{}`), f.master("press", `{}`)
		f.create(f.master("alpha", `{}`), r)
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		Eventually(func() int64 { must(f.get(r, "press")); return r.Status.ReconciledGeneration }).Should(Equal(int64(1)))
		f.create(second)
		Eventually(condition(f, second, v1alpha1.ConditionStalled)).Should(Equal("True/NameConflict"))
		Expect(message(f, second, v1alpha1.ConditionReady)()).To(Equal(
			"the name press is needed and belongs to Refinery press; it is left as it is: delete or rename one of the two"))

		must(f.get(r, "press"))
		old := r.Status.Certificates[0].Fingerprint
		Expect(api.Delete(ctx, f.secret("press-tls"))).To(Succeed())
		Eventually(func() []v1alpha1.ListedCertificate { must(f.get(r, "press")); return r.Status.Certificates }).Should(
			HaveExactElements(HaveField("Fingerprint", Not(Equal(old)))))
		Expect(metav1.IsControlledBy(f.secret("press-tls"), r)).To(BeTrue())
		Expect(f.get(&corev1.Secret{}, "press-ca")).NotTo(Succeed())
		Expect(condition(f, r, v1alpha1.ConditionStalled)()).To(BeEmpty())

		f.collect(r)
		Eventually(condition(f, second, v1alpha1.ConditionStalled)).Should(BeEmpty())
		Eventually(func() bool { return metav1.IsControlledBy(f.secret("press-tls"), second) }).Should(BeTrue())
	})

	It("stays with the ClusterMaster that had it first, and is free once that is gone", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("press", `{}`), f.refinery("press", `{}`)
		f.create(f.master("alpha", `{}`), m)
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		Eventually(func() int64 { must(f.get(m, "press")); return m.Status.ReconciledGeneration }).Should(Equal(int64(1)))
		f.create(r)
		Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/NameConflict"))
		Expect(api.Delete(ctx, f.secret("press-tls"))).To(Succeed())
		Eventually(func() bool { return metav1.IsControlledBy(f.secret("press-tls"), m) }).Should(BeTrue())
		Expect(condition(f, m, v1alpha1.ConditionStalled)()).To(BeEmpty())

		f.collect(m)
		Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(BeEmpty())
		Eventually(func() bool { return metav1.IsControlledBy(f.secret("press-tls"), r) }).Should(BeTrue())
	})
})

// withTemplate is a Refinery whose spec.template is YAML.
func (f fixture) withTemplate(name, template string) *v1alpha1.Refinery {
	GinkgoHelper()
	r := f.refinery(name, `{}`)
	raw, err := yaml.YAMLToJSON([]byte(template))
	must(err)
	r.Spec.Template = &runtime.RawExtension{Raw: raw}
	return r
}

// podsGone does what the garbage collector does once the pods of a Deployment or StatefulSet are gone that is deleted in the foreground.
func podsGone(f fixture, name string) {
	GinkgoHelper()
	var deleted client.Object
	Eventually(func() (err error) {
		if deleted, err = f.podSet(name); err == nil && deleted.GetDeletionTimestamp().IsZero() {
			err = errors.New("it is not deleted")
		}
		return err
	}).Should(Succeed())
	change(f, deleted, func(o client.Object) { o.SetFinalizers(nil) })
}

var _ = Describe("A Secret that is not there yet", func() {
	DescribeTable("is never mounted where whom it is for came first",
		func(ctx SpecContext, template, words string) {
			f := newFixture(ctx)
			mill := f.refinery("mill", `{certificateSecretRef: {name: mill-own}}`)
			f.create(f.master("alpha", `{}`), f.master("beta", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`), mill)
			r := f.withTemplate("press", template)
			f.create(r)
			Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidTemplate"))
			Expect(message(f, r, v1alpha1.ConditionReady)()).To(ContainSubstring(words))
			Expect(f.get(&appsv1.Deployment{}, "press")).NotTo(Succeed())
		},
		Entry("a provided authority", `{spec: {volumes: [{name: v, secret: {secretName: plant-ca}}]}}`, "it is for the certificate authority of ClusterMaster beta"),
		Entry("the authority that would be made", `{spec: {volumes: [{name: v, secret: {secretName: beta-ca}}]}}`, "it is for the certificate authority of ClusterMaster beta"),
		Entry("another Refinery's", `{spec: {volumes: [{name: v, secret: {secretName: mill-tls}}]}}`, "it is for the certificate of Refinery mill"),
		Entry("another master's shared certificate", `{spec: {volumes: [{name: v, secret: {secretName: beta-shared}}]}}`, "it is for the shared certificate of ClusterMaster beta"),
	)
})

var _ = Describe("A Secret that a user made, and that pods mount", func() {
	It("stays mounted when a Refinery comes that would have its name, which has to do without", func(ctx SpecContext) {
		f := newFixture(ctx)
		r, mill := f.withTemplate("press", `{spec: {volumes: [{name: v, secret: {secretName: mill-tls}}]}}`), f.refinery("mill", `{}`)
		f.create(f.master("alpha", `{}`), foreignSecret(f, "mill-tls"), r)
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		f.create(mill)
		Eventually(condition(f, mill, v1alpha1.ConditionStalled)).Should(Equal("True/NameConflict"))
		wake(f, r)
		settled()
		Expect(condition(f, r, v1alpha1.ConditionStalled)()).To(BeEmpty())
		d := &appsv1.Deployment{}
		Expect(f.get(d, "press")).To(Succeed())
		Expect(d.DeletionTimestamp).To(BeNil())
	})

	DescribeTable("stays mounted whoever names it later, since what it holds is not theirs",
		func(ctx SpecContext, secret string, make func(fixture) client.Object) {
			f := newFixture(ctx)
			r := f.withTemplate("press", `{spec: {volumes: [{name: v, secret: {secretName: `+secret+`}}]}}`)
			f.create(f.master("alpha", `{}`), foreignSecret(f, secret), r)
			Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
			f.create(make(f))
			wake(f, r)
			settled()
			Expect(condition(f, r, v1alpha1.ConditionStalled)()).To(BeEmpty())
			d := &appsv1.Deployment{}
			Expect(f.get(d, "press")).To(Succeed())
			Expect(d.DeletionTimestamp).To(BeNil())
		},
		Entry("a ClusterMaster, as its authority", "web", func(f fixture) client.Object {
			return f.master("beta", `{certificates: {authority: {secretRef: {name: web}}}}`)
		}),
		Entry("a ClusterMaster, as its shared certificate", "web", func(f fixture) client.Object {
			return f.master("beta", `{security: {transport: Plaintext, authentication: SharedCertificate}, certificates: {shared: {secretRef: {name: web}}}}`)
		}),
		Entry("a ClusterMaster of that name with an authority of its own", "web-tls", func(f fixture) client.Object {
			return f.master("web", `{certificates: {authority: {secretRef: {name: plant-ca}}}}`)
		}),
		Entry("a Refinery, as its certificate", "web-tls", func(f fixture) client.Object {
			return f.refinery("web", `{certificateSecretRef: {name: web-tls}}`)
		}),
	)

	It("is refused where it holds the certificate of another Refinery, whatever its name", func(ctx SpecContext) {
		f := newFixture(ctx)
		mill := f.refinery("mill", `{certificateSecretRef: {name: mill-own}}`)
		f.create(f.master("alpha", `{}`), f.tlsSecret("mill-own", client0(otherAuthority(), mill)), mill)
		Eventually(exists(f, &appsv1.Deployment{}, "mill")).Should(Succeed())
		template, reference := f.withTemplate("press", `{spec: {volumes: [{name: v, secret: {secretName: mill-own}}]}}`),
			f.refinery("pump", `{certificateSecretRef: {name: mill-own}}`)
		f.create(template, reference)
		Eventually(condition(f, template, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidTemplate"))
		Eventually(condition(f, reference, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidReference"))
		Expect(f.get(&appsv1.Deployment{}, "press")).NotTo(Succeed())
		Expect(f.get(&appsv1.Deployment{}, "pump")).NotTo(Succeed())
		wake(f, mill)
		settled()
		Expect(condition(f, mill, v1alpha1.ConditionStalled)()).To(Or(BeEmpty(), Equal("True/CertificateNotReady")))
	})

	It("is refused as a Refinery's certificate where it is the authority of its ClusterMaster and has the name of its own Secret", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("corp", `{certificateSecretRef: {name: corp-tls}}`)
		f.create(f.tlsSecret("corp-tls", otherAuthorityPair()), f.master("alpha", `{certificates: {authority: {secretRef: {name: corp-tls}}}}`), r)
		Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/InvalidReference"))
		Expect(f.get(&appsv1.Deployment{}, "corp")).NotTo(Succeed())
	})
})

var _ = Describe("What a ClusterMaster makes", func() {
	It("is not held up by its own nodes, which may read the shared certificate", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.withTemplate("press", `{spec: {volumes: [{name: v, secret: {secretName: alpha-shared, optional: true}}]}}`)
		f.create(m, r)
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		change(f, m, func(m *v1alpha1.ClusterMaster) {
			m.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportPlaintext, Authentication: v1alpha1.AuthenticationSharedCertificate}
		})
		Eventually(exists(f, &corev1.Secret{}, "alpha-shared")).Should(Succeed())
		Expect(condition(f, m, v1alpha1.ConditionStalled)()).To(BeEmpty())
	})
})
