package master

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var (
	early = metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	late  = metav1.NewTime(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
)

func nodeIn(id string, state v1alpha1.NodeState, message string) v1alpha1.NodeStatus {
	n := v1alpha1.NodeStatus{ID: id, State: state, Reason: string(state), Message: message, Version: "0.1.0", LastTransitionTime: late}
	if state == v1alpha1.NodeAuthenticated {
		n.Upstream = "east"
	}
	return n
}

func refineryOf(replicas int32, edit ...func(*v1alpha1.Refinery)) *v1alpha1.Refinery {
	r := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "press", Generation: 7}, Spec: v1alpha1.RefinerySpec{Replicas: ptr.To(replicas)}}
	for _, e := range edit {
		e(r)
	}
	return r
}

func TestConditionAuthenticated(t *testing.T) {
	a := nodeIn("press/a", v1alpha1.NodeAuthenticated, "")
	b := nodeIn("press/b", v1alpha1.NodeAuthenticated, "")
	denied := nodeIn("press/c", v1alpha1.NodeDenied, "its certificate expired")
	denied2 := nodeIn("press/d", v1alpha1.NodeDenied, "something else")
	mismatch := nodeIn("press/e", v1alpha1.NodeVersionMismatch, "announces version 9.0.0")
	lost := nodeIn("press/f", v1alpha1.NodeLost, "nothing came")
	closed := nodeIn("press/g", v1alpha1.NodeClosed, "the node closed its session")
	handshake := nodeIn("press/h", v1alpha1.NodeAuthenticating, "")
	pinned := nodeIn("press/i", v1alpha1.NodeDenied, "spec.upstream pins")
	pinned.Reason = v1alpha1.ReasonUnknownUpstream
	suspended := func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }
	list := func(nodes ...v1alpha1.NodeStatus) []v1alpha1.NodeStatus { return nodes }
	tests := []struct {
		refinery *v1alpha1.Refinery
		nodes    []v1alpha1.NodeStatus
		want     string // status, reason, message
	}{
		{refineryOf(2), list(a, b), "True Authenticated: 2 of 2 wanted nodes are authenticated"},
		{refineryOf(1), list(a, b), "True Authenticated: 2 of 1 wanted nodes are authenticated"},
		{refineryOf(2), list(a, b, mismatch), "True Authenticated: 2 of 2 wanted nodes are authenticated; press/e: VersionMismatch: announces version 9.0.0"},
		{refineryOf(0), nil, "True Authenticated: 0 of 0 wanted nodes are authenticated"},
		{refineryOf(2), nil, "False Connecting: 0 of 2 wanted nodes are authenticated; the missing ones have not connected, and no node that proved to be of this Refinery was refused"},
		{refineryOf(2), list(handshake), "False Connecting: 0 of 2 wanted nodes are authenticated; the missing ones have not connected, and no node that proved to be of this Refinery was refused"},
		{refineryOf(2), list(a), "False PartiallyAuthenticated: 1 of 2 wanted nodes are authenticated; the missing ones have not connected, and no node that proved to be of this Refinery was refused"},
		{refineryOf(3), list(a, denied), "False PartiallyAuthenticated: 1 of 3 wanted nodes are authenticated; press/c: Denied: its certificate expired"},
		{refineryOf(5), list(closed, lost, mismatch, denied, denied2), "False Denied: 0 of 5 wanted nodes are authenticated; press/c and 1 more: Denied: its certificate expired"},
		{refineryOf(3), list(closed, lost, mismatch), "False VersionMismatch: 0 of 3 wanted nodes are authenticated; press/e: VersionMismatch: announces version 9.0.0"},
		{refineryOf(1), list(pinned), "False Denied: 0 of 1 wanted nodes are authenticated; press/i: Denied (UnknownUpstream): spec.upstream pins"},
		{refineryOf(3), list(closed, lost), "False Lost: 0 of 3 wanted nodes are authenticated; press/f: Lost: nothing came"},
		{refineryOf(4), list(lost, lost, mismatch), "False Lost: 0 of 4 wanted nodes are authenticated; press/f and 1 more: Lost: nothing came; press/e: VersionMismatch: announces version 9.0.0"},
		{refineryOf(3), list(closed), "False Connecting: 0 of 3 wanted nodes are authenticated; press/g: Closed: the node closed its session"},
		{refineryOf(1, suspended), list(denied), "False Suspended: spec.access is Suspended: sessions are closed and new ones denied; set it to Allowed to let the nodes in"},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			c := newReport(test.refinery, snapshot{Nodes: test.nodes}, &report{}, late).Condition
			if got := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message); got != test.want {
				t.Errorf("got  %s", got)
			}
			if c.ObservedGeneration != 7 || c.Type != v1alpha1.ConditionAuthenticated {
				t.Errorf("condition %+v", c)
			}
		})
	}
}

