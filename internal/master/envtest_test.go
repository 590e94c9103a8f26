package master

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	ac "github.com/refinery-operator/refinery-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

func shows(text, reason string) func(*v1alpha1.Refinery) bool {
	return func(r *v1alpha1.Refinery) bool {
		report := Reported(&r.Status)
		return report.Authenticated.Summary == text && report.Condition.Reason == reason
	}
}

func TestANodeThatAuthenticatesShowsInStatus(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	p.eventually("press", "connecting", shows("0/1", v1alpha1.ReasonConnecting))
	p.node(m, "press/a", certificate)
	r := p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
	want := []v1alpha1.NodeStatus{{ID: "press/a", State: v1alpha1.NodeAuthenticated, Reason: v1alpha1.ReasonAuthenticated, Version: "0.1.0",
		Type: "refinery", Address: "127.0.0.1", Upstream: "default", Certificate: Fingerprint(certificate.Leaf), LastTransitionTime: r.Status.Nodes[0].LastTransitionTime}}
	if diff := cmp.Diff(want, r.Status.Nodes); diff != "" {
		t.Errorf("status.nodes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&v1alpha1.Reporter{Pod: "alpha-0", Epoch: 1}, r.Status.Reporter); diff != "" {
		t.Errorf("status.reporter (-want +got):\n%s", diff)
	}
	cm := p.eventuallyMaster("totalled", func(m *v1alpha1.ClusterMaster) bool {
		return m.Status.Refineries != nil && m.Status.Refineries.Summary == "1/1"
	})
	upstreams := []v1alpha1.UpstreamStatus{{Name: "default", Address: fmt.Sprintf("alpha.%s.svc:34308", p.namespace), Ready: true, Assigned: 1}}
	if diff := cmp.Diff(upstreams, cm.Status.Upstreams); diff != "" {
		t.Errorf("status.upstreams (-want +got):\n%s", diff)
	}
	if a := cm.Status.Active; a.Epoch != 1 || a.Pod != "alpha-0" {
		t.Errorf("status.active = %+v", a)
	}
	p.owns("press")
}

// owns shows that the master's field owner owns exactly its part of a Refinery's status.
func (p *plant) owns(name string) {
	p.Helper()
	for _, entry := range p.get(name).ManagedFields {
		if entry.Manager != v1alpha1.MasterFieldOwner {
			continue
		}
		fields := string(entry.FieldsV1.GetRawBytes())
		for _, word := range []string{`"f:nodes"`, `"f:authenticated"`, `"f:reporter"`, `k:{\"type\":\"Authenticated\"}`} {
			if !strings.Contains(fields, word) {
				p.Errorf("the master does not own %s: %s", word, fields)
			}
		}
		if strings.Contains(fields, "f:certificates") || strings.Contains(fields, "f:spec") || entry.Operation != metav1.ManagedFieldsOperationApply {
			p.Errorf("the master owns too much: %s %s", entry.Operation, fields)
		}
		return
	}
	p.Error("the master owns nothing")
}

func TestARefusedVersionIsShownAndLetInOnceItIsAccepted(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{Protocol: v1alpha1.ProtocolSpec{AcceptedVersions: ">=0.2.0", AliveIntervalSeconds: 10, AliveTimeoutSeconds: 35}})
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	p.node(m, "press/a", certificate)
	r := p.eventually("press", "refused", shows("0/1", v1alpha1.ReasonVersionMismatch))
	if want := `announces version 0.1.0; this master accepts ">=0.2.0" (spec.protocol.acceptedVersions)`; r.Status.Nodes[0].Message != want {
		t.Errorf("message %q", r.Status.Nodes[0].Message)
	}
	p.eventuallyEvent("VersionMismatch", "press/a: VersionMismatch: announces version 0.1.0")
	p.patchMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Protocol.AcceptedVersions = ">=0.1.0" })
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
}

// eventuallyEvent waits for an event with this reason and a note that begins so.
func (p *plant) eventuallyEvent(reason, note string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	w, err := p.client.Watch(ctx, &eventsv1.EventList{}, client.InNamespace(p.namespace))
	p.must(err)
	defer w.Stop()
	for event := range w.ResultChan() {
		if e, ok := event.Object.(*eventsv1.Event); ok && e.Reason == reason && strings.HasPrefix(e.Note, note) {
			return
		}
	}
	p.Errorf("no event %s %q", reason, note)
}

