package e2e

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// operatorOutage is how long the operator stays down.
const operatorOutage = time.Minute

var _ = Describe("The number of nodes", func() {
	It("follows kubectl scale up and down, and a node pod that is deleted", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		press := newRefinery(ctx, master, "press", replicas(2))
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))

		scale(ctx, press, "5")
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(5)))
		Eventually(ctx, nodesOf(press)).Should(And(HaveLen(5), HaveEach(HaveField("State", v1alpha1.NodeAuthenticated))))

		scale(ctx, press, "2")
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))
		Eventually(ctx, nodesOf(press)).Should(HaveLen(2), "nodes that went away in order are forgotten")

		deleted := refineryPods(ctx, press)[0]
		Expect(k8s.Delete(ctx, &corev1.Pod{ObjectMeta: objectMeta(ns, deleted.Name)})).To(Succeed())
		Eventually(ctx, nodesOf(press)).WithTimeout(startTimeout).Should(And(
			HaveLen(2),
			HaveEach(HaveField("State", v1alpha1.NodeAuthenticated)),
			HaveEach(HaveField("ID", Not(Equal("press/"+deleted.Name)))),
		))
		Eventually(ctx, columnsOf(press)).Should(Equal(authenticated(2)))
		Eventually(ctx, conditionOf(press, v1alpha1.ConditionReady)).Should(HaveField("Status", BeEquivalentTo("True")))
	}, SpecTimeout(specTimeout))

	It("is right again after the active master's pod is deleted: a standby takes over with a higher epoch", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns, masterReplicas(2))
		press := newRefinery(ctx, master, "press", replicas(2))
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))
		before := refineryPods(ctx, press)
		Eventually(ctx, func() int { return len(podsOf(ctx, ns, master.Name, "master")) }).Should(Equal(2))
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(master), master)).To(Succeed())
		deposed := *master.Status.Active

		Expect(k8s.Delete(ctx, &corev1.Pod{ObjectMeta: objectMeta(ns, deposed.Pod)})).To(Succeed())
		Eventually(ctx, func(ctx context.Context) (*v1alpha1.ActiveMaster, error) {
			err := k8s.Get(ctx, client.ObjectKeyFromObject(master), master)
			return master.Status.Active, err
		}).WithTimeout(startTimeout).Should(And(
			HaveField("Pod", Not(Equal(deposed.Pod))),
			HaveField("Epoch", BeNumerically(">", deposed.Epoch)),
		))
		Eventually(ctx, nodesOf(press)).WithTimeout(startTimeout).Should(And(
			HaveLen(2), HaveEach(HaveField("State", v1alpha1.NodeAuthenticated))))
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))
		Eventually(ctx, func() int { return readyPods(ctx, press) }).WithTimeout(startTimeout).Should(Equal(2))
		Expect(refineryPods(ctx, press)).To(Equal(before), "nodes reconnect, they do not restart")
	}, SpecTimeout(specTimeout))

	It("costs no status write while nothing changes", Serial, func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns, masterReplicas(2))
		press := newRefinery(ctx, master, "press", replicas(2))
		still := newRefinery(ctx, master, "still", external)
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))
		Eventually(ctx, conditionOf(press, v1alpha1.ConditionReady)).Should(HaveField("Status", BeEquivalentTo("True")))
		waitForRemovals(ctx, ns)
		settledVersion(ctx, press)
		settledVersion(ctx, still)
		settledVersion(ctx, master)

		By("counting even a write that changes nothing")
		before := statusWrites(ctx)
		kubectl(ctx, "patch", "refinery", press.Name, "--namespace="+ns, "--subresource=status", "--type=merge", "--patch={}")
		before["refineries"]++
		Expect(statusWrites(ctx)).To(Equal(before))

		By("counting none from now on")
		Consistently(ctx, func() map[string]int { return statusWrites(ctx) }).
			WithTimeout(quietWindow).WithPolling(quietWindow / 5).Should(Equal(before))
		Expect(columnsOf(press)(ctx)).To(Equal(authenticated(2)))
	}, SpecTimeout(specTimeout))

	It("is right after the operator was down for a minute while nodes came and went", Serial, func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		press := newRefinery(ctx, master, "press", replicas(2))
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))

		By("taking the operator down")
		manager := managerOf(managerManifest(ctx))
		scaleManager(ctx, 0)
		DeferCleanup(func(ctx context.Context) { scaleManager(ctx, 1) })
		Eventually(ctx, func(ctx context.Context) (int32, error) {
			var d appsv1.Deployment
			err := k8s.Get(ctx, manager, &d)
			return d.Status.Replicas, err
		}).Should(BeZero())
		down := time.Now()

		By("letting nodes come and go meanwhile")
		deleted := refineryPods(ctx, press)[0]
		Expect(k8s.Delete(ctx, &corev1.Pod{ObjectMeta: objectMeta(ns, deleted.Name)})).To(Succeed())
		Eventually(ctx, nodesOf(press)).WithTimeout(startTimeout).Should(And(
			HaveLen(2),
			HaveEach(HaveField("State", v1alpha1.NodeAuthenticated)),
			HaveEach(HaveField("ID", Not(Equal("press/"+deleted.Name)))),
		), "the master needs no operator to let a node in")
		Expect(columnsOf(press)(ctx)).To(Equal(authenticated(2)))
		scale(ctx, press, "3")
		Eventually(ctx, columnsOf(press)).Should(Equal(columns{Auth: v1alpha1.ReasonPartiallyAuthenticated, Nodes: "2/3"}))
		still := newRefinery(ctx, master, "still")
		doomed := refineryPods(ctx, press)[0]
		Expect(k8s.Delete(ctx, &corev1.Pod{ObjectMeta: objectMeta(ns, doomed.Name)})).To(Succeed())
		Consistently(ctx, func(ctx context.Context) error {
			return k8s.Get(ctx, client.ObjectKeyFromObject(press), press)
		}).WithTimeout(max(operatorOutage-time.Since(down), time.Second)).Should(Succeed())

		By("bringing it back")
		scaleManager(ctx, 1)
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(3)))
		Eventually(ctx, columnsOf(still)).WithTimeout(startTimeout).Should(Equal(authenticated(1)))
		for _, r := range []*v1alpha1.Refinery{press, still} {
			Eventually(ctx, conditionOf(r, v1alpha1.ConditionReady)).WithTimeout(startTimeout).
				Should(HaveField("Status", BeEquivalentTo("True")))
		}
	}, SpecTimeout(specTimeout))
})

// scale is what a person types.
func scale(ctx context.Context, r *v1alpha1.Refinery, n string) {
	GinkgoHelper()
	kubectl(ctx, "scale", "refinery", r.Name, "--namespace="+r.Namespace, "--replicas="+n)
}

// scaleManager sets the number of operator pods, and waits for them when there are any.
func scaleManager(ctx context.Context, n int32) {
	GinkgoHelper()
	key := managerOf(managerManifest(ctx))
	manager := &appsv1.Deployment{ObjectMeta: objectMeta(key.Namespace, key.Name)}
	change(ctx, manager, func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To(n) })
	if n > 0 {
		waitForRollout(ctx, key)
	}
}
