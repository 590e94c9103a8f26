package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// collect does what the garbage collector does for an owner that is gone.
func (f fixture) collect(owner client.Object) {
	GinkgoHelper()
	uid := owner.GetUID()
	Expect(api.Delete(f.ctx, owner)).To(Succeed())
	for _, list := range []client.ObjectList{&appsv1.DeploymentList{}, &corev1.SecretList{}, &corev1.ServiceList{},
		&corev1.ServiceAccountList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{}} {
		Expect(api.List(f.ctx, list, client.InNamespace(f.namespace))).To(Succeed())
		Expect(meta.EachListItem(list, func(o runtime.Object) error {
			object := o.(client.Object)
			if controller := metav1.GetControllerOf(object); controller == nil || controller.UID != uid {
				return nil
			}
			return client.IgnoreNotFound(api.Delete(f.ctx, object))
		})).To(Succeed())
	}
}

var _ = Describe("A name that a ClusterMaster and a Refinery have", func() {
	It("stays with the Refinery that had it first, which goes on in full, and is free once that is gone", func(ctx SpecContext) {
		f := newFixture(ctx)
		r, second := f.refinery("press", `{}`), f.master("press", `{}`)
		f.create(f.master("alpha", `{}`), r)
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		Eventually(func() int64 { must(f.get(r, "press")); return r.Status.ObservedGeneration }).Should(Equal(int64(1)))
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
		Eventually(func() int64 { must(f.get(m, "press")); return m.Status.ObservedGeneration }).Should(Equal(int64(1)))
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