func TestAccessIsTakenAndGivenBack(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	p.node(m, "press/a", certificate)
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))

	p.patch(p.get("press"), func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, false)
	p.eventually("press", "denied", func(r *v1alpha1.Refinery) bool {
		return shows("0/1", v1alpha1.ReasonSuspended)(r) && r.Status.Nodes[0].State == v1alpha1.NodeDenied
	})
	p.patch(p.get("press"), func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessAllowed }, false)
	p.eventually("press", "authenticated again", shows("1/1", v1alpha1.ReasonAuthenticated))

	p.list("press")
	p.eventually("press", "denied for its fingerprint", func(r *v1alpha1.Refinery) bool {
		return shows("0/1", v1alpha1.ReasonDenied)(r) && r.Status.Nodes[0].Reason == v1alpha1.ReasonCertificateNotListed
	})
	p.eventuallyEvent("Denied", "press/a: CertificateNotListed")
	p.list("press", certificate)
	p.eventually("press", "authenticated once more", shows("1/1", v1alpha1.ReasonAuthenticated))

	p.must(p.client.Delete(p.ctx, p.get("press")))
	p.eventuallyMaster("empty", func(m *v1alpha1.ClusterMaster) bool {
		return m.Status.Refineries != nil && m.Status.Refineries.Summary == "0/0"
	})
}

func TestAMasterThatRestartsAndFindsAllNodesBackWritesNothing(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{Protocol: v1alpha1.ProtocolSpec{AliveIntervalSeconds: 1, AliveTimeoutSeconds: 3}})
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
		return successor.clock.Since(claimed.Status.Active.Since.Time) > 5*time.Second
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
	p.eventually("press", "missing the one that did not come back", func(r *v1alpha1.Refinery) bool {
		return shows("1/2", v1alpha1.ReasonPartiallyAuthenticated)(r) && r.Status.Nodes[0].ID == "press/b" &&
			r.Status.Nodes[0].State == v1alpha1.NodeLost && r.Status.Reporter.Epoch == 3
	})
}

func TestWhatTheOperatorSaidWhileThereWasNoMasterIsTakenBack(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	former := Report{Nodes: []v1alpha1.NodeStatus{{ID: "press/gone", State: v1alpha1.NodeAuthenticated, LastTransitionTime: metav1.Now()}},
		Authenticated: v1alpha1.AuthenticatedNodes{Nodes: 1, Wanted: 1, Summary: "1/1"},
		Condition:     metav1.Condition{Type: v1alpha1.ConditionAuthenticated, Status: metav1.ConditionTrue, Reason: "Authenticated", LastTransitionTime: metav1.Now()}}
	p.must(p.client.Status().Apply(p.ctx, refineryStatus(p.namespace, "press", &former, Term{Pod: "alpha-9", Epoch: 1}),
		client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership))
	p.must(p.client.Status().Apply(p.ctx, ac.Refinery("press", p.namespace).WithStatus(ac.RefineryStatus().WithConditions(conditionApply(&metav1.Condition{
		Type: v1alpha1.ConditionAuthenticated, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonMasterUnavailable, Message: "no active master",
		LastTransitionTime: metav1.Now()}))), client.FieldOwner(v1alpha1.OperatorFieldOwner), client.ForceOwnership))
	m := p.start("alpha-0")
	p.eventually("press", "connecting", func(r *v1alpha1.Refinery) bool {
		return shows("0/1", v1alpha1.ReasonConnecting)(r) && len(r.Status.Nodes) == 0
	})
	p.node(m, "press/a", certificate)
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
}

// until waits for something that no watch brings.
func (p *plant) until(what string, is func() bool) {
	p.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			p.Fatalf("not %s in time", what)
		}
	}
}

