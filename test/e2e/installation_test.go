package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("Installed by plain kubectl apply", func() {
	It("the samples reach Authenticated 3/3, with objects as designed, under Pod Security restricted, and go with their namespace", func(ctx SpecContext) {
		ns := applySamples(ctx)
		expectSamplesAuthenticated(ctx, ns)
		expectDesignedObjects(ctx, ns)
		expectRestricted(ctx, ns)

		By("deleting the namespace, with a workload in it too")
		mill := newRefinery(ctx, &v1alpha1.ClusterMaster{ObjectMeta: objectMeta(ns, "alpha")}, "mill", workload(ctx))
		Eventually(ctx, columnsOf(mill)).WithTimeout(startTimeout).Should(Equal(authenticated(1)))
		expectRemoval(ctx, ns)
	}, SpecTimeout(specTimeout))
})

var _ = Describe("Installed by helm install", Ordered, Serial, func() {
	var manager types.NamespacedName

	BeforeAll(func(ctx SpecContext) {
		manager = managerOf(managerManifest(ctx))
		waitForRemovals(ctx, "")
		var adopt []string
		if !removeManager(ctx) {
			// Someone's resources stand in the way of removing the CRDs, so that the chart has to take them over.
			adopt = append(adopt, "--take-ownership")
		}
		DeferCleanup(func(ctx context.Context) {
			waitForRemovals(ctx, "")
			removeManager(ctx)
			applyManager(ctx)
		}, NodeTimeout(specTimeout))
		installChart(ctx, manager.Namespace, adopt...)
	}, NodeTimeout(specTimeout))

	It("helm test succeeds, and fails where no operator runs a master; a namespace can be deleted without one", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		press := newRefinery(ctx, newReadyMaster(ctx, ns), "press", workload(ctx))
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(1)))
		test := []string{"test", chartRelease, "--namespace=" + manager.Namespace}
		runOperators := func(ctx context.Context, pods string) {
			kubectl(ctx, "scale", "deployment", manager.Name, "--namespace="+manager.Namespace, "--replicas="+pods)
		}
		DeferCleanup(runOperators, "1")
		runOperators(ctx, "0")
		Eventually(ctx, func(ctx context.Context) ([]corev1.Pod, error) { // those too that are about to end
			list := &corev1.PodList{}
			err := k8s.List(ctx, list, client.InNamespace(manager.Namespace), client.MatchingLabels{"app.kubernetes.io/instance": chartRelease})
			return list.Items, err
		}).Should(BeEmpty())
		_, err := command(ctx, environment("HELM", "helm"), "", append(test, "--timeout=20s")...)
		Expect(err).To(MatchError(Or(ContainSubstring("timed out"), ContainSubstring("deadline"))))
		expectRemoval(ctx, ns) // the admission policies are still there

		runOperators(ctx, "1")
		Expect(helm(ctx, append(test, "--timeout=3m")...)).To(ContainSubstring("Phase:          Succeeded"))
		Expect(kubectl(ctx, "get", "clustermasters,refineries,pods", "--namespace="+manager.Namespace, "--output=name", "--selector=helm.sh/chart")).
			To(BeEmpty(), "it leaves nothing")
	}, SpecTimeout(specTimeout))

	It("the samples reach Authenticated 3/3, with objects as designed, and outlive helm uninstall", func(ctx SpecContext) {
		ns := applySamples(ctx)
		expectSamplesAuthenticated(ctx, ns)
		expectDesignedObjects(ctx, ns)
		expectRestricted(ctx, ns)

		By("helm uninstall")
		press := &v1alpha1.Refinery{ObjectMeta: objectMeta(ns, "press")}
		before := refineryPods(ctx, press)
		uninstallChart(ctx, manager.Namespace)
		Consistently(ctx, columnsOf(press)).WithTimeout(moment).Should(Equal(authenticated(3)), "CRDs and Refineries are kept")
		Expect(refineryPods(ctx, press)).To(Equal(before))

		By("helm install over what was kept")
		installChart(ctx, manager.Namespace)
		scale(ctx, press, "2")
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))
		uninstallChart(ctx, manager.Namespace)
		By("deleting the namespace without an operator")
		expectRemoval(ctx, ns)
	}, SpecTimeout(specTimeout))

	It("runs on a strict platform as docs/install.md says", runOnStrictPlatform, SpecTimeout(specTimeout))
})

// applySamples applies config/samples under a namespace of the spec's own.
func applySamples(ctx context.Context) string {
	GinkgoHelper()
	ns := newNamespace(ctx)
	folder := GinkgoT().TempDir()
	samples, err := filepath.Abs(path("config", "samples"))
	Expect(err).NotTo(HaveOccurred())
	relative, err := filepath.Rel(folder, samples)
	Expect(err).NotTo(HaveOccurred())
	overlay := "namespace: " + ns + "\nresources:\n- " + relative + "\n"
	Expect(os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(overlay), 0o600)).To(Succeed())
	kubectl(ctx, "apply", "-k", folder)
	return ns
}

