package master

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/events"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// shown is what status says that a node says about itself.
func (l *ledger) shown(id string) string {
	for _, n := range l.Snapshot("press").Nodes {
		if n.ID == id {
			return n.Status
		}
	}
	return "not there"
}

func TestANodesStatusIsShownWhileItIsNotWell(t *testing.T) {
	l := newLedger(t, 1)
	c, _ := l.enter("press/a")
	for _, step := range []struct {
		status, load, shown string
		changes             bool
	}{
		{"", "0.5", "", false}, // load is no matter of status
		{"ok", "0.75", "", false},
		{"hopper empty", "", "hopper empty", true},
		{"hopper empty", "0.1", "hopper empty", false},
		{"OK", "0.1", "OK", true}, // it is not ok
		{"ok", "0.1", "", true},
		{"drum jammed", "0.1", "drum jammed", true},
		{"", "0.1", "", true},
	} {
		before := l.changed["press"]
		l.Reported(c, saidBy(step.status, step.load))
		if got := l.changed["press"] > before; got != step.changes {
			t.Errorf("%q %q: status changes: %v", step.status, step.load, got)
		}
		if got := l.shown("press/a"); got != step.shown {
			t.Errorf("%q is shown as %q", step.status, got)
		}
	}
}

func TestWhatANodeSaysEndsWithItsSession(t *testing.T) {
	l := newLedger(t, 1)
	c, _ := l.enter("press/a")
	l.Reported(c, saidBy("hopper empty", "0.5"))
	l.shown("press/a")
	l.enter("press/a")
	l.Reported(c, saidBy("drum jammed", "0.5")) // by the session that was replaced
	if got := l.shown("press/a"); got != "" {
		t.Errorf("a new session shows %q", got)
	}
	if got := l.Loads(); len(got) > 0 {
		t.Errorf("loads %v of a session that was replaced", got)
	}
	c, _ = l.enter("press/a")
	l.Reported(c, saidBy("hopper empty", "0.5"))
	l.shown("press/a")
	l.Ended(c, protocol.ErrAliveTimeout)
	if got := l.shown("press/a"); got != "" {
		t.Errorf("a lost node shows %q", got)
	}
}

// Ten nodes that say another thing ten times a second for 595 s: status changes eight times, and then each ten seconds. What
// they say in the end is shown in the end.
func TestNodesThatEverSayAnotherThingChangeStatusNowAndThenOnly(t *testing.T) {
	l := newLedger(t, 10)
	var nodes []*connection
	for i := range 10 {
		c, _ := l.enter(fmt.Sprintf("press/%d", i))
		nodes = append(nodes, c)
	}
	statuses := func() (all string) {
		for i := range nodes {
			all += l.shown(fmt.Sprintf("press/%d", i)) + ","
		}
		return all
	}
	changes, last := 0, statuses()
	for step := range 5950 {
		for i, c := range nodes {
			l.Reported(c, saidBy(fmt.Sprintf("%d at %d", i, step), "0.5"))
		}
		if now := statuses(); now != last {
			changes, last = changes+1, now
		}
		l.clock.Step(100 * time.Millisecond)
	}
	if most := reportsShownAtOnce + 59; changes < 59 || changes > most {
		t.Errorf("status changed %d times, want 59 to %d", changes, most)
	}
	next := l.Snapshot("press").Next
	if next.IsZero() || next.After(l.clock.Now().Add(reportsInterval)) {
		t.Fatalf("status is looked at again at %v", next)
	}
	l.clock.SetTime(next.Add(time.Millisecond))
	if got := statuses(); !strings.HasPrefix(got, "0 at 5949,1 at 5949,") {
		t.Errorf("in the end status shows %s", got)
	}
	if next := l.Snapshot("press").Next; !next.IsZero() {
		t.Errorf("and is looked at again at %v", next)
	}
}

