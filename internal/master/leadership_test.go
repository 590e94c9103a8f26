package master

import (
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/protocol"
)

func TestAMasterThatRestartsAndFindsAllNodesBackWritesNothing(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{Protocol: v1alpha1.ProtocolSpec{AliveIntervalSeconds: 1, AliveTimeoutSeconds: 12}})
	certificate := p.refinery("press", 2)
	m := p.start("alpha-0")
	stops := map[string]func(){}
	join := func(m *process, ids ...string) {
		for _, id := range ids {
			_, stops[id] = p.node(m, id, certificate)
		}
	}
	join(m, "press/a", "press/b")
	p.eventually("press", "authenticated", shows("2/2", v1alpha1.ReasonAuthenticated))
	p.eventuallyMaster("totalled", func(m *v1alpha1.ClusterMaster) bool {
		return m.Status.Nodes != nil && m.Status.Nodes.Authenticated == 2
	})
	m.stop()
	was := p.get("press")

	successor := p.start("alpha-1")
	for _, stop := range stops {
		stop()
	}
	join(successor, "press/a", "press/b")
	p.eventuallyMaster("taken over", func(m *v1alpha1.ClusterMaster) bool { return m.Status.Active != nil && m.Status.Active.Epoch == 2 })
	p.until("both back", func() bool {
		t := successor.activeTerm()
		return t != nil && t.registry.Count() == 2
	})
	claimed := p.master()
	p.until("the grace over", func() bool {
		return successor.clock.Since(claimed.Status.Active.Since.Time) > 14*time.Second
	})
	if now := p.get("press"); now.ResourceVersion != was.ResourceVersion {
		t.Errorf("the Refinery was written to:\n%s", cmp.Diff(was.Status, now.Status))
	}
	if now := p.master(); now.ResourceVersion != claimed.ResourceVersion {
		t.Errorf("the ClusterMaster was written to after the claim:\n%s", cmp.Diff(claimed.Status, now.Status))
	}

	successor.stop()
	stops["press/b"]()
	third := p.start("alpha-2")
	join(third, "press/a")
	p.eventuallyEvent("TookOver", "pod alpha-2 took over from alpha-1: 1 of 2 nodes came back within ")
	p.eventually("press", "missing the one that did not come back", func(r *v1alpha1.Refinery) bool {
		return shows("1/2", v1alpha1.ReasonPartiallyAuthenticated)(r) && r.Status.Nodes[0].ID == "press/b" &&
			r.Status.Nodes[0].State == v1alpha1.NodeLost && r.Status.Reporter.Epoch == 3
	})
}

func TestAStandbyIsReadyDoesNotListenAndTakesOver(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.refinery("press", 3)
	counts := func(m *process) bool { return slices.Contains(scraped(m.metrics), `nodes_wanted{refinery="press"} 3`) }
	first := p.start("alpha-0")
	p.eventuallyMaster("active", func(m *v1alpha1.ClusterMaster) bool { return m.Status.Active != nil })
	p.until("listening and counting nodes", func() bool { return listens(first.address) && counts(first) })
	second := p.start("alpha-1")
	p.until("ready", second.isReady)
	if listens(second.address) {
		t.Error("the standby listens")
	}
	if counts(second) {
		t.Error("the standby has metrics of Refineries")
	}
	first.stop() // which gives the Lease back: it would run out long after this test
	p.eventuallyMaster("taken over", func(m *v1alpha1.ClusterMaster) bool {
		return m.Status.Active != nil && m.Status.Active.Pod == "alpha-1" && m.Status.Active.Epoch == 2
	})
	p.until("listening and counting nodes", func() bool { return listens(second.address) && counts(second) })
	if listens(first.address) {
		t.Error("the former master listens")
	}
	if counts(first) {
		t.Error("the former master still has metrics of Refineries")
	}
}

func TestTheNextMasterServesWhileTheFormerStillSendsNodesAway(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	first := p.start("alpha-0")
	p.eventually("press", "connecting", shows("0/1", v1alpha1.ReasonConnecting))
	// This node does not close when it is told to, for which the former master waits a second.
	stubborn := &agent{id: "press/a", version: "0.1.0", certificate: certificate, roots: p.authority, address: first.address}
	var client *protocol.Client
	p.until("in session", func() (in bool) {
		var err error
		client, err = stubborn.connect(p.ctx)
		return err == nil
	})
	defer func() { _ = client.Close() }()
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
	second := p.start("alpha-1")
	p.until("the standby is ready", func() bool { return second.ready() == nil })

	stopped := make(chan struct{})
	go func() { first.stop(); close(stopped) }()
	p.until("the next one listens", func() bool { return listens(second.address) })
	select {
	case <-stopped:
		t.Error("the next master took over only when the former was gone")
	default:
	}
	p.until("the former master does not listen any more", func() bool { return !listens(first.address) })
	<-stopped
}

