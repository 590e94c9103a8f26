package master

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// connection is a Connection that remembers.
type fakeSession struct {
	closed   error
	upstream string
}

func (c *fakeSession) Close(cause error)          { c.closed = cause }
func (c *fakeSession) SetUpstream(a string) error { c.upstream = a; return nil }

// ledger is a registry with a clock of its own and the Refinery press.
type ledger struct {
	*testing.T
	*registry
	clock   *clocktesting.FakeClock
	changed map[string]int
}

func newLedger(t *testing.T, wanted int) *ledger {
	l := &ledger{T: t, clock: clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), changed: map[string]int{}}
	l.registry = newRegistry(l.clock, func(name string, _ time.Duration) { l.changed[name]++ })
	l.SetWanted("press", wanted)
	return l
}

// Count is the number of authenticated sessions.
func (r *registry) Count() (count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.groups {
		for _, n := range g.nodes {
			if n.live != nil {
				count++
			}
		}
	}
	return count
}

// grantFor lets nodes of a Refinery into a master that holds at most so many sessions.
func grantFor(refinery string, maxSessions int) *admit.Grant {
	return &admit.Grant{Refinery: refinery, Policy: &admit.Policy{MaxSessions: maxSessions}}
}

func connectionOf(id, refinery string) *connection {
	return &connection{session: &fakeSession{}, Announced: admit.Announced{ID: id, Version: "0.1.0", Type: "refinery"}, Address: "10.0.0.1",
		Fingerprint: "f00d", Refinery: refinery}
}

var eastUpstream = admit.Upstream{Name: "east", Address: "east:1"}

// enter authenticates a node of press.
func (l *ledger) enter(id string) (*connection, session) {
	a := connectionOf(id, "press")
	l.Establishing(a)
	l.Authenticating(a)
	if denial := l.Grant(a, grantFor("press", 10000), eastUpstream); denial != nil {
		l.Fatal(denial)
	}
	return a, l.Authenticated(a)
}

// refuse has a node denied that is attributed to press.
func (l *ledger) refuse(id string) {
	a := connectionOf(id, "press")
	l.Establishing(a)
	d := &admit.Denial{State: v1alpha1.NodeDenied, Reason: v1alpha1.ReasonExpired, Message: "expired", Refinery: "press"}
	l.Refused(a, d)
	l.Ended(a, d)
}

// states are the nodes of a snapshot as "id: State/Reason", sorted.
func (l *ledger) states() []string {
	s := l.Snapshot("press")
	states := make([]string, 0, len(s.Nodes))
	for _, n := range s.Nodes {
		states = append(states, fmt.Sprintf("%s: %s/%s", n.ID, n.State, n.Reason))
	}
	slices.Sort(states)
	return states
}

func (l *ledger) want(states ...string) {
	l.Helper()
	if diff := gocmp.Diff(append([]string{}, states...), l.states()); diff != "" {
		l.Errorf("nodes (-want +got):\n%s", diff)
	}
}

func TestWhatASessionShowsFromBeginningToEnd(t *testing.T) {
	tests := []struct {
		cause error
		want  string
	}{
		{protocol.ErrPeerClosed, "press/a: Closed/ClosedByNode"},
		{protocol.ErrPeerGone, "press/a: Lost/ConnectionBroken"},
		{protocol.ErrAliveTimeout, "press/a: Lost/Silent"},
		{protocol.ErrAckTimeout, "press/a: Lost/Silent"},
		{errors.New("read: connection reset"), "press/a: Lost/ConnectionBroken"},
		{&protocol.ProtocolError{Rule: "R-4.1"}, "press/a: Lost/ConnectionBroken"},
		{&admit.Denial{Reason: v1alpha1.ReasonSuspended, Message: "suspended"}, "press/a: Closed/Suspended"},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			l := newLedger(t, 1)
			a := connectionOf("press/a", "press")
			l.Establishing(a)
			l.want() // a quick handshake is never shown
			l.clock.Step(handshakeShown)
			l.want("press/a: Establishing/Establishing")
			l.Authenticating(a)
			l.want("press/a: Authenticating/Authenticating")
			if denial := l.Grant(a, grantFor("press", 1), eastUpstream); denial != nil {
				t.Fatal(denial)
			}
			l.want("press/a: Authenticating/Authenticating") // only the node's own auth:ack authenticates it
			l.Authenticated(a)
			l.want("press/a: Authenticated/Authenticated")
			l.Ended(a, test.cause)
			l.want(test.want)
			l.enter("press/a")
			l.want("press/a: Authenticated/Authenticated")
			if l.Count() != 1 {
				t.Errorf("%d sessions", l.Count())
			}
		})
	}
}