func TestLoadIsSummedUpByRefineryAndUpstream(t *testing.T) {
	l := newLedger(t, 4)
	for i, load := range []string{"0.25", "0.5", "", "1"} {
		c, _ := l.enter(fmt.Sprintf("press/%d", i))
		l.Reported(c, saidBy("", load))
		if i == 3 {
			l.Offered(c, admit.Upstream{Name: "west", Address: "west:1"})
			l.Acknowledged(c, "west:1")
		}
	}
	m := newMetrics()
	m.lead(1, l.registry)
	want := []string{
		`node_load{refinery="press",upstream="east"} 0.75`,
		`node_load{refinery="press",upstream="west"} 1`,
		`node_load_reporters{refinery="press",upstream="east"} 2`,
		`node_load_reporters{refinery="press",upstream="west"} 1`,
	}
	series := func() (of []string) {
		for _, line := range scraped(m) {
			if strings.HasPrefix(line, "node_load") {
				of = append(of, line)
			}
		}
		return of
	}
	if diff := gocmp.Diff(want, series()); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	m.standBy()
	if got := series(); got != nil {
		t.Errorf("a standby shows %v", got)
	}
}

// Nodes that are not well have one event as they begin to be, and stand behind those that are out.
func TestNodesThatAreNotWellHaveOneEvent(t *testing.T) {
	unwell := func(id, status string) v1alpha1.NodeStatus {
		n := nodeIn(id, v1alpha1.NodeAuthenticated, "")
		n.Status = status
		return n
	}
	before := []v1alpha1.NodeStatus{nodeIn("press/a", v1alpha1.NodeAuthenticated, ""), unwell("press/d", "drum jammed")}
	nodes := []v1alpha1.NodeStatus{nodeIn("press/a", v1alpha1.NodeAuthenticated, ""), unwell("press/b", `hopper "7" empty`), unwell("press/c", "hopper empty"),
		unwell("press/d", "drum is out"), nodeIn("press/e", v1alpha1.NodeLost, "nothing came")}
	report := newReport(refineryOf(4), snapshot{Nodes: nodes}, &report{}, late)
	order := ""
	for _, n := range report.Nodes {
		order += strings.TrimPrefix(n.ID, "press/")
	}
	if order != "ebcda" || report.Condition.Status != "True" {
		t.Errorf("nodes in order %s, condition %+v", order, report.Condition)
	}
	recorder := events.NewFakeRecorder(9)
	announce(recorder, refineryOf(4), before, report.Nodes)
	announce(recorder, refineryOf(4), report.Nodes, report.Nodes)
	close(recorder.Events)
	var got []string
	for event := range recorder.Events {
		got = append(got, event)
	}
	want := []string{"Warning Lost press/e: Lost: nothing came", `Warning StatusReported press/b and 1 more: authenticated, and reports status "hopper \"7\" empty"`}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// What is not valid is counted, and ends nothing; what was reported before stands.
func TestWhatANodeSaysReachesStatusAndMetrics(t *testing.T) {
	p, m := openPlant(t)
	node := p.dial(m)
	node.enters(textUUID)
	node.hears(`auth:ack;;{"upstream":"east:1"}<EOF>`)
	node.says(`auth:ack;;<EOF>`)
	for _, report := range []string{`"status":"hopper empty","load":"0.5"`, `"status":"ok\u0007","load":"1e309"`, `"load":"NaN"`, `"load":"-1"`} {
		node.says("conn:alive;;{" + report + "}<EOF>")
		node.hears("conn:alive;;<EOF>")
	}
	p.eventually("press", "shown", func(r *v1alpha1.Refinery) bool {
		return len(r.Status.Nodes) == 1 && r.Status.Nodes[0].Status == "hopper empty" && shows("1/1", v1alpha1.ReasonAuthenticated)(r)
	})
	p.eventuallyEvent(reasonStatus, textUUID+`: authenticated, and reports status "hopper empty"`)
	for _, want := range []string{`node_load{refinery="press",upstream="east"} 0.5`, "ignored_reports_total 4"} {
		if got := scraped(m.metrics); !slices.Contains(got, want) {
			t.Errorf("metrics have no %s: %v", want, got)
		}
	}
	node.says(`conn:alive;;{"status":"ok","load":""}<EOF>`)
	node.hears("conn:alive;;<EOF>")
	p.eventually("press", "well again", func(r *v1alpha1.Refinery) bool { return len(r.Status.Nodes) == 1 && r.Status.Nodes[0].Status == "" })
	if got := m.activeTerm().registry.Loads(); len(got) > 0 {
		t.Errorf("a load that was taken back is still %v", got)
	}
}
