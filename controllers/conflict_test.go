package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// foreign objects, as someone else made them.
func foreignDeployment(f fixture, name string) client.Object {
	pod := map[string]string{"app": "other"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](7),
			Selector: &metav1.LabelSelector{MatchLabels: pod},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: pod},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "other", Image: "example.com/other"}}},
			},
		},
	}
}

func foreignService(f fixture, name string) client.Object {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}},
	}
}

func foreignSecret(f fixture, name string) client.Object {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name},
		Data:       map[string][]byte{"mine": []byte("untouched")},
	}
}

// labelled makes an object look like the operator's, which does not make it so.
func labelled(o client.Object) client.Object {
	o.SetLabels(map[string]string{resource.LabelManagedBy: resource.ManagedBy})
	return o
}

var _ = Describe("An object of a needed name that belongs to someone else", func() {
	DescribeTable("is never touched, is named in condition and event, and the work goes on when it is gone",
		func(ctx SpecContext, ofMaster bool, kind string, make func(fixture, string) client.Object, name string) {
			f := newFixture(ctx)
			m, r := f.master("alpha", `{networkPolicy: {}}`), f.refinery("press", `{ports: [{name: http, containerPort: 8080}]}`)
			object := make(f, name)
			f.create(object)
			before := object.DeepCopyObject().(client.Object)
			f.create(m, r)
			var subject client.Object = r
			if ofMaster {
				subject = m
			}

			Eventually(condition(f, subject, v1alpha1.ConditionReady)).Should(Equal("False/NameConflict"))
			Expect(condition(f, subject, v1alpha1.ConditionStalled)()).To(Equal("True/NameConflict"))
			words := kind + " " + name + " is needed and belongs to someone else"
			Expect(message(f, subject, v1alpha1.ConditionReady)()).To(HavePrefix(words))
			Eventually(f.events(subject)).Should(ContainElement(And(HavePrefix("Warning/NameConflict: "), ContainSubstring(words))))
			Consistently(func() string {
				must(api.Get(f.ctx, client.ObjectKeyFromObject(object), object))
				return object.GetResourceVersion()
			}).Should(Equal(before.GetResourceVersion()))

			Expect(api.Delete(f.ctx, object)).To(Succeed())
			Eventually(condition(f, subject, v1alpha1.ConditionStalled)).Should(BeEmpty())
			Eventually(func() bool {
				return api.Get(f.ctx, client.ObjectKeyFromObject(object), object) == nil && apply.Owns(subject, object)
			}).Should(BeTrue())
		},
		Entry("a Deployment of the ClusterMaster's name", true, "Deployment", foreignDeployment, "alpha"),
		Entry("a Service of the ClusterMaster's name", true, "Service", foreignService, "alpha"),
		Entry("a NetworkPolicy of the ClusterMaster's name", true, "NetworkPolicy", foreignPolicy, "alpha"),
		Entry("the ClusterMaster's authority", true, "Secret", foreignSecret, "alpha-ca"),
		Entry("the ClusterMaster's certificate", true, "Secret", foreignSecret, "alpha-tls"),
		Entry("a Deployment of the Refinery's name", false, "Deployment", foreignDeployment, "press"),
		Entry("a Service of the Refinery's name", false, "Service", foreignService, "press"),
		Entry("the Refinery's certificate", false, "Secret", foreignSecret, "press-tls"),
		Entry("one that bears the operator's label", false, "Secret",
			func(f fixture, name string) client.Object { return labelled(foreignSecret(f, name)) }, "press-tls"),
	)

	It("is told by its owner when a ClusterMaster and a Refinery have the same name", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{}`)
		f.create(m)
		Eventually(func() error { return f.get(&appsv1.Deployment{}, "alpha") }).Should(Succeed())
		r := f.refinery("alpha", `{}`)
		f.create(r)
		Eventually(message(f, r, v1alpha1.ConditionReady)).Should(HavePrefix("the name alpha is needed and belongs to ClusterMaster alpha"))
	})
})