func TestANewerSessionOfTheSameIDReplacesTheOlder(t *testing.T) {
	l := newLedger(t, 1)
	older, _ := l.enter("press/a")
	before := l.Snapshot("press")
	l.clock.Step(time.Minute)
	newer, replaced := l.enter("press/a")
	if replaced != older.session {
		t.Fatalf("replaced %v", replaced)
	}
	l.Ended(older, errReplaced)
	if diff := gocmp.Diff(before, l.Snapshot("press")); diff != "" {
		t.Errorf("status flaps (-before +after):\n%s", diff)
	}
	if l.Count() != 1 {
		t.Errorf("%d sessions", l.Count())
	}
	l.Ended(newer, protocol.ErrAliveTimeout)
	l.want("press/a: Lost/Silent")
}

func TestARefusalNeverTakesThePlaceOfALiveSession(t *testing.T) {
	l := newLedger(t, 2)
	l.SetWanted("pump", 1)
	l.enter("press/a")
	l.refuse("press/a")
	l.want("press/a: Authenticated/Authenticated")
	l.refuse("pump/a") // of another Refinery, by what it says: shown under the bare name
	l.want("press/a: Authenticated/Authenticated", "press: Denied/Expired")
}

func TestStrangersMoveNothingWhileAllWantedNodesAreAuthenticated(t *testing.T) {
	l := newLedger(t, 1)
	l.enter("press/a")
	was := l.changed["press"]
	for i := range 20 {
		a := connectionOf(fmt.Sprintf("press/x%d", i), "press")
		l.Refused(a, &admit.Denial{State: v1alpha1.NodeDenied, Refinery: "press"})
	}
	l.want("press/a: Authenticated/Authenticated")
	if l.changed["press"] != was {
		t.Errorf("%d changes were announced", l.changed["press"]-was)
	}
}

func TestARefusalThatComesAgainChangesNothing(t *testing.T) {
	l := newLedger(t, 1)
	l.refuse("press/a")
	before, was := l.Snapshot("press").Nodes, l.changed["press"]
	l.clock.Step(time.Minute)
	again := connectionOf("press/a", "press")
	again.Address = "10.0.0.2"
	l.Refused(again, &admit.Denial{State: v1alpha1.NodeDenied, Reason: v1alpha1.ReasonExpired, Message: "expired", Refinery: "press"})
	if diff := gocmp.Diff(before, l.Snapshot("press").Nodes); diff != "" || l.changed["press"] != was {
		t.Errorf("%d changes were announced (-before +after):\n%s", l.changed["press"]-was, diff)
	}
	l.clock.Step(refusedFor - time.Second)
	l.want("press/a: Denied/Expired") // and yet it is remembered from the last time
}

func TestANodeAheadOfTheListingOfItsCertificateIsNotShownAsDenied(t *testing.T) {
	l := newLedger(t, 2)
	unlisted := &admit.Denial{State: v1alpha1.NodeDenied, Reason: v1alpha1.ReasonCertificateNotListed, Refinery: "press"}
	l.Refused(connectionOf("press/a", "press"), unlisted)
	l.Refused(connectionOf("press/b", "press"), unlisted)
	l.want()
	if next := l.Snapshot("press").Next; !next.Equal(l.clock.Now().Add(listingGrace)) {
		t.Errorf("changes by itself at %v", next)
	}
	l.clock.Step(listingGrace / 2)
	l.enter("press/a")
	l.want("press/a: Authenticated/Authenticated")
	l.clock.Step(listingGrace / 2)
	l.want("press/a: Authenticated/Authenticated", "press/b: Denied/CertificateNotListed")
}

func TestRefusedNodesWithEverNewIdsChangeStatusNowAndThenOnly(t *testing.T) {
	l := newLedger(t, 1)
	for i := range 1000 {
		l.Refused(connectionOf(fmt.Sprintf("press/x%d", i), "press"), &admit.Denial{State: v1alpha1.NodeDenied, Refinery: "press"})
	}
	if changes := l.changed["press"]; changes != maxRefused {
		t.Errorf("%d changes were announced at once", changes)
	}
	was := l.changed["press"]
	l.clock.Step(refusalInterval)
	for i := range 1000 {
		l.Refused(connectionOf(fmt.Sprintf("press/y%d", i), "press"), &admit.Denial{State: v1alpha1.NodeDenied, Refinery: "press"})
	}
	if changes := l.changed["press"] - was; changes != 1 {
		t.Errorf("%d changes were announced in the next interval", changes)
	}
}

