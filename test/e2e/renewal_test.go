package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

const (
	// A rotation has every node's certificate issued twice, for its second authority and then by it, and the
	// master's once: these are no renewals.
	ownRenewals, mastersRenewals     = 5, 2
	ownByRotation, mastersByRotation = 2, 1
	// askEvery is how often each node is asked whether it has an authenticated session.
	askEvery = 50 * time.Millisecond
	// lifeTimeout bounds the spec that lives through renewals: five, a minute apart, and a rotation.
	lifeTimeout = 14 * time.Minute
)

// minutes gives certificates a life of two minutes, of which the second is for the next one to arrive.
func minutes(m *v1alpha1.ClusterMaster) {
	m.Spec.Certificates = &v1alpha1.CertificatesSpec{Duration: "2m", RenewBefore: "1m", Overlap: "1m"}
}

var _ = Describe("Certificates of two minutes", func() {
	It("are renewed five times, the master's twice, and their authority once, without a session, a probe or a pod lost", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns, minutes)
		press := newRefinery(ctx, master, "press", replicas(3))
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).Should(Equal(authenticated(3)))
		Eventually(ctx, func() int { return readyPods(ctx, press) }).WithTimeout(startTimeout).Should(Equal(3))
		before := refineryPods(ctx, press)
		beforeMaster := podsOf(ctx, ns, master.Name, "master")
		authority := authorityOf(ctx, master)

		ready := watchReadiness(ctx, ns)
		asked := askNodes(ctx, podsOf(ctx, ns, press.Name, "refinery"))
		used := watchCertificates(ctx, press, master)
		writes, began := statusWrites(ctx), time.Now()

		By("living through two renewals")
		Eventually(ctx, used.counts).WithTimeout(5 * time.Minute).Should(HaveKeyWithValue("press", BeNumerically(">=", 2)))

		By("rotating the authority")
		change(ctx, master, func(m *v1alpha1.ClusterMaster) {
			m.Annotations = map[string]string{v1alpha1.RotateCAAnnotation: "first"}
		})
		Eventually(ctx, conditionOf(master, v1alpha1.ConditionCertificateAuthorityRotating)).
			Should(HaveField("Status", metav1.ConditionTrue))
		Eventually(ctx, conditionOf(master, v1alpha1.ConditionCertificateAuthorityRotating)).WithTimeout(5 * time.Minute).
			Should(BeZero())
		Expect(authorityOf(ctx, master).pem).NotTo(ContainSubstring(string(authority.pem)), "the old authority is gone")

		By("living through the rest")
		Eventually(ctx, used.counts).WithTimeout(6 * time.Minute).Should(And(
			HaveKeyWithValue("press", BeNumerically(">=", ownRenewals+ownByRotation)),
			HaveKeyWithValue("alpha", BeNumerically(">=", mastersRenewals+mastersByRotation)),
		))
		Eventually(ctx, columnsOf(press)).Should(Equal(authenticated(3)))

		Expect(asked.stop()).To(BeEmpty(), "a node without an authenticated session")
		Expect(asked.fewest()).To(BeNumerically(">=", asked.floor()), "questions to the node that was asked least")
		Expect(ready.stop()).To(BeEmpty(), "a pod that was not ready")
		Expect(used.stop()).To(BeEmpty(), "a watch that missed something")
		Expect(refineryPods(ctx, press)).To(Equal(before), "no node restarted or replaced")
		Expect(podsOf(ctx, ns, master.Name, "master")).To(HaveLen(len(beforeMaster)))
		for i, p := range podsOf(ctx, ns, master.Name, "master") {
			Expect(p.UID).To(Equal(beforeMaster[i].UID))
			Expect(p.Status.ContainerStatuses).To(HaveEach(HaveField("RestartCount", BeZero())))
		}
		after := statusWrites(ctx)
		AddReportEntry("cost", fmt.Sprintf("%d status writes to the Refinery and %d to the ClusterMaster in %v, for %v certificates; each node asked %d times or more",
			after["refineries"]-writes["refineries"], after["clustermasters"]-writes["clustermasters"],
			time.Since(began).Round(time.Second), used.counts(), asked.fewest()))
	}, SpecTimeout(lifeTimeout))
})

// questions are asked of every node, side by side, all the time.
type questions struct {
	mu       sync.Mutex
	asked    map[string]int // by pod
	failures []string
	began    time.Time
	lasted   time.Duration // when they are over
	end      func()
	running  sync.WaitGroup
}

// askNodes asks each pod's agent whether it is authenticated, until stop.
func askNodes(ctx context.Context, pods []corev1.Pod) *questions {
	GinkgoHelper()
	asking, cancel := context.WithCancel(context.WithoutCancel(ctx))
	q := &questions{asked: map[string]int{}, began: time.Now()}
	q.end = sync.OnceFunc(func() {
		cancel()
		q.running.Wait()
		q.lasted = time.Since(q.began)
	})
	DeferCleanup(q.stop)
	for _, p := range pods {
		q.asked[p.Name] = 0
		Expect(p.Status.PodIP).NotTo(BeEmpty())
		url := "http://" + net.JoinHostPort(p.Status.PodIP, "8082") + "/readyz"
		q.running.Go(func() { q.ask(asking, p.Name, url) })
	}
	return q
}

