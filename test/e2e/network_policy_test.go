package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("A namespace that denies by default", func() {
	It("lets masters and nodes through with the example of docs/network.md, and nobody else; without the master's NetworkPolicy they are cut off", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		enforcePolicies(ctx)
		kubectlApply(ctx, networkExample(ns))
		master := &v1alpha1.ClusterMaster{ObjectMeta: objectMeta(ns, "alpha")}
		press := newRefinery(ctx, master, "press", replicas(2))
		waitForActive(ctx, master)
		waitForMasterPods(ctx, master, 2)
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))

		masters, nodes := addressesOf(podsOf(ctx, ns, "alpha", "master")), addressesOf(podsOf(ctx, ns, "press", "refinery"))
		var active corev1.Pod
		Expect(k8s.Get(ctx, client.ObjectKey{Namespace: ns, Name: master.Status.Active.Pod}, &active)).To(Succeed())
		Eventually(ctx, reaches(nodes[0], active.Status.PodIP, 34308)).Should(BeTrue(), "a node, the active master")
		Eventually(ctx, reaches(masters[0], masters[1], 34309)).Should(BeTrue(), "a master, another master")
		Eventually(ctx, reaches(masters[1], masters[0], 34309)).Should(BeTrue(), "the other way")
		for what, closed := range map[string]func(context.Context) bool{
			"a node, the link between masters": reaches(nodes[0], masters[0], 34309),
			"a node, a master's metrics":       reaches(nodes[0], masters[0], 8080),
			"a node, another node":             reaches(nodes[0], nodes[1], 8082),
			"a node, the API server":           reaches(nodes[0], active.Status.HostIP, 16443),
			"a master, a node":                 reaches(masters[0], nodes[0], 8082),
		} {
			Expect(closed(ctx)).To(BeFalse(), what)
		}

		change(ctx, master, func(m *v1alpha1.ClusterMaster) { m.Spec.NetworkPolicy = nil })
		Eventually(ctx, func(ctx context.Context) error {
			return k8s.Get(ctx, client.ObjectKeyFromObject(master), &networkingv1.NetworkPolicy{})
		}).Should(MatchError(ContainSubstring("not found")))
		Eventually(ctx, reaches(nodes[0], active.Status.PodIP, 34308)).Should(BeFalse())
		Eventually(ctx, reaches(masters[0], masters[1], 34309)).Should(BeFalse())
	}, SpecTimeout(specTimeout))
})

// enforcePolicies has NetworkPolicies enforced until the spec is over.
func enforcePolicies(ctx context.Context) {
	GinkgoHelper()
	program := filepath.Join(suiteFolder, "policies")
	_, err := command(ctx, "go", "", "-C", path("hack", "policies"), "build", "-o", program, ".")
	Expect(err).NotTo(HaveOccurred())
	var nodes corev1.NodeList
	Expect(k8s.List(ctx, &nodes)).To(Succeed())
	engine := exec.Command(program, "--kubeconfig", kubeconfigPath(), "--node", nodes.Items[0].Name, "--pods", "10.247.0.0/22")
	log := gbytes.NewBuffer()
	engine.Stdout, engine.Stderr = io.MultiWriter(log, GinkgoWriter), GinkgoWriter
	Expect(engine.Start()).To(Succeed())
	DeferCleanup(func() {
		Expect(engine.Process.Signal(syscall.SIGTERM)).To(Succeed())
		Expect(engine.Wait()).To(Succeed())
	})
	Eventually(ctx, log).WithTimeout(startTimeout).Should(gbytes.Say("ready"))
}

// networkExample is the YAML of docs/network.md, for another namespace.
func networkExample(namespace string) string {
	GinkgoHelper()
	page, err := os.ReadFile(path("docs", "network.md"))
	Expect(err).NotTo(HaveOccurred())
	_, section, found := strings.Cut(string(page), "\n## NetworkPolicies\n")
	Expect(found).To(BeTrue())
	_, example, _ := strings.Cut(section, "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	return strings.ReplaceAll(example, "namespace: plant", "namespace: "+namespace)
}

func addressesOf(pods []corev1.Pod) (addresses []string) {
	for i := range pods {
		addresses = append(addresses, pods[i].Status.PodIP)
	}
	return addresses
}

// reaches polls whether a connection from the pod of an address can be opened.
func reaches(from, to string, port int) func(context.Context) bool {
	return func(ctx context.Context) bool {
		namespace := networkNamespace(from)
		Expect(namespace).NotTo(BeEmpty(), "the network namespace of %s", from)
		_, err := command(ctx, "nsenter", "", "--net="+namespace, "timeout", "3", "bash", "-c", fmt.Sprintf("</dev/tcp/%s/%d", to, port))
		return err == nil
	}
}

// networkNamespace is the path of that of the pod with an address: of a process to which the address is its own.
func networkNamespace(address string) string {
	GinkgoHelper()
	tables, err := filepath.Glob("/proc/[0-9]*/net/fib_trie")
	Expect(err).NotTo(HaveOccurred())
	own := regexp.MustCompile(regexp.QuoteMeta("|-- "+address) + `\s+/32 host LOCAL`)
	for _, table := range tables {
		if text, err := os.ReadFile(table); err == nil && own.Match(text) { // else it has just ended
			return filepath.Join(filepath.Dir(filepath.Dir(table)), "ns", "net")
		}
	}
	return ""
}