func TestAnOwnNodeThatIsRefusedShowsBesideAllWantedNodes(t *testing.T) {
	l := newLedger(t, 1)
	l.enter("press/old")
	rolledOut := connectionOf("press/new", "press")
	l.Refused(rolledOut, &admit.Denial{State: v1alpha1.NodeVersionMismatch, Reason: v1alpha1.ReasonVersionMismatch, Refinery: "press", Own: true})
	l.want("press/new: VersionMismatch/VersionMismatch", "press/old: Authenticated/Authenticated")
	l.SetWanted("press", 1)
	l.want("press/new: VersionMismatch/VersionMismatch", "press/old: Authenticated/Authenticated")
	l.enter("press/new")
	l.want("press/new: Authenticated/Authenticated", "press/old: Authenticated/Authenticated")
}

func TestStrangersThatNothingAttributesAreNotRemembered(t *testing.T) {
	l := newLedger(t, 1)
	a := connectionOf("press/a", "")
	l.Establishing(a)
	l.Refused(a, &admit.Denial{State: v1alpha1.NodeDenied})
	l.Ended(a, protocol.ErrPeerClosed)
	ghost := connectionOf("ghost/a", "ghost")
	l.Establishing(ghost)
	l.Refused(ghost, &admit.Denial{State: v1alpha1.NodeDenied, Refinery: "ghost"})
	l.want()
	if len(l.groups) != 1 || len(l.changed) != 0 {
		t.Errorf("%d groups, changes %v", len(l.groups), l.changed)
	}
}

func TestOfRefusedNodesTheLastEightAreRememberedForTwoMinutes(t *testing.T) {
	l := newLedger(t, 10)
	for i := range 12 {
		if l.clock.Step(time.Millisecond); i >= maxRefused {
			l.clock.Step(refusalInterval)
		}
		l.refuse(fmt.Sprintf("press/n%02d", i))
	}
	var want []string
	for i := 4; i < 12; i++ {
		want = append(want, fmt.Sprintf("press/n%02d: Denied/Expired", i))
	}
	l.want(want...)
	l.clock.Step(refusedFor - time.Second)
	l.want(want[7])
	if next := l.Snapshot("press").Next; !next.Equal(l.clock.Now().Add(time.Second)) {
		t.Errorf("changes by itself at %v", next)
	}
	l.refuse("press/n11") // comes again, and is remembered from then on
	l.clock.Step(time.Second)
	l.want(want[7])
	l.clock.Step(refusedFor)
	l.want()
}

func TestWhoeverIsGoneIsDroppedOnceAllWantedNodesAreAuthenticated(t *testing.T) {
	l := newLedger(t, 3)
	a, _ := l.enter("press/a")
	b, _ := l.enter("press/b")
	l.Ended(a, protocol.ErrPeerClosed)
	l.Ended(b, protocol.ErrAliveTimeout)
	l.refuse("press/c")
	l.want("press/a: Closed/ClosedByNode", "press/b: Lost/Silent", "press/c: Denied/Expired")
	l.enter("press/d")
	l.SetWanted("press", 1)
	l.want("press/d: Authenticated/Authenticated")
	l.SetWanted("press", 3)
	l.want("press/d: Authenticated/Authenticated")
}

func TestAnUpstreamIsShownOnceItIsAcknowledged(t *testing.T) {
	l := newLedger(t, 1)
	a, _ := l.enter("press/a")
	upstream := func() string { return l.Snapshot("press").Nodes[0].Upstream }
	l.Offered(a, admit.Upstream{Name: "west", Address: "west:1"})
	if upstream() != "east" {
		t.Error("shown before it was acknowledged")
	}
	l.Acknowledged(a, "somewhere:1") // an earlier one, overtaken since
	if upstream() != "east" {
		t.Error("shown when another was acknowledged")
	}
	l.Acknowledged(a, "west:1")
	if upstream() != "west" {
		t.Error("not shown when it was acknowledged")
	}
	l.Offered(a, admit.Upstream{Name: "occident", Address: "west:1"}) // another name for the same: nothing to tell the node
	if upstream() != "occident" {
		t.Error("a new name is not shown")
	}
}