func TestAReportInFull(t *testing.T) {
	lost := nodeIn("press/z", v1alpha1.NodeLost, "nothing came")
	a := nodeIn("press/a", v1alpha1.NodeAuthenticated, "")
	b := nodeIn("press/b", v1alpha1.NodeAuthenticated, "")
	b.Upstream, b.Version = "west", "0.1.1"
	lost.Certificate, a.Certificate, b.Certificate = "0ld", "ne1", "ne1"
	before := &report{
		Nodes:     []v1alpha1.NodeStatus{nodeIn("press/a", v1alpha1.NodeAuthenticated, ""), nodeIn("press/z", v1alpha1.NodeAuthenticated, "")},
		Condition: metav1.Condition{Type: v1alpha1.ConditionAuthenticated, Status: metav1.ConditionFalse, Reason: "Lost", LastTransitionTime: early},
	}
	before.Nodes[0].LastTransitionTime, before.Nodes[1].LastTransitionTime = early, early
	kept := a
	kept.LastTransitionTime = early
	want := &report{
		Nodes: []v1alpha1.NodeStatus{lost, kept, b}, // unhealthy ones first, then by id
		Authenticated: v1alpha1.AuthenticatedNodes{Nodes: 2, Wanted: 3, Summary: "2/3", Upstreams: "east,west", Versions: "0.1.0,0.1.1",
			Certificates: []v1alpha1.PresentedCertificate{{Fingerprint: "ne1", Nodes: 2}}},
		Condition: metav1.Condition{Type: v1alpha1.ConditionAuthenticated, Status: metav1.ConditionFalse, ObservedGeneration: 7,
			Reason: v1alpha1.ReasonPartiallyAuthenticated, LastTransitionTime: early,
			Message: "2 of 3 wanted nodes are authenticated; press/z: Lost: nothing came"},
	}
	got := newReport(refineryOf(3), snapshot{Nodes: []v1alpha1.NodeStatus{b, lost, a}}, before, late)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	again := newReport(refineryOf(3), snapshot{Nodes: []v1alpha1.NodeStatus{lost, a, b}}, got, metav1.NewTime(late.Add(time.Hour)))
	if !again.Equal(got) {
		t.Errorf("the same state differs:\n%s", cmp.Diff(got, again))
	}
}

func TestAReportIsBounded(t *testing.T) {
	var s snapshot
	for i := range 150 {
		n := nodeIn(fmt.Sprintf("press/n%03d", i), v1alpha1.NodeAuthenticated, "")
		n.Version = fmt.Sprintf("0.1.%d-%s", i, strings.Repeat("x", 40))
		s.Nodes = append(s.Nodes, n)
	}
	s.Nodes = append(s.Nodes, nodeIn("press/zzz", v1alpha1.NodeLost, ""))
	r := newReport(refineryOf(200), s, &report{}, late)
	if len(r.Nodes) != 100 || r.Nodes[0].ID != "press/zzz" || r.Nodes[99].ID != "press/n098" {
		t.Errorf("%d nodes, from %s to %s", len(r.Nodes), r.Nodes[0].ID, r.Nodes[99].ID)
	}
	if r.Authenticated.Summary != "150/200" || len(r.Authenticated.Versions) > 256 {
		t.Errorf("%+v", r.Authenticated)
	}
}

func TestAReportCountsWhoPresentedWhichCertificateBeyondTheNodesThatItLists(t *testing.T) {
	var s snapshot
	for i := range 150 { // 40 of the first, 20 of the second, 10 of each of nine others
		n := nodeIn(fmt.Sprintf("press/n%03d", i), v1alpha1.NodeAuthenticated, "")
		n.Certificate = fmt.Sprintf("c%02d", max(0, i-40)/10)
		if i < 60 {
			n.Certificate = fmt.Sprintf("first-%d", i/40)
		}
		s.Nodes = append(s.Nodes, n)
	}
	report := newReport(refineryOf(150), s, &report{}, late)
	want := []v1alpha1.PresentedCertificate{{Fingerprint: "first-0", Nodes: 40}, {Fingerprint: "first-1", Nodes: 20}}
	for i := 2; i < 8; i++ {
		want = append(want, v1alpha1.PresentedCertificate{Fingerprint: fmt.Sprintf("c%02d", i), Nodes: 10})
	}
	if diff := cmp.Diff(want, report.Authenticated.Certificates); diff != "" {
		t.Errorf("certificates (-want +got):\n%s", diff)
	}
	// While nodes are presumed to be there whose certificate is not known, what a former master counted stands.
	back := newReport(refineryOf(150), snapshot{Nodes: s.Nodes[:100], Unlisted: 50}, report, late)
	if diff := cmp.Diff(want, back.Authenticated.Certificates); diff != "" {
		t.Errorf("certificates in the grace (-want +got):\n%s", diff)
	}
}

