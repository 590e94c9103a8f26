package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

const (
	// releaseBefore is the commit that stands for the release before this one, which replaced all pods at once.
	releaseBefore = "1572cb5"
	// versionBefore and versionAfter are written into its binaries, and into those of this tree that stand for the release after.
	versionBefore, versionAfter = "0.0.9", "99.0.0"
	// buildTimeout is for the images of another commit, of which nothing may have been compiled before.
	buildTimeout = 10 * time.Minute
	// upgradeTimeout is for all masters, or all nodes, to be replaced.
	upgradeTimeout = 4 * time.Minute
	// upgradedMasters is how many pods the ClusterMaster has.
	upgradedMasters = 2
)

var _ = Describe("An upgrade by helm upgrade", Serial, func() {
	var plant *upgrading

	BeforeEach(func(ctx SpecContext) {
		manager := managerOf(managerManifest(ctx))
		folder := checkout(ctx, releaseBefore)
		buildImages(ctx, folder, versionBefore)
		buildImages(ctx, path(), versionAfter)
		waitForRemovals(ctx, "")
		adopt := []string{"--set=image.tag=" + versionBefore}
		if !removeManager(ctx) {
			adopt = append(adopt, "--take-ownership")
		}
		DeferCleanup(func(ctx context.Context) {
			waitForRemovals(ctx, "")
			uninstallChart(ctx, manager.Namespace)
			removeManager(ctx)
			applyManager(ctx)
		}, NodeTimeout(specTimeout))
		plant = &upgrading{operator: manager.Namespace, before: filepath.Join(folder, "charts", "refinery-operator")}
		installFrom(ctx, plant.before, plant.operator, adopt...)
		plant.run(ctx, folder)
		masters := &appsv1.Deployment{}
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(plant.master), masters)).To(Succeed())
		Expect(masters.Annotations).NotTo(HaveKey("cluster.refinery.dev/revision"), "it is an operator that knows nothing of revisions")
	}, NodeTimeout(buildTimeout+specTimeout))

	It("of the release before replaces masters, and no workload until it is let go; and so does the release after, both ways", func(ctx SpecContext) {
		pods := plant.pods(ctx)

		By("upgrading from the release before to this one")
		asked := plant.ask(ctx)
		plant.upgrade(ctx, path("charts", "refinery-operator"), version.Version)
		Eventually(ctx, plant.pending).WithTimeout(upgradeTimeout).Should(And(HaveLen(1), HaveKey(HavePrefix(version.Version+"-"))),
			"every workload waits for one revision")
		Expect(asked.stop()).To(BeEmpty(), "a workload was not ready, or a node outside was refused")
		Expect(plant.workloads(plant.pods(ctx))).To(Equal(plant.workloads(pods)), "no workload restarted")

		By("changing what is stored: the rules of the new CRDs take it")
		kubectl(ctx, "label", "clustermasters,refineries", "--all", "--namespace="+plant.namespace, "edited=yes")
		for _, name := range plant.names {
			change(ctx, plant.refinery(name), func(r *v1alpha1.Refinery) { r.Spec.ReadinessGraceSeconds = ptr.To[int32](20) })
		}
		plant.expectRolledOut(ctx, version.Version) // as what the pods need has changed, the upgrade is taken along

		By("upgrading to the release after: the workloads wait, and go when they are let go, never fewer than wanted")
		pods = plant.pods(ctx)
		asked, watched := plant.ask(ctx), plant.watch(ctx)
		plant.upgrade(ctx, path("charts", "refinery-operator"), versionAfter)
		Eventually(ctx, plant.pending).WithTimeout(upgradeTimeout).Should(And(HaveLen(1), HaveKey(HavePrefix(versionAfter+"-"))))
		Eventually(ctx, plant.images("press-a")).WithTimeout(upgradeTimeout).Should(HaveEach(HaveSuffix(":" + versionAfter)))
		Eventually(ctx, plant.images("press-b")).WithTimeout(upgradeTimeout).Should(HaveEach(HaveSuffix(":" + versionAfter)))
		Expect(asked.stop()).To(BeEmpty())
		Expect(plant.workloads(plant.pods(ctx))).To(Equal(plant.workloads(pods)))
		for revision := range must(plant.pending(ctx)) {
			kubectl(ctx, "annotate", "refineries", "--all", "--overwrite", "--namespace="+plant.namespace, v1alpha1.UpgradeAnnotation+"="+revision)
		}
		plant.expectRolledOut(ctx, versionAfter)
		Expect(watched.stop()).To(BeEmpty())

		By("going back to this one, which restarts no workload either")
		pods = plant.pods(ctx)
		asked = plant.ask(ctx)
		plant.upgrade(ctx, path("charts", "refinery-operator"), version.Version)
		Eventually(ctx, plant.pending).WithTimeout(upgradeTimeout).Should(And(HaveLen(1), HaveKey(HavePrefix(version.Version+"-"))))
		Expect(asked.stop()).To(BeEmpty())
		Expect(plant.workloads(plant.pods(ctx))).To(Equal(plant.workloads(pods)))

		By("going back to the release before, at the cost that docs/upgrade.md names")
		change(ctx, plant.master, func(m *v1alpha1.ClusterMaster) {
			m.Spec.Certificates.DeletionPolicy, m.Spec.Protocol.AcceptedVersions = v1alpha1.DeletionPolicyDelete, ">=0.0.1"
		})
		Eventually(ctx, func(ctx context.Context) int { return len(secret(ctx, plant.namespace, "alpha-ca").OwnerReferences) }).Should(Equal(1))
		kubectl(ctx, "delete", "deployment", chartRelease, "--namespace="+plant.operator, "--cascade=foreground") // see docs/upgrade.md
		plant.upgrade(ctx, plant.before, versionBefore)
		plant.expectRolledOut(ctx, versionBefore)
	}, SpecTimeout(4*specTimeout))
})

