package e2e

import (
	"context"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// placement is where each node id is placed, by the upstream's name.
type placement map[string]string

var _ = Describe("New upstreams", func() {
	It("on a live ClusterMaster move only the nodes that must, in their sessions, files and status", func(ctx SpecContext) {
		const outside, inside = 12, 2
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns, upstreams(upstream("east"), upstream("west")))
		yard := newRefinery(ctx, master, "yard", external, replicas(outside))
		pods := newRefinery(ctx, master, "pods", replicas(inside))
		files := secret(ctx, ns, yard.CertificateSecretName())
		agents := map[string]*agent{}
		for i := range outside {
			id := fmt.Sprintf("yard/node-%d", i)
			agents[id] = startAgent(master, endpoint(ctx, master), id, files)
		}
		Eventually(ctx, columnsOf(yard)).WithTimeout(startTimeout).Should(Equal(authenticated(outside)))
		Eventually(ctx, columnsOf(pods)).WithTimeout(startTimeout).Should(Equal(authenticated(inside)))
		expectFilesFollow(ctx, agents, placed(ctx, yard))

		before, beforeNodes := placed(ctx, yard, pods), nodeTimes(ctx, yard, pods)
		beforePods := refineryPods(ctx, pods)
		beforeFiles := sinceOf(ctx, agents)

		By("adding a third")
		change(ctx, master, func(m *v1alpha1.ClusterMaster) {
			m.Spec.Upstreams = append(m.Spec.Upstreams, upstream("north"))
		})
		// Nobody moves once each has its share, a quarter more or a quarter less: of 14 nodes, 3 to 5.
		Eventually(ctx, func() []v1alpha1.UpstreamStatus { return upstreamsOf(ctx, master) }).WithTimeout(startTimeout).Should(And(
			HaveLen(3), HaveEach(HaveField("Assigned", And(BeNumerically(">=", 3), BeNumerically("<=", 5))))))
		settledVersion(ctx, yard)
		after := placed(ctx, yard, pods)
		moved := 0
		for id, name := range after {
			if name != before[id] {
				moved++
				Expect(name).To(Equal("north"), "%s moved, but not to the new upstream", id)
			}
		}
		Expect(moved).To(And(BeNumerically(">", 0), BeNumerically("<", len(after))))
		AddReportEntry("upstreams", fmt.Sprintf("%d of %d nodes moved to the third upstream", moved, len(after)))
		expectFilesFollow(ctx, agents, after)
		for id, since := range sinceOf(ctx, agents) {
			if after[id] == before[id] {
				Expect(since).To(Equal(beforeFiles[id]), "the file of %s, which did not move, was not touched", id)
			}
		}

		By("keeping every session")
		Expect(nodeTimes(ctx, yard, pods)).To(Equal(beforeNodes), "no node changed its state")
		Expect(refineryPods(ctx, pods)).To(Equal(beforePods), "no pod restarted or replaced")

		By("taking it away again")
		change(ctx, master, func(m *v1alpha1.ClusterMaster) { m.Spec.Upstreams = m.Spec.Upstreams[:2] })
		back := after
		Eventually(ctx, func() placement { back = placed(ctx, yard, pods); return back }).ShouldNot(ContainElement("north"))
		for id, name := range after {
			if name != "north" {
				Expect(back[id]).To(Equal(name), "%s was not on the upstream that went, and moved", id)
			}
		}
		expectFilesFollow(ctx, agents, back)
		Expect(nodeTimes(ctx, yard, pods)).To(Equal(beforeNodes))
	}, SpecTimeout(specTimeout))

	It("reach a raw session as auth:ack, and a session that stays where it is not at all", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns, upstreams(upstream("east"), upstream("west")))
		movable := newRefinery(ctx, master, "movable", external)
		moving := openSession(ctx, master, movable)
		home := placed(ctx, movable)["movable"]
		other := map[string]string{"east": "west", "west": "east"}[home]
		pinned := newRefinery(ctx, master, "pinned", external, func(r *v1alpha1.Refinery) { r.Spec.Upstream = other })
		staying := openSession(ctx, master, pinned)
		Expect(placed(ctx, pinned)).To(Equal(placement{"pinned": other}))

		By("giving the upstream of one session no weight")
		change(ctx, master, func(m *v1alpha1.ClusterMaster) {
			for i := range m.Spec.Upstreams {
				if m.Spec.Upstreams[i].Name == home {
					m.Spec.Upstreams[i].Weight = new(int32)
				}
			}
		})
		told, err := moving.receive()
		Expect(err).NotTo(HaveOccurred())
		Expect(told.Code).To(Equal("auth:ack"))
		Expect(told.Payload).To(ContainSubstring(upstream(other).Address))
		moving.acknowledge()
		Eventually(ctx, func() placement { return placed(ctx, movable) }).Should(Equal(placement{"movable": other}))
		moving.expectAlive()
		// The answer is the first thing that this session hears: it was told nothing before.
		staying.expectAlive()
	}, SpecTimeout(specTimeout))
})