// expectSamplesAuthenticated waits as a person does, and reads what a person sees.
func expectSamplesAuthenticated(ctx context.Context, ns string) {
	GinkgoHelper()
	kubectl(ctx, "wait", "clustermasters,refineries", "--all", "--namespace="+ns, "--for=condition=Ready", "--timeout=120s")
	press := &v1alpha1.Refinery{ObjectMeta: objectMeta(ns, "press")}
	Eventually(ctx, columnsOf(press)).Should(Equal(authenticated(3)))
	Eventually(ctx, func() []string {
		lines := strings.Split(kubectl(ctx, "get", "refineries", "--namespace="+ns), "\n")
		return []string{strings.Join(strings.Fields(lines[0]), " "), strings.Join(strings.Fields(lines[1])[:4], " ")}
	}).Should(HaveExactElements("NAME MASTER AUTH NODES PODS UPSTREAM READY AGE", "press alpha Authenticated 3/3"))
	Eventually(ctx, func() string {
		lines := strings.Split(kubectl(ctx, "get", "cmaster", "--namespace="+ns), "\n")
		return strings.Join(strings.Fields(lines[0]), " ") + " " + strings.Join(strings.Fields(lines[1])[:2], " ")
	}).Should(Equal("NAME READY ACTIVE REFINERIES AGE alpha True"))
}

// expectDesignedObjects shows the objects of the samples: their names, types, keys and owners.
func expectDesignedObjects(ctx context.Context, ns string) {
	GinkgoHelper()
	live := func(instance string) []string {
		all, err := objectsOf(ns, instance)(ctx)
		Expect(err).NotTo(HaveOccurred())
		var named []string
		for _, one := range all {
			if !strings.HasPrefix(one, "Pod/") && !strings.HasPrefix(one, "ReplicaSet/") {
				named = append(named, one)
			}
		}
		return named
	}
	Expect(live("alpha")).To(ConsistOf("Deployment/alpha", "Service/alpha", "Service/alpha-peer", "Secret/alpha-ca", "Secret/alpha-peer", "Secret/alpha-tls",
		"ServiceAccount/alpha-master"))
	Expect(live("press")).To(ConsistOf("Deployment/press", "Secret/press-tls", "ServiceAccount/press-refinery"))

	for _, name := range []string{"alpha-tls", "press-tls"} {
		s := secret(ctx, ns, name)
		Expect(s.Type).To(Equal(corev1.SecretTypeTLS))
		Expect(s.Data).To(And(HaveLen(3), HaveKey(corev1.TLSCertKey), HaveKey(corev1.TLSPrivateKeyKey), HaveKey(v1alpha1.AuthorityKey)))
		Expect(s.OwnerReferences).To(HaveExactElements(HaveField("Controller", HaveValue(BeTrue()))))
	}
	var service corev1.Service
	Expect(k8s.Get(ctx, client.ObjectKey{Namespace: ns, Name: "alpha"}, &service)).To(Succeed())
	Expect(service.Spec.Ports).To(HaveExactElements(HaveField("Port", BeEquivalentTo(34308))))
	var deployment appsv1.Deployment
	Expect(k8s.Get(ctx, client.ObjectKey{Namespace: ns, Name: "press"}, &deployment)).To(Succeed())
	Expect(deployment.Status.ReadyReplicas).To(BeEquivalentTo(3))

	By("giving the master no more rights than it needs")
	account := "--as=system:serviceaccount:" + ns + ":alpha-master"
	for _, allowed := range []string{
		"list refineries", "patch refineries --subresource=status", "get clustermasters/alpha", "patch clustermasters/alpha --subresource=status",
		"patch endpointslices/alpha-active",
	} {
		Expect(canI(ctx, ns, account, allowed)).To(BeTrue(), allowed)
	}
	for _, refused := range []string{
		"get refineries", "patch leases/alpha-active", "get secrets", "list secrets", "get pods", "create pods", "get configmaps", "patch refineries", "delete refineries",
		"patch clustermasters/alpha", "patch clustermasters/other --subresource=status", "get clustermasters/other",
		"patch endpointslices/other", "create endpointslices", "list endpointslices", "patch services/alpha",
	} {
		Expect(canI(ctx, ns, account, refused)).To(BeFalse(), refused)
	}
}

func canI(ctx context.Context, ns, account, verbAndResource string) bool {
	args := append([]string{"auth", "can-i", "--namespace=" + ns, account}, strings.Fields(verbAndResource)...)
	out, _ := tryKubectl(ctx, "", args...)
	return strings.TrimSpace(out) == "yes"
}

// expectRestricted shows that the namespace enforces Pod Security "restricted", and that nothing was refused
// or mounts a token that it does not use.
func expectRestricted(ctx context.Context, ns string) {
	GinkgoHelper()
	var namespace corev1.Namespace
	Expect(k8s.Get(ctx, client.ObjectKey{Name: ns}, &namespace)).To(Succeed())
	Expect(namespace.Labels).To(HaveKeyWithValue("pod-security.kubernetes.io/enforce", "restricted"))
	Expect(podsOf(ctx, ns, "alpha", "master")).To(HaveLen(2))
	pods := podsOf(ctx, ns, "press", "refinery")
	Expect(pods).To(HaveLen(3))
	for _, p := range pods {
		Expect(p.Spec.AutomountServiceAccountToken).To(HaveValue(BeFalse()))
		for _, v := range p.Spec.Volumes {
			Expect(v.Projected).To(BeNil(), "pod %s mounts %s", p.Name, v.Name)
		}
		for _, c := range p.Spec.Containers {
			Expect(c.SecurityContext.ReadOnlyRootFilesystem).To(HaveValue(BeTrue()), "container %s", c.Name)
		}
	}
}