func must[T any](value T, err error) T {
	GinkgoHelper()
	Expect(err).NotTo(HaveOccurred())
	return value
}

// checkout is a folder with the files of another commit. It is removed when the spec is over.
func checkout(ctx context.Context, commit string) string {
	GinkgoHelper()
	if _, err := command(ctx, "git", "", "-C", path(), "cat-file", "-e", commit+"^{commit}"); err != nil {
		Skip("the history of the repository is not here, which has the release before: git fetch --unshallow brings it")
	}
	folder := filepath.Join(GinkgoT().TempDir(), "tree")
	_, err := command(ctx, "git", "", "-C", path(), "worktree", "add", "--detach", folder, commit)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func(ctx context.Context) {
		_, err := command(ctx, "git", "", "-C", path(), "worktree", "remove", "--force", folder)
		Expect(err).NotTo(HaveOccurred())
	})
	return folder
}

// buildImages builds the images of a tree, with a version written into the binaries, and loads them into the cluster.
func buildImages(ctx context.Context, tree, stamp string) {
	GinkgoHelper()
	_, err := command(ctx, "make", "", "--silent", "--directory="+tree, "images", "TAG="+stamp)
	Expect(err).NotTo(HaveOccurred())
}

// upgrading is a ClusterMaster with five Refineries that have workloads, two that have none, and one whose node is outside of the cluster.
type upgrading struct {
	operator, before, namespace string
	master                      *v1alpha1.ClusterMaster
	names                       []string // of the Refineries that have pods
	yard                        *v1alpha1.Refinery
	crane                       *agent
}

// run makes them, and starts the node that is outside with the agent in a folder.
func (u *upgrading) run(ctx context.Context, folder string) {
	GinkgoHelper()
	u.namespace = newNamespace(ctx)
	u.master = newReadyMaster(ctx, u.namespace, masterReplicas(upgradedMasters), func(m *v1alpha1.ClusterMaster) { m.Spec.Protocol.AcceptedVersions = "" })
	u.names = nil
	for _, name := range []string{"mill-a", "mill-b", "mill-c", "mill-d", "mill-e"} {
		newRefinery(ctx, u.master, name, workload(ctx))
		u.names = append(u.names, name)
	}
	for _, name := range []string{"press-a", "press-b"} {
		newRefinery(ctx, u.master, name, replicas(2))
		u.names = append(u.names, name)
	}
	u.yard = newRefinery(ctx, u.master, "yard", external)
	binary := filepath.Join(GinkgoT().TempDir(), "refinery")
	_, err := command(ctx, "go", "", "-C", folder, "build", "-trimpath", "-ldflags=-X github.com/refinery-operator/refinery-operator/internal/version.Version="+versionBefore,
		"-o", binary, "./cmd/refinery")
	Expect(err).NotTo(HaveOccurred())
	Expect(os.Chmod(binary, 0o755)).To(Succeed()) //nolint:gosec // it is run
	u.crane = startAgentOf(binary, u.master, endpoint(ctx, u.master), "yard/crane", secret(ctx, u.namespace, u.yard.CertificateSecretName()))
	u.expectAuthenticated(ctx)
}

