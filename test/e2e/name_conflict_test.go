package e2e

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("Someone else's object", func() {
	It("of a name that a Refinery needs is never touched, and named in condition and event", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		taken := map[string]client.Object{
			"deployment": foreignDeployment(ns, "deployment"),
			"service":    foreignService(ns, "service"),
			"secret":     foreignSecret(ns, "secret-tls"),
		}
		versions, refineries := map[string]string{}, map[string]*v1alpha1.Refinery{}
		for name, obj := range taken {
			Expect(k8s.Create(ctx, obj)).To(Succeed())
			versions[name] = settledVersion(ctx, obj)
		}
		for name := range taken {
			refineries[name] = newRefinery(ctx, master, name, func(r *v1alpha1.Refinery) {
				r.Spec.Ports = []v1alpha1.Port{{Name: "http", ContainerPort: 8080}}
			})
		}
		for name, obj := range taken {
			By("a " + name)
			expectNameConflict(ctx, refineries[name], obj.GetName())
			Expect(resourceVersionOf(obj)(ctx)).To(Equal(versions[name]), "the foreign %s was written to", name)
		}

		By("going on once the name is free")
		Expect(k8s.Delete(ctx, taken["service"])).To(Succeed())
		Eventually(ctx, columnsOf(refineries["service"])).WithTimeout(startTimeout).Should(Equal(authenticated(1)))
		Eventually(ctx, conditionOf(refineries["service"], v1alpha1.ConditionReady)).
			Should(HaveField("Status", metav1.ConditionTrue))
	}, SpecTimeout(specTimeout))

	It("of a name that a ClusterMaster needs is never touched, and named in condition and event", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		for name, obj := range map[string]client.Object{
			"deployment": foreignDeployment(ns, "deployment"),
			"service":    foreignService(ns, "service"),
			"secret":     foreignSecret(ns, "secret-ca"),
		} {
			By("a " + name)
			Expect(k8s.Create(ctx, obj)).To(Succeed())
			version := settledVersion(ctx, obj)
			master := newMaster(ctx, ns, func(m *v1alpha1.ClusterMaster) { m.Name = name })
			expectNameConflict(ctx, master, obj.GetName())
			Expect(resourceVersionOf(obj)(ctx)).To(Equal(version), "the foreign %s was written to", name)
		}
	}, SpecTimeout(specTimeout))
})

// expectNameConflict shows that condition and event name the object in the way.
func expectNameConflict(ctx context.Context, obj client.Object, name string) {
	GinkgoHelper()
	Eventually(ctx, conditionOf(obj, v1alpha1.ConditionReady)).Should(And(
		HaveField("Status", metav1.ConditionFalse),
		HaveField("Reason", v1alpha1.ReasonNameConflict),
		HaveField("Message", ContainSubstring(name)),
	))
	Eventually(ctx, conditionOf(obj, v1alpha1.ConditionStalled)).Should(HaveField("Status", metav1.ConditionTrue))
	Eventually(ctx, warningsOn(obj)).Should(ContainElement(And(
		HavePrefix(v1alpha1.ReasonNameConflict), ContainSubstring(name))))
}

func foreignDeployment(namespace, name string) *appsv1.Deployment {
	labels := map[string]string{"app": "someone-else"}
	return &appsv1.Deployment{
		ObjectMeta: objectMeta(namespace, name),
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					SecurityContext: &corev1.PodSecurityContext{
						RunAsNonRoot:   ptr.To(true),
						SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
					},
					Containers: []corev1.Container{{
						Name: "other", Image: "other",
						SecurityContext: &corev1.SecurityContext{
							AllowPrivilegeEscalation: ptr.To(false),
							Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
						},
					}},
				},
			},
		},
	}
}

func foreignService(namespace, name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: objectMeta(namespace, name),
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "someone-else"},
			Ports:    []corev1.ServicePort{{Port: 80}},
		},
	}
}

func foreignSecret(namespace, name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: objectMeta(namespace, name), StringData: map[string]string{"password": "someone else's"}}
}
