package e2e

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("The version check", func() {
	It("refuses nodes of a version that is not accepted, and lets them in with no pod restarted once it is", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		press := newRefinery(ctx, master, "press", replicas(2), func(r *v1alpha1.Refinery) { r.Spec.Version = foreignVersion })

		By("showing VersionMismatch, and which versions do not go together")
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).
			Should(Equal(columns{Auth: v1alpha1.ReasonVersionMismatch, Nodes: "0/2"}))
		Eventually(ctx, nodesOf(press)).Should(And(HaveLen(2), HaveEach(And(
			HaveField("State", v1alpha1.NodeVersionMismatch),
			HaveField("Version", foreignVersion),
			HaveField("Message", And(ContainSubstring(foreignVersion), ContainSubstring(acceptedVersions))),
		))))
		Expect(readyPods(ctx, press)).To(BeZero(), "pods that are not authenticated must not be Ready")
		Expect(conditionOf(press, v1alpha1.ConditionReady)(ctx)).To(HaveField("Status", BeEquivalentTo("False")))
		before := refineryPods(ctx, press)
		Expect(before).To(HaveLen(2))

		By("widening the accepted versions on the live ClusterMaster")
		masterPods := podsOf(ctx, ns, master.Name, "master")
		change(ctx, master, func(m *v1alpha1.ClusterMaster) { m.Spec.Protocol.AcceptedVersions = ">=0.1.0 <10.0.0" })
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))
		Eventually(ctx, func() int { return readyPods(ctx, press) }).Should(Equal(2))

		Expect(refineryPods(ctx, press)).To(Equal(before), "no pod restarted or replaced")
		after := podsOf(ctx, ns, master.Name, "master")
		Expect(after).To(HaveLen(len(masterPods)))
		Expect(after[0].UID).To(Equal(masterPods[0].UID), "the master read the change without a restart")
	}, SpecTimeout(specTimeout))
})