// workload gives the pods of a Refinery a container that does nothing.
func workload(ctx context.Context) func(*v1alpha1.Refinery) {
	GinkgoHelper()
	return app(pauseImage(ctx), "")
}

// pauseImage is a workload that does nothing, and that every Kubernetes node has.
func pauseImage(ctx context.Context) string {
	GinkgoHelper()
	var nodes corev1.NodeList
	Expect(k8s.List(ctx, &nodes)).To(Succeed())
	for _, image := range nodes.Items[0].Status.Images {
		for _, name := range image.Names {
			if strings.Contains(name, "/pause:") {
				return name
			}
		}
	}
	Fail("the node has no image of the name pause")
	return ""
}

func (u *upgrading) refinery(name string) *v1alpha1.Refinery {
	return &v1alpha1.Refinery{ObjectMeta: objectMeta(u.namespace, name)}
}

func (u *upgrading) expectAuthenticated(ctx context.Context) {
	GinkgoHelper()
	for _, name := range append([]string{u.yard.Name}, u.names...) {
		wanted := 1
		if strings.HasPrefix(name, "press") {
			wanted = 2
		}
		Eventually(ctx, columnsOf(u.refinery(name))).WithTimeout(upgradeTimeout).Should(Equal(authenticated(wanted)), "Refinery %s", name)
	}
}

// expectRolledOut waits until all pods of Refineries are of a version, and none waits for another.
func (u *upgrading) expectRolledOut(ctx context.Context, tag string) {
	GinkgoHelper()
	Eventually(ctx, u.images(u.names...)).WithTimeout(upgradeTimeout).Should(And(HaveLen(5+2*2), HaveEach(HaveSuffix(":"+tag))))
	Eventually(ctx, u.pending).WithTimeout(upgradeTimeout).Should(BeEmpty())
	u.expectAuthenticated(ctx)
}

// upgrade exchanges the operator, and waits until it has exchanged the masters and the former ones are gone.
func (u *upgrading) upgrade(ctx context.Context, chart, tag string) {
	GinkgoHelper()
	helm(ctx, "upgrade", chartRelease, chart, "--namespace="+u.operator, "--set=image.tag="+tag, "--wait", "--timeout=3m")
	Eventually(ctx, func(ctx context.Context) ([]corev1.Pod, error) { // those too that have yet to send their nodes away
		list := &corev1.PodList{}
		err := k8s.List(ctx, list, client.InNamespace(u.namespace), client.MatchingLabels{"app.kubernetes.io/component": "master"})
		return list.Items, err
	}).WithTimeout(upgradeTimeout).Should(And(HaveLen(upgradedMasters),
		HaveEach(HaveField("Spec.Containers", HaveEach(HaveField("Image", HaveSuffix(":"+tag)))))))
	u.expectAuthenticated(ctx)
}

// images are those of our containers in the pods of some Refineries, for Eventually.
func (u *upgrading) images(names ...string) func(context.Context) []string {
	return func(ctx context.Context) (images []string) {
		for _, name := range names {
			for _, p := range podsOf(ctx, u.namespace, name, "refinery") {
				for _, c := range append(p.Spec.InitContainers, p.Spec.Containers...) {
					if c.Name != "app" {
						images = append(images, c.Image)
					}
				}
			}
		}
		return images
	}
}

// pending is which revisions Refineries with a workload wait for, for Eventually. Until all wait, or none does, it is an error.
func (u *upgrading) pending(ctx context.Context) (map[string]bool, error) {
	revisions, waiting := map[string]bool{}, 0
	for _, name := range u.names[:5] {
		r := u.refinery(name)
		if err := k8s.Get(ctx, client.ObjectKeyFromObject(r), r); err != nil {
			return nil, err
		}
		if r.Status.PendingUpgrade != "" {
			revisions[r.Status.PendingUpgrade] = true
			waiting++
		}
	}
	if waiting > 0 && waiting < 5 {
		return nil, fmt.Errorf("%d of 5 wait", waiting)
	}
	return revisions, nil
}

// pods are those of all Refineries, by their names.
func (u *upgrading) pods(ctx context.Context) map[string][]pod {
	GinkgoHelper()
	pods := map[string][]pod{}
	for _, name := range u.names {
		pods[name] = refineryPods(ctx, u.refinery(name))
	}
	return pods
}

func (u *upgrading) workloads(pods map[string][]pod) map[string][]pod {
	workloads := map[string][]pod{}
	for _, name := range u.names[:5] {
		workloads[name] = pods[name]
	}
	return workloads
}

