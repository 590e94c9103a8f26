package controllers_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("A pod that does not start", func() {
	const why = ": 0 of 1 pods are available: container app of pod press-a: image example.com/app:9 cannot be pulled: not found"

	It("says why in the status of its Refinery, whose node is authenticated, until it runs; and stalls it after the progress deadline", func(ctx SpecContext) {
		f := newFixture(ctx)
		m, r := f.master("alpha", `{}`), f.refinery("press", `{}`)
		f.create(m, r)
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
		f.becomeActive(m)
		pod := f.podOf(r, "app", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}})
		f.deploy(r, 0)
		operatorClock.Step(5 * time.Second)
		wake(f, r)
		f.report(r, metav1.ConditionTrue, v1alpha1.ReasonAuthenticated)
		Eventually(conditionText(f, r, v1alpha1.ConditionAvailable)).Should(Equal("False/ImagePullBackOff" + why))
		Eventually(conditionText(f, r, v1alpha1.ConditionReady)).Should(Equal("False/Progressing" + why))
		Eventually(f.events(r)).Should(ContainElement("Warning/ImagePullBackOff: Available" + why))

		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "press"}}
		changeStatus(f, d, func(d *appsv1.Deployment) {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}}
		})
		Eventually(conditionText(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/ProgressDeadlineExceeded" + why))

		changeStatus(f, pod, func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
		})
		changeStatus(f, d, func(d *appsv1.Deployment) { d.Status.Conditions = nil })
		f.deploy(r, 1)
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("True/Ready"))
		Expect(condition(f, r, v1alpha1.ConditionStalled)()).To(BeEmpty())
	})

	It("says why in the status of its ClusterMaster", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{replicas: 1}`)
		f.create(m)
		Eventually(exists(f, &appsv1.Deployment{}, "alpha")).Should(Succeed())
		f.podOf(m, "master", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: `secret "x" not found`}})
		f.deploy(m, 0)
		operatorClock.Step(5 * time.Second)
		wake(f, m)
		Eventually(conditionText(f, m, v1alpha1.ConditionReady)).Should(Equal(
			`False/Progressing: 0 of 1 pods are available: container master of pod alpha-a: CreateContainerConfigError: secret "x" not found`))
	})
})

// podOf creates a pod of the Deployment of an object, with one container in a state.
func (f fixture) podOf(owner client.Object, container string, state corev1.ContainerState) *corev1.Pod {
	GinkgoHelper()
	d := &appsv1.Deployment{}
	Expect(f.get(d, owner.GetName())).To(Succeed())
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: owner.GetName() + "-a", Labels: d.Spec.Template.Labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: container, Image: "example.com/app:9"}}},
	}
	Expect(api.Create(f.ctx, pod)).To(Succeed())
	changeStatus(f, pod, func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: container, Image: "example.com/app:9", State: state}}
	})
	return pod
}