// openSession authenticates as an external Refinery's one node, by raw bytes.
func openSession(ctx context.Context, m *v1alpha1.ClusterMaster, r *v1alpha1.Refinery) *rawClient {
	GinkgoHelper()
	own := credentialsIn(secret(ctx, r.Namespace, r.CertificateSecretName()))
	Eventually(ctx, columnsOf(r)).Should(Equal(columns{Auth: v1alpha1.ReasonConnecting, Nodes: "0/1"}))
	c, err := dialTLS(ctx, m, own.pair())
	Expect(err).NotTo(HaveOccurred())
	c.open(r.Name, own.certificate)
	Eventually(ctx, columnsOf(r)).Should(Equal(authenticated(1)))
	return c
}

// placed is where the nodes of Refineries are, as status shows it.
func placed(ctx context.Context, refineries ...*v1alpha1.Refinery) placement {
	GinkgoHelper()
	p := placement{}
	for _, r := range refineries {
		nodes, err := nodesOf(r)(ctx)
		Expect(err).NotTo(HaveOccurred())
		for _, n := range nodes {
			p[n.ID] = n.Upstream
		}
	}
	return p
}

// nodeTimes is since when each node is in its state: it moves when a session ends, even if another follows at
// once.
func nodeTimes(ctx context.Context, refineries ...*v1alpha1.Refinery) map[string]string {
	GinkgoHelper()
	times := map[string]string{}
	for _, r := range refineries {
		nodes, err := nodesOf(r)(ctx)
		Expect(err).NotTo(HaveOccurred())
		for _, n := range nodes {
			times[n.ID] = string(n.State) + " since " + n.LastTransitionTime.UTC().String()
		}
	}
	return times
}

func upstreamsOf(ctx context.Context, m *v1alpha1.ClusterMaster) []v1alpha1.UpstreamStatus {
	GinkgoHelper()
	var now v1alpha1.ClusterMaster
	Expect(k8s.Get(ctx, client.ObjectKeyFromObject(m), &now)).To(Succeed())
	return now.Status.Upstreams
}

// expectFilesFollow shows that each agent's upstream.json is what status says.
func expectFilesFollow(ctx context.Context, agents map[string]*agent, p placement) {
	GinkgoHelper()
	for id, a := range agents {
		Expect(p).To(HaveKey(id))
		Eventually(ctx, a.upstream).Should(Equal(upstream(p[id]).Address), "upstream.json of %s", id)
	}
}

// sinceOf is the whole of each agent's upstream.json, which says since when.
func sinceOf(ctx context.Context, agents map[string]*agent) map[string]string {
	GinkgoHelper()
	all := map[string]string{}
	for id, a := range agents {
		r, err := responseOf(a, 8081, "/upstream")(ctx)
		Expect(err).NotTo(HaveOccurred())
		all[id] = r.Body
	}
	return all
}