// ask asks all nodes beside a workload, and the one outside, whether they are ready, until stop.
func (u *upgrading) ask(ctx context.Context) *asked {
	GinkgoHelper()
	a := &asked{crane: u.crane, ctx: ctx}
	var pods []corev1.Pod
	for _, name := range u.names[:5] {
		pods = append(pods, podsOf(ctx, u.namespace, name, "refinery")...)
	}
	a.nodes = askNodes(ctx, pods)
	a.refused = u.crane.refusals(ctx)
	a.agents = append(addressesOf(pods), u.crane.host)
	a.lost = sessionsLost(ctx, a.agents)
	measuring, cancel := context.WithCancel(context.WithoutCancel(ctx))
	measured := make(chan struct{})
	go func() {
		defer close(measured)
		a.measure(measuring)
	}()
	a.end = sync.OnceFunc(func() {
		cancel()
		<-measured
	})
	DeferCleanup(a.end)
	return a
}

type asked struct {
	ctx     context.Context
	nodes   *questions
	crane   *agent
	refused []string
	// agents are the addresses of all of them, and lost is how many sessions each had lost at the beginning.
	agents []string
	lost   []int
	// end ends what measures gap, which is for how long at once none of them had a session, at most.
	end func()
	gap time.Duration
}

// measure notes for how long no agent has a session, until ctx is done.
func (a *asked) measure(ctx context.Context) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		some := slices.ContainsFunc(a.agents, func(host string) bool {
			value, err := metricOf(ctx, host, 8082, "refinery_agent_authenticated")
			return err == nil && value == "1"
		})
		switch {
		case ctx.Err() != nil:
			return
		case some:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		default:
			a.gap = max(a.gap, time.Since(since))
		}
	}
}

// stop returns what was wrong.
func (a *asked) stop() []string {
	GinkgoHelper()
	a.end()
	wrong := a.nodes.stop()
	if now := a.crane.refusals(a.ctx); fmt.Sprint(now) != fmt.Sprint(a.refused) {
		wrong = append(wrong, fmt.Sprintf("the node outside was refused: %v, before %v", now, a.refused))
	}
	// A node that has lost its session stays ready for a while, so that the answers alone do not show how often that was.
	lost := sessionsLost(a.ctx, a.agents)
	for i := range lost {
		lost[i] -= a.lost[i]
		if lost[i] < 1 || lost[i] > upgradedMasters {
			wrong = append(wrong, fmt.Sprintf("agent %s was sent away %d times, by %d masters that were replaced one by one", a.agents[i], lost[i], upgradedMasters))
		}
	}
	AddReportEntry("while the masters were replaced", fmt.Sprintf("the nodes were sent away %v times; none had a session for %s at once", lost, a.gap.Round(time.Millisecond)))
	return wrong
}

// sessionsLost are the agents' counts of sessions that ended.
func sessionsLost(ctx context.Context, agents []string) (lost []int) {
	GinkgoHelper()
	for _, host := range agents {
		lost = append(lost, must(strconv.Atoi(must(metricOf(ctx, host, 8082, "refinery_agent_reconnects_total")))))
	}
	return lost
}

// refusals are the agent's counts of attempts that a master answered with a refusal.
func (a *agent) refusals(ctx context.Context) (counts []string) {
	GinkgoHelper()
	_, metrics, err := a.get(ctx, 8082, "/metrics")
	Expect(err).NotTo(HaveOccurred())
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "refinery_agent_handshakes_total{") &&
			(strings.Contains(line, `"denied"`) || strings.Contains(line, `"version_refused"`)) {
			counts = append(counts, strings.TrimSpace(line))
		}
	}
	Expect(counts).To(HaveLen(2), metrics)
	return counts
}

// watch notes each moment in which a Refinery has fewer pods available than it wants, until stop.
func (u *upgrading) watch(ctx context.Context) *sightings {
	GinkgoHelper()
	s := &sightings{}
	s.see(ctx, &appsv1.DeploymentList{}, u.namespace, func(e watch.Event) {
		d, ok := e.Object.(*appsv1.Deployment)
		if !ok || d.Labels["app.kubernetes.io/component"] != "refinery" || d.Status.AvailableReplicas >= *d.Spec.Replicas {
			return
		}
		s.wrong = append(s.wrong, fmt.Sprintf("%s %s: %d of %d pods are available", time.Now().Format(time.TimeOnly), d.Name, d.Status.AvailableReplicas, *d.Spec.Replicas))
	})
	DeferCleanup(s.stop)
	return s
}
