package e2e

import (
	"context"
	"net/http"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("A node outside of the cluster", func() {
	It("authenticates with the files of its Refinery's Secret, shows in status, and is Closed when it ends, Lost when it falls silent", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns, upstreams(upstream("east")), aliveSeconds(2, 5))
		yard := newRefinery(ctx, master, "yard", external, replicas(2))
		files := secret(ctx, ns, yard.CertificateSecretName())
		Eventually(ctx, columnsOf(yard)).Should(Equal(columns{Auth: v1alpha1.ReasonConnecting, Nodes: "0/2"}))
		Expect(objectsOf(ns, yard.Name)(ctx)).To(ConsistOf("Secret/"+files.Name), "placement External makes no pods")
		Expect(conditionOf(yard, v1alpha1.ConditionAvailable)(ctx)).To(HaveField("Reason", v1alpha1.ReasonExternal))

		first := startAgent(master, endpoint(ctx, master), "yard/crane", files)
		second := startAgent(master, endpoint(ctx, master), "yard/dock", files)
		Eventually(ctx, columnsOf(yard)).Should(Equal(authenticated(2)))
		Expect(nodesOf(yard)(ctx)).To(HaveExactElements(
			And(HaveField("ID", first.id), HaveField("State", v1alpha1.NodeAuthenticated), HaveField("Upstream", "east"),
				HaveField("Address", Not(BeEmpty())), HaveField("Certificate", credentialsIn(files).fingerprint())),
			And(HaveField("ID", second.id), HaveField("State", v1alpha1.NodeAuthenticated), HaveField("Upstream", "east")),
		))

		By("telling the workload beside it where to connect")
		Eventually(ctx, first.upstream).Should(Equal(upstream("east").Address))
		Eventually(ctx, responseOf(first, 8082, "/readyz")).Should(HaveField("Status", http.StatusOK))
		Expect(responseOf(first, 8081, "/upstream")(ctx)).To(And(
			HaveField("Status", http.StatusOK), HaveField("Body", ContainSubstring(upstream("east").Address))))

		By("ending one")
		first.stop(ctx)
		Eventually(ctx, nodesOf(yard)).Should(ContainElement(And(HaveField("ID", first.id), HaveField("State", v1alpha1.NodeClosed))))
		Eventually(ctx, columnsOf(yard)).Should(Equal(columns{Auth: v1alpha1.ReasonPartiallyAuthenticated, Nodes: "1/2"}))

		By("freezing the other, so that its connection stays open and nothing comes")
		second.signal(syscall.SIGSTOP)
		Eventually(ctx, nodesOf(yard)).Should(ContainElement(And(
			HaveField("ID", second.id), HaveField("State", v1alpha1.NodeLost), HaveField("Reason", v1alpha1.ReasonSilent))))
		Eventually(ctx, columnsOf(yard)).Should(Equal(columns{Auth: v1alpha1.ReasonLost, Nodes: "0/2"}))

		By("letting it come back by itself")
		second.signal(syscall.SIGCONT)
		Eventually(ctx, columnsOf(yard)).Should(Equal(columns{Auth: v1alpha1.ReasonPartiallyAuthenticated, Nodes: "1/2"}))
	}, SpecTimeout(specTimeout))
})

// response is what one of the agent's HTTP ports answered.
type response struct {
	Status int
	Body   string
}

// responseOf asks the agent, for Eventually.
func responseOf(a *agent, port int, resource string) func(context.Context) (response, error) {
	return func(ctx context.Context) (response, error) {
		status, body, err := a.get(ctx, port, resource)
		return response{status, body}, err
	}
}