// reported is the status that a former master left behind.
func reported(states ...string) *v1alpha1.RefineryStatus {
	status := &v1alpha1.RefineryStatus{Authenticated: &v1alpha1.AuthenticatedNodes{}}
	for i, state := range states {
		status.Nodes = append(status.Nodes, v1alpha1.NodeStatus{ID: fmt.Sprintf("press/%c", 'a'+i), State: v1alpha1.NodeState(state),
			Reason: state, LastTransitionTime: metav1.NewTime(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC))})
		if state == "Authenticated" {
			status.Authenticated.Nodes++
		}
	}
	return status
}

func TestAMasterThatTakesOverPresumesNodesToComeBackUntilTheGraceEnds(t *testing.T) {
	l := newLedger(t, 5)
	l.Presume("press", reported("Authenticated", "Authenticated", "Denied", "Lost", "Establishing"))
	took := []string{"press/a: Authenticated/Authenticated", "press/b: Authenticated/Authenticated", "press/c: Denied/Denied", "press/d: Lost/Lost"}
	l.want(took...)
	l.refuse("press/a") // is presumed to live
	l.want(took...)
	l.enter("press/a")
	l.want(took...)
	l.EndGrace()
	l.want(took[0], "press/b: Lost/Lost", took[2], took[3])
}

func TestNodesThatTheStatusCountsAndDoesNotListArePresumedToo(t *testing.T) {
	l := newLedger(t, 3)
	status := reported("Authenticated")
	status.Authenticated.Nodes = 3
	l.Presume("press", status)
	count := func() int { s := l.Snapshot("press"); return s.Authenticated() }
	got := []int{count()}
	l.enter("press/a")
	got = append(got, count())
	l.enter("press/x")
	got = append(got, count())
	l.EndGrace()
	got = append(got, count())
	if diff := gocmp.Diff([]int{3, 3, 3, 2}, got); diff != "" {
		t.Errorf("authenticated (-want +got):\n%s", diff)
	}
}

func TestARefineryIsForgottenOnlyWhenItsSessionsAreClosed(t *testing.T) {
	l := newLedger(t, 1)
	a, _ := l.enter("press/a")
	l.Forget("press")
	if got := l.Sessions("press"); len(got) != 1 || got[0] != a {
		t.Fatalf("sessions %v", got)
	}
	l.Ended(a, &admit.Denial{})
	l.Forget("press")
	if len(l.groups) != 0 || l.Count() != 0 {
		t.Errorf("%d groups, %d sessions", len(l.groups), l.Count())
	}
}

func TestNodesThatComeBackUnderEverNewIDsLeaveFewBehind(t *testing.T) {
	l := newLedger(t, 3)
	stays, _ := l.enter("5f0c9a52")
	for i := range 1000 {
		l.clock.Step(time.Second)
		a, _ := l.enter(fmt.Sprintf("uuid-%d", i))
		l.Ended(a, protocol.ErrPeerGone)
	}
	if s := l.Snapshot("press"); len(s.Nodes) != 1+minGone || l.places != 1 || len(l.groups["press"].granted) != 0 {
		t.Errorf("%d nodes remembered, %d places taken", len(s.Nodes), l.places)
	}
	l.Ended(stays, protocol.ErrPeerGone)
	for range 3 {
		l.clock.Step(time.Second)
		l.enter(fmt.Sprintf("new-%v", l.clock.Now().Unix()))
	}
	if s := l.Snapshot("press"); len(s.Nodes) != 3 || s.Authenticated() != 3 {
		t.Errorf("once all are back, status shows %d nodes", len(s.Nodes))
	}
}

func TestTheNumberOfNodesThatAreGoneIsBounded(t *testing.T) {
	l := newLedger(t, 1000)
	for i := range maxGone + 20 {
		l.clock.Step(time.Second)
		a, _ := l.enter(fmt.Sprintf("press/n%04d", i))
		l.Ended(a, protocol.ErrAliveTimeout)
	}
	s := l.Snapshot("press")
	slices.SortFunc(s.Nodes, func(a, b v1alpha1.NodeStatus) int { return cmp.Compare(a.ID, b.ID) })
	if len(s.Nodes) != maxGone || s.Nodes[0].ID != "press/n0020" {
		t.Errorf("%d remembered, from %s", len(s.Nodes), s.Nodes[0].ID)
	}
}