func TestAReportThatCannotListAllNodesListsThoseThatPresentAnOlderCertificate(t *testing.T) {
	r := refineryOf(150, func(r *v1alpha1.Refinery) {
		r.Status.Certificates = []v1alpha1.ListedCertificate{
			{Fingerprint: "current", Use: v1alpha1.CertificateCurrent}, {Fingerprint: "next", Use: v1alpha1.CertificateNext}, {Fingerprint: "older", Use: v1alpha1.CertificatePrevious}}
	})
	nodes := func(certificate func(i int) string) (s snapshot) {
		for i := range 150 {
			n := nodeIn(fmt.Sprintf("press/n%03d", i), v1alpha1.NodeAuthenticated, "")
			n.Certificate = certificate(i)
			s.Nodes = append(s.Nodes, n)
		}
		return s
	}
	tests := map[string]struct {
		certificate func(i int) string
		want        []string // the last of the list, which is sorted by id
	}{
		"the last one, by id, presents an older one": {func(i int) string {
			switch {
			case i == 149:
				return "older"
			case i%2 == 0:
				return "next"
			}
			return "current"
		}, []string{"press/n098", "press/n149"}},
		"two that the Refinery does not list any more": {func(i int) string {
			if i == 120 || i == 130 {
				return "forgotten"
			}
			return "current"
		}, []string{"press/n097", "press/n120", "press/n130"}},
		"all of them":           {func(int) string { return "older" }, []string{"press/n098", "press/n099"}},
		"none of them":          {func(int) string { return "current" }, []string{"press/n098", "press/n099"}},
		"there are none at all": {func(int) string { return "" }, []string{"press/n098", "press/n099"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			report := newReport(r, nodes(test.certificate), &report{}, late)
			var ids []string
			for _, n := range report.Nodes {
				ids = append(ids, n.ID)
			}
			if len(ids) != 100 || !slices.IsSorted(ids) {
				t.Fatalf("%d nodes: %v", len(ids), ids)
			}
			if diff := cmp.Diff(test.want, ids[len(ids)-len(test.want):]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			turned := nodes(test.certificate)
			slices.Reverse(turned.Nodes)
			if again := newReport(r, turned, report, metav1.NewTime(late.Add(time.Hour))); !again.Equal(report) {
				t.Errorf("the same state differs:\n%s", cmp.Diff(report, again))
			}
		})
	}
}

func TestTotalsCountRefineriesNodesAndWhatUpstreamsWereAssigned(t *testing.T) {
	d := newDirectory(clocktesting.NewFakeClock(late.Time))
	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha"}}
	m.Spec.Upstreams = []v1alpha1.Upstream{
		{Name: "west", Service: &v1alpha1.UpstreamService{Name: "ingest", Port: 34307}, Weight: ptr.To[int32](0)},
		{Name: "east", Address: "east:1"},
	}
	d.SetMaster(m)
	l := newLedger(t, 2)
	for name, wanted := range map[string]int32{"press": 2, "pump": 1, "idle": 0} {
		r := refineryOf(wanted)
		r.Name = name
		d.SetRefinery(r)
		l.SetWanted(name, int(wanted))
	}
	l.enter("press/a")
	l.enter("press/b")
	l.refuse("pump")
	got, partial := newTotals(d, l.registry)
	want := &masterTotals{
		Refineries: v1alpha1.RefineryTotals{Total: 3, Authenticated: 2, Summary: "2/3"},
		Nodes:      v1alpha1.NodeTotals{Wanted: 3, Authenticated: 2},
		Upstreams: []v1alpha1.UpstreamStatus{
			{Name: "east", Address: "east:1", Ready: true, Assigned: 2},
			{Name: "west", Address: "ingest.plant.svc:34307", Reason: v1alpha1.ReasonEndpointsUnknown, Message: "the endpoints of Service ingest are not known yet"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" || partial {
		t.Errorf("partial %v, totals (-want +got):\n%s", partial, diff)
	}
}

// A node makes up its id: in a message it must not read as what the master says.
func TestAnIDForgesNoMessage(t *testing.T) {
	for id, want := range map[string]string{
		"press/a-1_b.c": "press/a-1_b.c",
		"a: Authenticated; spec.security is fine": `"a: Authenticated; spec.security is fine"`,
		`a" and more`:                   `"a\" and more"`,
		"":                              `""`,
		"a\n":                           `"a\n"`,
		"x " + strings.Repeat("é", 100): `"x ` + strings.Repeat("é", 31) + `"`,
	} {
		denied := []v1alpha1.NodeStatus{nodeIn(id, v1alpha1.NodeDenied, "its certificate expired")}
		c := newReport(refineryOf(1), snapshot{Nodes: denied}, &report{}, late).Condition
		if message := "0 of 1 wanted nodes are authenticated; " + want + ": Denied: its certificate expired"; c.Message != message {
			t.Errorf("condition of %q: %s", id, c.Message)
		}
		recorder := events.NewFakeRecorder(1)
		announce(recorder, refineryOf(1), nil, denied)
		if event := <-recorder.Events; event != "Warning Denied "+want+": Denied: its certificate expired" {
			t.Errorf("event of %q: %s", id, event)
		}
	}
}