func (q *questions) ask(ctx context.Context, name, url string) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	asker := &http.Client{Timeout: settleTimeout, Transport: transport}
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answer := answerOf(ctx, asker, url)
		if ctx.Err() != nil {
			return
		}
		q.mu.Lock()
		q.asked[name]++
		if answer != "" {
			q.failures = append(q.failures, time.Now().Format(time.TimeOnly)+" "+name+": "+answer)
		}
		q.mu.Unlock()
	}
}

// answerOf is "" for yes. What cannot be read is no.
func answerOf(ctx context.Context, asker *http.Client, url string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err.Error()
	}
	response, err := asker.Do(request)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	switch {
	case err != nil:
		return fmt.Sprintf("%s, and a body that cannot be read: %v", response.Status, err)
	case response.StatusCode == http.StatusOK:
		return ""
	default:
		return fmt.Sprintf("%s: %s", response.Status, body)
	}
}

// stop returns every answer that was not yes.
func (q *questions) stop() []string {
	q.end()
	return q.failures
}

// fewest is how often the node was asked that was asked least.
func (q *questions) fewest() int { return slices.Min(slices.Collect(maps.Values(q.asked))) }

// floor is how often each has to have been asked for the answers to say something of the whole time: half of what was meant.
func (q *questions) floor() int { return int(q.lasted / askEvery / 2) }

// sightings are what watches saw.
type sightings struct {
	mu   sync.Mutex
	seen map[string]map[string]bool
	// wrong is what should not have been, or was not seen.
	wrong []string
	end   func()
}

// see follows a kind in a namespace until end. A watch that cannot go on without a gap is wrong.
func (s *sightings) see(ctx context.Context, list client.ObjectList, namespace string, event func(watch.Event)) {
	GinkgoHelper()
	Expect(k8s.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
	locked := func(e watch.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		event(e)
	}
	Expect(meta.EachListItem(list, func(o runtime.Object) error {
		locked(watch.Event{Type: watch.Added, Object: o})
		return nil
	})).To(Succeed())
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := follow(watching, list, namespace, locked); watching.Err() == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.wrong = append(s.wrong, fmt.Sprintf("%s the watch of %T ended: %v", time.Now().Format(time.TimeOnly), list, err))
		}
	}()
	before := s.end
	s.end = sync.OnceFunc(func() {
		cancel()
		<-done
		if before != nil {
			before()
		}
	})
}

// follow hands on every event since list was read, until ctx is done. A watch that ends is taken up where it ended.
func follow(ctx context.Context, list client.ObjectList, namespace string, event func(watch.Event)) error {
	const maxWatches = 100
	since := list.GetResourceVersion()
	for range maxWatches {
		watcher, err := k8s.Watch(ctx, list,
			&client.ListOptions{Namespace: namespace, Raw: &metav1.ListOptions{ResourceVersion: since, AllowWatchBookmarks: true}})
		if err != nil {
			return err
		}
		for e := range watcher.ResultChan() {
			if e.Type == watch.Error {
				if err := apierrors.FromObject(e.Object); apierrors.IsGone(err) || apierrors.IsResourceExpired(err) {
					watcher.Stop()
					return err
				}
				break
			}
			if object, ok := e.Object.(client.Object); ok {
				since = object.GetResourceVersion()
			}
			if e.Type != watch.Bookmark {
				event(e)
			}
		}
		watcher.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("it ended %d times", maxWatches)
}

// watchReadiness notes every pod that has been ready and then is not.
func watchReadiness(ctx context.Context, namespace string) *sightings {
	GinkgoHelper()
	s := &sightings{}
	s.see(ctx, &corev1.PodList{}, namespace, func(e watch.Event) {
		p, ok := e.Object.(*corev1.Pod)
		if !ok {
			return
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue {
				s.wrong = append(s.wrong, time.Now().Format(time.TimeOnly)+" "+p.Name+": "+c.Message)
			}
		}
	})
	DeferCleanup(s.stop)
	return s
}

// stop returns what was wrong.
func (s *sightings) stop() []string {
	s.end()
	return s.wrong
}

// watchCertificates notes every certificate that a Refinery's nodes have all presented, and that its master has served.
func watchCertificates(ctx context.Context, r *v1alpha1.Refinery, m *v1alpha1.ClusterMaster) *sightings {
	GinkgoHelper()
	s := &sightings{seen: map[string]map[string]bool{r.Name: {}, m.Name: {}}}
	s.see(ctx, &v1alpha1.RefineryList{}, r.Namespace, func(e watch.Event) {
		now, ok := e.Object.(*v1alpha1.Refinery)
		if !ok || now.Name != r.Name || now.Status.Authenticated == nil {
			return
		}
		presented := now.Status.Authenticated.Certificates
		if len(presented) == 1 && presented[0].Nodes == *now.Spec.Replicas {
			s.seen[r.Name][presented[0].Fingerprint] = true
		}
	})
	s.see(ctx, &v1alpha1.ClusterMasterList{}, m.Namespace, func(e watch.Event) {
		now, ok := e.Object.(*v1alpha1.ClusterMaster)
		if ok && now.Name == m.Name && now.Status.Active != nil && now.Status.Active.Certificate != "" {
			s.seen[m.Name][now.Status.Active.Certificate] = true
		}
	})
	DeferCleanup(s.stop)
	return s
}

// counts is how many renewals each has been through: the first certificate is none.
func (s *sightings) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	renewals := map[string]int{}
	for name, certificates := range s.seen {
		renewals[name] = len(certificates) - 1
	}
	return renewals
}
