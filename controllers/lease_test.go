package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("The Lease of a ClusterMaster", func() {
	// lease is one that someone made before the operator.
	lease := func(f fixture, holder string, owners ...metav1.OwnerReference) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "alpha-active", OwnerReferences: owners},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: ptr.To[int32](10)}}
	}
	former := func(kind, name string) metav1.OwnerReference {
		return metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Name: name, UID: types.UID("former"), Controller: ptr.To(true)}
	}

	It("that a pod made is taken over with its holder, and a deleted one is made again", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, l := f.master("alpha", `{}`), lease(f, "alpha-7d4-x2")
		f.create(l, m)
		Eventually(func() bool { must(f.get(l, l.Name)); return metav1.IsControlledBy(l, m) }).Should(BeTrue())
		Expect(*l.Spec.HolderIdentity).To(Equal("alpha-7d4-x2"))
		Expect(api.Delete(ctx, l)).To(Succeed())
		wake(f, m)
		Eventually(exists(f, l, l.Name)).Should(Succeed())
	})

	It("that someone else holds or owns is left as it is", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, l := f.master("alpha", `{}`), lease(f, "their-controller-1")
		f.create(l, m)
		Eventually(condition(f, m, v1alpha1.ConditionReady)).Should(Equal("False/NameConflict"))
		change(f, l, func(l *coordinationv1.Lease) {
			l.Spec.HolderIdentity, l.OwnerReferences = ptr.To(""), []metav1.OwnerReference{former("ClusterMaster", "beta")}
		})
		wake(f, m)
		Consistently(condition(f, m, v1alpha1.ConditionReady)).Should(Equal("False/NameConflict"))
		must(f.get(l, l.Name))
		Expect(l.Labels).To(BeEmpty())
	})

	It("of a deleted ClusterMaster of its name is waited for", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, l := f.master("alpha", `{}`), lease(f, "alpha-7d4-x2", former("ClusterMaster", "alpha"))
		f.create(l, m)
		Eventually(message(f, m, v1alpha1.ConditionReady)).Should(ContainSubstring("Lease alpha-active belongs to a ClusterMaster of this name that was deleted"))
		Expect(api.Delete(ctx, l)).To(Succeed()) // as the garbage collector does; nobody watches it
		Eventually(func() bool { return f.get(l, l.Name) == nil && metav1.IsControlledBy(l, m) }).Should(BeTrue())
	})
})