func TestAMasterThatEndsStillEndsTheSessionsOfWhatIsRevoked(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.handover = 2 * patience // the process serves on until there is another one
	certificate := p.refinery("press", 1)
	first := p.start("alpha-0")
	p.node(first, "press/a", certificate)
	p.until("in session", func() bool { return first.count() == 1 })
	term := first.activeTerm()
	stopped := make(chan struct{})
	go func() { first.stop(); close(stopped) }()
	p.until("the term over", func() bool { return first.activeTerm() == nil })

	p.list("press")
	p.until("the session ended", func() bool { return term.server.Stats().Sessions == 0 })
	select {
	case <-stopped:
		t.Error("it ended with the process")
	default:
	}
	p.handover = 0
	p.start("alpha-1")
	<-stopped
}

func TestThePodOfAMasterIsGivenTheTimeToSendNodesAway(t *testing.T) {
	deployment, err := resource.MasterDeployment(&v1alpha1.ClusterMaster{}, resource.Images{})
	if err != nil {
		t.Fatal(err)
	}
	given := time.Duration(*deployment.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
	if needed := releaseTimeout + handoverFor + settleFor + protocol.DefaultDrainWindow + farewell; given < needed+5*time.Second {
		t.Errorf("the pod is killed after %v; ending takes %v, and reports in flight a moment", given, needed)
	}
}

func TestNodesAreSentAwayWellWithinTheGraceOfTheNextMaster(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		35 * time.Second: protocol.DefaultDrainWindow, 30 * time.Second: 10 * time.Second, 3 * time.Second: time.Second,
	} {
		if got := drainWindow(timeout); got != want {
			t.Errorf("with an alive timeout of %v the window is %v, want %v", timeout, got, want)
		}
	}
}

func TestAMasterThatLosesItsLeaseClosesItsSessionsAndStandsBy(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.lease = 3 * time.Second
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	p.node(m, "press/a", certificate)
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))

	var lease coordinationv1.Lease
	p.must(p.client.Get(p.ctx, client.ObjectKey{Namespace: p.namespace, Name: p.master().LeaseName()}, &lease))
	lease.ResourceVersion = "" // the holder renews it all the time
	before := lease.DeepCopy()
	lease.Spec.HolderIdentity = ptr.To("alpha-9")
	lease.Spec.RenewTime = ptr.To(metav1.NowMicro())
	lease.Spec.LeaseDurationSeconds = ptr.To[int32](4)
	p.must(p.client.Patch(p.ctx, &lease, client.MergeFrom(before)))
	p.until("standing by", func() bool { return m.activeTerm() == nil })
	if listens(m.address) {
		t.Error("it listens")
	}
	p.eventuallyMaster("active again, when the other fell silent", func(m *v1alpha1.ClusterMaster) bool { return m.Status.Active != nil && m.Status.Active.Epoch == 2 })
	p.until("serving the node again", func() bool { t := m.activeTerm(); return t != nil && t.registry.Count() == 1 })
	if r := p.get("press"); !shows("1/1", v1alpha1.ReasonAuthenticated)(r) || r.Status.Reporter.Epoch != 1 {
		t.Errorf("the Refinery was written to: %+v", r.Status)
	}
}

func TestADeposedMasterIsRefusedByTheAPIServerAndStepsDown(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	p.eventually("press", "connecting", shows("0/1", v1alpha1.ReasonConnecting))
	former := m.activeTerm()

	// Another master claims the next epoch, as if this one had lost its Lease and not noticed, and reports.
	newer, err := claim(p.ctx, m.client, client.ObjectKeyFromObject(p.master()), "alpha-9", 0, reportedCertificates{}, m.clock)
	p.must(err)
	if newer.Epoch != 2 {
		t.Fatalf("claimed epoch %d", newer.Epoch)
	}
	report := newReport(p.get("press"), snapshot{}, &report{}, metav1.Now())
	apply := func(term tenure) error {
		return m.client.Status().Apply(p.ctx, refineryStatus(p.namespace, "press", report, term), client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)
	}
	p.must(apply(newer))
	if err := apply(former.term); !apierrors.IsInvalid(err) {
		t.Errorf("a write of the former epoch: %v", err)
	}
	totals, _ := newTotals(m.directory, former.registry)
	if err := m.client.Status().Apply(p.ctx, masterStatus(p.namespace, "alpha", former.term, reportedCertificates{}, totals), client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership); !apierrors.IsInvalid(err) {
		t.Errorf("totals of the former epoch: %v", err)
	}
	// It steps down by itself, and, being the only one that campaigns, is elected for an epoch of its own.
	p.eventuallyMaster("active again", func(m *v1alpha1.ClusterMaster) bool {
		return m.Status.Active != nil && m.Status.Active.Pod == "alpha-0" && m.Status.Active.Epoch == 3
	})
	p.node(m, "press/a", certificate)
	r := p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
	if r.Status.Reporter.Epoch != 3 {
		t.Errorf("reported by epoch %d", r.Status.Reporter.Epoch)
	}
}

