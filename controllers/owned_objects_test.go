package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("A ClusterMaster and its Refinery", func() {
	It("become what their spec says, Ready follows the master's report, and nothing is written at rest", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{networkPolicy: {metrics: [{namespaceSelector: {}}]}}`)
		r := f.refinery("press", `{replicas: 3, ports: [{name: http, containerPort: 8080}]}`)
		f.create(m, r)

		Eventually(condition(f, r, v1alpha1.ConditionCertificateReady)).Should(Equal("True/Issued"))
		owned := map[string]struct {
			object client.Object
			owner  client.Object
		}{
			"alpha-tls":    {&corev1.Secret{}, m},
			"alpha-master": {&corev1.ServiceAccount{}, m}, "alpha": {&appsv1.Deployment{}, m},
			"alpha-active": {&coordinationv1.Lease{}, m},
			"press-tls":    {&corev1.Secret{}, r}, "press-refinery": {&corev1.ServiceAccount{}, r}, "press": {&appsv1.Deployment{}, r},
		}
		for name, o := range owned {
			Eventually(func() error { return f.get(o.object, name) }).Should(Succeed(), name)
			Expect(metav1.IsControlledBy(o.object, o.owner)).To(BeTrue(), name)
			Expect(*metav1.GetControllerOf(o.object).BlockOwnerDeletion).To(BeTrue(), name)
		}
		for _, object := range []client.Object{&rbacv1.Role{}, &rbacv1.RoleBinding{}} {
			Eventually(func() error { return f.get(object, "alpha-master") }).Should(Succeed())
		}
		Eventually(exists(f, &networkingv1.NetworkPolicy{}, "alpha")).Should(Succeed())
		for _, name := range []string{"alpha", "press"} {
			Eventually(func() error { return f.get(&corev1.Service{}, name) }).Should(Succeed())
		}

		Eventually(condition(f, m, v1alpha1.ConditionReady)).Should(Equal("False/Progressing"))
		f.becomeActive(m)
		Eventually(condition(f, m, v1alpha1.ConditionReady)).Should(Equal("True/Ready"))
		f.deploy(r, 3)
		f.report(r, metav1.ConditionTrue, v1alpha1.ReasonAuthenticated)
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("True/Ready"))
		Expect(r.Status.ObservedGeneration).To(Equal(r.Generation))
		Expect(r.Status.Replicas).To(Equal(int32(3)))
		Expect(m.Status.Endpoint).To(Equal("alpha." + f.namespace + ".svc:34308"))

		settled()
		before := operatorWrites.total()
		for range 3 { // wakes the operator, and changes nothing that it looks at
			change(f, r, func(r *v1alpha1.Refinery) { metav1.SetMetaDataAnnotation(&r.ObjectMeta, "touched", r.ResourceVersion) })
			change(f, m, func(m *v1alpha1.ClusterMaster) {
				metav1.SetMetaDataAnnotation(&m.ObjectMeta, "touched", m.ResourceVersion)
			})
		}
		Consistently(func() []string { return operatorWrites.since(before) }).Should(BeEmpty())
	})
})