func listens(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

func TestAStandbyIsReadyDoesNotListenAndTakesOver(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	first := p.start("alpha-0")
	p.eventuallyMaster("active", func(m *v1alpha1.ClusterMaster) bool { return m.Status.Active != nil })
	p.until("listening", func() bool { return listens(first.address) })
	second := p.start("alpha-1")
	p.until("ready", func() bool {
		response, err := http.Get("http://" + second.options.HealthAddress + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode == http.StatusOK
	})
	if listens(second.address) {
		t.Error("the standby listens")
	}
	began := time.Now()
	first.stop()
	p.eventuallyMaster("taken over", func(m *v1alpha1.ClusterMaster) bool {
		return m.Status.Active != nil && m.Status.Active.Pod == "alpha-1" && m.Status.Active.Epoch == 2
	})
	if took := time.Since(began); took > 3*time.Second { // sooner than the Lease runs out
		t.Errorf("taking over took %s", took)
	}
	p.until("listening", func() bool { return listens(second.address) })
	if listens(first.address) {
		t.Error("the former master listens")
	}
}

func TestADeposedMasterIsRefusedByTheAPIServerAndStepsDown(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	p.eventually("press", "connecting", shows("0/1", v1alpha1.ReasonConnecting))
	former := m.activeTerm()

	// Another master claims the next epoch, as if this one had lost its Lease and not noticed, and reports.
	newer, err := Claim(p.ctx, m.client, client.ObjectKeyFromObject(p.master()), "alpha-9", m.clock)
	p.must(err)
	if newer.Epoch != 2 {
		t.Fatalf("claimed epoch %d", newer.Epoch)
	}
	report := NewReport(p.get("press"), Snapshot{}, &Report{}, metav1.Now())
	apply := func(term Term) error {
		return m.client.Status().Apply(p.ctx, refineryStatus(p.namespace, "press", report, term), client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)
	}
	p.must(apply(newer))
	if err := apply(former.term); !apierrors.IsInvalid(err) {
		t.Errorf("a write of the former epoch: %v", err)
	}
	totals, _ := NewTotals(m.directory, former.registry)
	if err := m.client.Status().Apply(p.ctx, masterStatus(p.namespace, "alpha", former.term, totals), client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership); !apierrors.IsInvalid(err) {
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

func TestAReporterThatIsRefusedForItsEpochSaysThatItIsDeposed(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.refinery("press", 1)
	o := Options{Namespace: p.namespace, Name: "alpha", PodName: "alpha-0"}
	m, err := NewMaster(o, p.config, p.logger("alpha-0"))
	p.must(err)
	old, err := Claim(p.ctx, m.client, client.ObjectKeyFromObject(p.master()), "alpha-0", m.clock)
	p.must(err)
	newer, err := Claim(p.ctx, m.client, client.ObjectKeyFromObject(p.master()), "alpha-1", m.clock)
	p.must(err)
	report := NewReport(p.get("press"), Snapshot{}, &Report{}, metav1.Now())
	p.must(m.client.Status().Apply(p.ctx, refineryStatus(p.namespace, "press", report, newer), client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership))

	m.directory.SetMaster(p.master())
	stale := p.get("press") // what its watch has not brought yet
	stale.Status = v1alpha1.RefineryStatus{}
	m.directory.SetRefinery(stale)
	for _, key := range []string{"press", totalsKey} {
		deposed := false
		registry := NewRegistry(m.clock, func(string, time.Duration) {})
		r := NewReporter(m.client, m.directory, registry, old, nil, m.metrics, m.clock, p.logger("alpha-0"), func() { deposed = true })
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

func TestNewUpstreamsAndAnotherCertificateTakeEffectInALivingMaster(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{Upstreams: []v1alpha1.Upstream{{Name: "east", Address: "east:1"}}})
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	a, _ := p.node(m, "press/a", certificate)
	p.eventually("press", "at east", func(r *v1alpha1.Refinery) bool {
		return r.Status.Authenticated != nil && r.Status.Authenticated.Upstreams == "east"
	})
	p.patchMaster(func(m *v1alpha1.ClusterMaster) {
		m.Spec.Upstreams = []v1alpha1.Upstream{{Name: "east", Address: "east:1", Weight: ptr.To[int32](0)}, {Name: "west", Address: "west:1"}}
	})
	p.eventually("press", "at west", func(r *v1alpha1.Refinery) bool { return r.Status.Authenticated.Upstreams == "west" })
	if got := []string{<-a.upstreams, <-a.upstreams}; !slices.Equal(got, []string{"east:1", "west:1"}) {
		t.Errorf("told %v", got)
	}
	p.eventuallyMaster("counted", func(m *v1alpha1.ClusterMaster) bool {
		return cmp.Equal(m.Status.Upstreams, []v1alpha1.UpstreamStatus{
			{Name: "east", Address: "east:1"}, {Name: "west", Address: "west:1", Ready: true, Assigned: 1}})
	})

	// Another authority: the session of the old one's certificate ends, and one of the new one's is let in.
	other := newAuthority(t, "other")
	other.write(t, p.directory)
	p.eventually("press", "denied", func(r *v1alpha1.Refinery) bool {
		return len(r.Status.Nodes) > 0 && r.Status.Nodes[0].Reason == v1alpha1.ReasonWrongAuthority
	})
	p.authority = other
	renewed := other.forRefinery(t, "alpha", p.namespace, "press")
	p.list("press", renewed)
	p.node(m, "press/a", renewed)
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
}

func TestAMissingClusterMasterIsSaidAtTheStart(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	m, err := NewMaster(Options{Namespace: p.namespace, Name: "beta", PodName: "beta-0", HealthAddress: "127.0.0.1:0"}, p.config, p.logger("beta"))
	p.must(err)
	if err := m.Run(p.ctx); err == nil || !strings.Contains(err.Error(), "ClusterMaster "+p.namespace+"/beta does not exist") {
		t.Errorf("got %v", err)
	}
}