func TestAClusterMasterThatWasMadeAgainGoesOnCounting(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	report := newReport(p.get("press"), snapshot{}, &report{}, metav1.Now())
	p.must(p.client.Status().Apply(p.ctx, refineryStatus(p.namespace, "press", report, tenure{Pod: "alpha-of-old", Epoch: 40}),
		client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership))
	m := p.start("alpha-0")
	p.eventuallyMaster("active", func(m *v1alpha1.ClusterMaster) bool {
		return m.Status.Active != nil && m.Status.Active.Epoch == 41
	})
	p.node(m, "press/a", certificate)
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
}

func TestAnEpochThatNoMasterHadDeposesNobody(t *testing.T) {
	for name, forged := range map[string]int64{"the largest": v1alpha1.MaxEpoch, "half of it": v1alpha1.MaxEpoch / 2, "one too far": 1 + v1alpha1.MaxEpochStep} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t, v1alpha1.ClusterMasterSpec{})
			certificate := p.refinery("press", 1)
			m := p.start("alpha-0")
			p.eventually("press", "connecting", shows("0/1", v1alpha1.ReasonConnecting))
			term := m.activeTerm()
			forge := func(epoch int64) {
				report := newReport(p.get("press"), snapshot{}, &report{}, metav1.Now())
				p.must(p.client.Status().Apply(p.ctx, refineryStatus(p.namespace, "press", report, tenure{Pod: "forged", Epoch: epoch}),
					client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership))
			}
			forge(forged)
			p.node(m, "press/a", certificate)
			p.eventuallyMaster("totalled", func(m *v1alpha1.ClusterMaster) bool {
				return m.Status.Nodes != nil && m.Status.Nodes.Authenticated == 1
			})
			p.until("seen", func() bool { return m.directory.Refinery("press").Status.Reporter.Epoch == forged })
			reported := m.directory.ReportedEpoch()
			forge(0) // as the operator does
			p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
			if m.activeTerm() != term {
				t.Error("the term is over")
			}
			next, err := claim(p.ctx, m.client, client.ObjectKeyFromObject(p.master()), "alpha-1", reported, reportedCertificates{}, m.clock)
			if err != nil || next.Epoch != term.term.Epoch+1 {
				t.Errorf("the next epoch is %d, %v", next.Epoch, err)
			}
		})
	}
}

func TestAReporterThatIsRefusedForItsEpochSaysThatItIsDeposed(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.refinery("press", 1)
	o := Options{Namespace: p.namespace, Name: "alpha", PodName: "alpha-0"}
	m, err := NewMaster(o, p.config, p.logger("alpha-0"))
	p.must(err)
	old, err := claim(p.ctx, m.client, client.ObjectKeyFromObject(p.master()), "alpha-0", 0, reportedCertificates{}, m.clock)
	p.must(err)
	newer, err := claim(p.ctx, m.client, client.ObjectKeyFromObject(p.master()), "alpha-1", 0, reportedCertificates{}, m.clock)
	p.must(err)
	report := newReport(p.get("press"), snapshot{}, &report{}, metav1.Now())
	p.must(m.client.Status().Apply(p.ctx, refineryStatus(p.namespace, "press", report, newer), client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership))

	m.directory.SetMaster(p.master())
	stale := p.get("press") // what its watch has not brought yet
	stale.Status = v1alpha1.RefineryStatus{}
	m.directory.SetRefinery(stale)
	for _, key := range []string{"press", totalsKey} {
		deposed := false
		registry := newRegistry(m.clock, func(string, time.Duration) {})
		r := newReporter(m.client, m.directory, registry, m.certificates.Loaded, old, nil, m.metrics, m.clock, p.logger("alpha-0"), permitted(m.clock), func() { deposed = true })
		defer r.queue.ShutDown()
		write := r.reportRefinery
		if key == totalsKey {
			write = r.reportTotals
		}
		if err := write(p.ctx, key); err != nil || !deposed {
			t.Errorf("%q: deposed %v, %v", key, deposed, err)
		}
	}
	if got := p.get("press").Status.Reporter; got.Epoch != newer.Epoch {
		t.Errorf("reporter %+v", got)
	}
}

// isReady asks a master as the kubelet does.
func (m *process) isReady() bool {
	response, err := http.Get("http://" + m.options.HealthAddress + "/readyz")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func listens(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}
