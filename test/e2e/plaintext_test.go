package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("The author's bare protocol", Ordered, func() {
	var (
		master *v1alpha1.ClusterMaster
		press  *v1alpha1.Refinery
		shared []byte
	)
	BeforeAll(func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master = newReadyMaster(ctx, ns, barePlaintext, upstreams(upstream("east")))
		press = newRefinery(ctx, master, "press", external)
		shared = secret(ctx, ns, master.SharedSecretName()).Data[v1alpha1.SharedCertificateKey]
		Expect(shared).NotTo(BeEmpty())
		Eventually(ctx, columnsOf(press)).Should(HaveField("Auth", v1alpha1.ReasonConnecting))
	}, NodeTimeout(specTimeout))

	It("shows that its transport is not secure", func(ctx SpecContext) {
		Eventually(ctx, conditionOf(master, v1alpha1.ConditionTransportSecure)).Should(And(
			HaveField("Status", metav1.ConditionFalse),
			HaveField("Reason", v1alpha1.ReasonPlaintext),
			HaveField("Message", Not(BeEmpty())),
		))
		Eventually(ctx, warningsOn(master)).Should(ContainElement(ContainSubstring(v1alpha1.ReasonPlaintext)))
	}, SpecTimeout(specTimeout))

	It("ends in conn:close when the version is refused", func(ctx SpecContext) {
		c := dialPlain(ctx, master)
		Expect(c.exchange(establish("press", foreignVersion, "refinery"))).To(Equal(message{Code: "conn:close"}))
		Expect(c.closed()).To(Succeed())
	}, SpecTimeout(specTimeout))

	It("ends in conn:close when the type is refused", func(ctx SpecContext) {
		c := dialPlain(ctx, master)
		Expect(c.exchange(establish("press", acceptedVersion, "spaceship"))).To(Equal(message{Code: "conn:close"}))
		Expect(c.closed()).To(Succeed())
	}, SpecTimeout(specTimeout))

	DescribeTable("ends in auth:dec, and then in the refinery's conn:close", func(ctx SpecContext, id string, certificate func() []byte) {
		c := dialPlain(ctx, master)
		Expect(c.attempt(id, certificate())).To(Equal([]string{"conn:startAuth", "auth:dec"}))
		Expect(c.send("conn:close;;" + endMark)).To(Succeed())
		Expect(c.closed()).To(Succeed())
	},
		Entry("with a wrong certificate", "press", func() []byte { return []byte("not it") }, SpecTimeout(specTimeout)),
		Entry("with an empty certificate", "press", func() []byte { return nil }, SpecTimeout(specTimeout)),
		Entry("with a part of the certificate", "press", func() []byte { return shared[:len(shared)-1] }, SpecTimeout(specTimeout)),
		Entry("under a name that does not exist", "nobody", func() []byte { return shared }, SpecTimeout(specTimeout)),
	)

	It("ends in a session that is authenticated only by the refinery's own auth:ack", func(ctx SpecContext) {
		c := dialPlain(ctx, master)
		Expect(c.exchange(establish("press", acceptedVersion, "refinery"))).To(Equal(message{Code: "conn:startAuth"}))
		granted, err := c.exchange(start(shared))
		Expect(err).NotTo(HaveOccurred())
		Expect(granted.Code).To(Equal("auth:ack"))
		var payload map[string]string
		Expect(json.Unmarshal([]byte(granted.Payload), &payload)).To(Succeed())
		Expect(payload).To(Equal(map[string]string{"upstream": upstream("east").Address}))

		Consistently(ctx, columnsOf(press)).WithTimeout(moment).Should(HaveField("Nodes", "0/1"))
		c.acknowledge()
		Eventually(ctx, columnsOf(press)).Should(Equal(authenticated(1)))
		Expect(nodesOf(press)(ctx)).To(ConsistOf(And(
			HaveField("ID", "press"), HaveField("State", v1alpha1.NodeAuthenticated),
			HaveField("Version", acceptedVersion), HaveField("Upstream", "east"))))

		By("staying alive, with and without a load report")
		c.expectAlive()
		Expect(c.exchange(`conn:alive;;{"status":"busy","load":"0.75"}` + endMark)).To(HaveField("Code", "conn:alive"))

		By("closing it")
		Expect(c.send("conn:close;;" + endMark)).To(Succeed())
		Expect(c.closed()).To(Succeed())
		Eventually(ctx, columnsOf(press)).Should(HaveField("Nodes", "0/1"))
		Eventually(ctx, nodesOf(press)).Should(ContainElement(HaveField("State", v1alpha1.NodeClosed)))
	}, SpecTimeout(specTimeout))

	It("takes a message byte by byte, and in the author's literal form", func(ctx SpecContext) {
		c := dialPlain(ctx, master)
		for _, one := range establish("press", acceptedVersion, "refinery") {
			Expect(c.send(string(one))).To(Succeed())
		}
		Expect(c.receive()).To(Equal(message{Code: "conn:startAuth"}))
		literal := fmt.Sprintf(`auth:start;;"{"cert":"%s"}`, strings.TrimSpace(string(shared))) + endMark
		Expect(c.exchange(literal)).To(HaveField("Code", "auth:ack"))
		c.acknowledge()
		c.expectAlive()
		Eventually(ctx, columnsOf(press)).Should(Equal(authenticated(1)))
	}, SpecTimeout(specTimeout))

	DescribeTable("closes the connection, with nothing granted, on", func(ctx SpecContext, bytes func() string) {
		c := dialPlain(ctx, master)
		Expect(c.send(bytes())).To(Succeed())
		Expect(c.refused()).To(Succeed())
	},
		Entry("auth:start ahead of its turn", func() string { return start(shared) }, SpecTimeout(specTimeout)),
		Entry("auth:ack ahead of its turn", func() string { return "auth:ack;;" + endMark }, SpecTimeout(specTimeout)),
		Entry("the whole opening without waiting for answers", func() string {
			return establish("press", acceptedVersion, "refinery") + start(shared) + "auth:ack;;" + endMark
		}, SpecTimeout(specTimeout)),
		Entry("a command that does not exist", func() string { return "conn:hello;;" + endMark }, SpecTimeout(specTimeout)),
		Entry("a payload that is no object", func() string { return "conn:establish;;[]" + endMark }, SpecTimeout(specTimeout)),
		Entry("a key given twice", func() string {
			return `conn:establish;;{"id":"press","id":"still","version":"0.1.0","type":"refinery"}` + endMark
		}, SpecTimeout(specTimeout)),
		Entry("more bytes than conn:establish may have", func() string {
			return "conn:establish;;" + strings.Repeat("a", 8<<10)
		}, SpecTimeout(specTimeout)),
	)

	It("is spoken by the operator's own pods too", func(ctx SpecContext) {
		pods := newRefinery(ctx, master, "pods")
		Eventually(ctx, columnsOf(pods)).WithTimeout(startTimeout).Should(Equal(authenticated(1)))
		expectNoTLSFiles(ctx, pods)
	}, SpecTimeout(specTimeout))
})

// expectNoTLSFiles shows that a Refinery without TLS is given the shared certificate and nothing else.
func expectNoTLSFiles(ctx context.Context, r *v1alpha1.Refinery) {
	GinkgoHelper()
	Expect(objectsOf(r.Namespace, r.Name)(ctx)).NotTo(ContainElement(HavePrefix("Secret/")))
}
