package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

// runOnStrictPlatform does what docs/install.md says of a strict platform, on one.
func runOnStrictPlatform(ctx SpecContext) {
	enforcePolicies(ctx)
	setAside(ctx) // the release of the specs before, if they have left it
	system, plant := newNamespace(ctx), newNamespace(ctx)
	makeStrict(ctx, system, plant)
	private := startRegistry(map[string]string{
		"refinery-operator/operator:" + version.Version: "docker.io/refinery-operator/operator:" + version.Version,
		"refinery-operator/master:" + version.Version:   "docker.io/refinery-operator/master:" + version.Version,
		"refinery-operator/refinery:" + version.Version: "docker.io/refinery-operator/refinery:" + version.Version,
		"team/app:1": pauseImage(ctx),
	})
	folder := GinkgoT().TempDir()
	here := strings.NewReplacer(
		"in refinery-system plant;", "in "+system+" "+plant+";",
		"refinery-system", system,
		"namespace: plant", "namespace: "+plant,
		"registry.example.com", private.address,
		"--docker-username=...", "--docker-username="+registryUser,
		"--docker-password=...", "--docker-password='"+registryPassword+"'",
		"charts/refinery-operator", must(filepath.Abs(path("charts", "refinery-operator"))),
		// The CRDs are those of an earlier spec's release.
		"helm install", environment("HELM", "helm")+" install --take-ownership",
		"helm test", environment("HELM", "helm")+" test --timeout=3m",
		"kubectl ", environment("KUBECTL", "kubectl")+" ",
		"-f plant.yaml", "-f "+folder+"/plant.yaml",
		"--values values.yaml", "--values "+folder+"/values.yaml")
	for _, block := range fenced("install.md", "## A strict platform") {
		language, text, _ := strings.Cut(block, "\n")
		if language == "sh" {
			_, err := command(ctx, "bash", here.Replace(text), "-eu", "-o", "pipefail")
			Expect(err).NotTo(HaveOccurred())
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
		Expect(os.WriteFile(filepath.Join(folder, name), []byte(here.Replace(text)), 0o600)).To(Succeed())
	}
	DeferCleanup(func(ctx context.Context) { uninstallChart(ctx, system) })

	press := &v1alpha1.Refinery{ObjectMeta: objectMeta(plant, "press")}
	Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))
	kubectl(ctx, "wait", "clustermasters,refineries", "--all", "--namespace="+plant, "--for=condition=Ready", "--timeout=120s")
	waitForMasterPods(ctx, &v1alpha1.ClusterMaster{ObjectMeta: objectMeta(plant, "alpha")}, 2)
	Expect(private.images()).To(ConsistOf("refinery-operator/operator:"+version.Version, "refinery-operator/master:"+version.Version,
		"refinery-operator/refinery:"+version.Version, "team/app:1"))
}

// makeStrict does with namespaces what a strict platform does before a team gets them.
func makeStrict(ctx context.Context, namespaces ...string) {
	GinkgoHelper()
	policy := strings.ReplaceAll(string(must(os.ReadFile("testdata/strict_policy.yaml"))), "$RUN", namespaces[0])
	kubectlApply(ctx, policy)
	DeferCleanup(func(ctx context.Context) {
		_, err := tryKubectl(ctx, policy, "delete", "-f", "-")
		Expect(err).NotTo(HaveOccurred())
	})
	for _, namespace := range namespaces {
		kubectl(ctx, "label", "namespace", namespace, "e2e.cluster.refinery.dev/strict="+namespaces[0])
		kubectl(ctx, "apply", "--namespace="+namespace, "-f", "testdata/strict_namespace.yaml")
		Eventually(ctx, refusal(namespace, nil)).Should(MatchError(ContainSubstring("no label team on pods probe")))
		Eventually(ctx, refusal(namespace, map[string]string{"team": "red"})).Should(MatchError(ContainSubstring("must specify limits.cpu")))
	}
}

// refusal is why a pod is refused that has these labels, and says nothing of what it needs.
func refusal(namespace string, labels map[string]string) func(context.Context) error {
	return func(ctx context.Context) error {
		pod := &corev1.Pod{ObjectMeta: objectMeta(namespace, "probe"), Spec: foreignDeployment(namespace, "probe").Spec.Template.Spec}
		pod.Labels = labels
		return k8s.Create(ctx, pod, client.DryRunAll)
	}
}

// fenced are the blocks of code in a section of a page under docs, each after the name of its language.
func fenced(page, heading string) (blocks []string) {
	GinkgoHelper()
	_, section, found := strings.Cut(string(must(os.ReadFile(path("docs", page)))), heading+"\n")
	Expect(found).To(BeTrue(), heading)
	section, _, _ = strings.Cut(section, "\n## ")
	for i, part := range strings.Split("\n"+section, "\n```") {
		if i%2 == 1 {
			blocks = append(blocks, part)
		}
	}
	return blocks
}
