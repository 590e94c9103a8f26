package master

import (
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/protocol"
)

const window = 35 * time.Second // the alive timeout

// arrive has a node of press connect from an address, and reports whether it was let in. The session that it replaces ends.
func (l *ledger) arrive(id, address string) (*connection, bool) {
	l.Helper()
	c := connectionOf(id, "press")
	c.Address = address
	l.Establishing(c)
	denial := l.Grant(c, &admit.Grant{Refinery: "press", Policy: &admit.Policy{MaxSessions: 100, AliveTimeout: window}}, eastUpstream)
	if denial != nil {
		if denial.Reason != v1alpha1.ReasonDuplicateID {
			l.Fatal(denial)
		}
		l.Refused(c, denial)
		l.Ended(c, denial)
		return c, false
	}
	l.Authenticated(c)
	return c, true
}

// messages are those of the nodes in a snapshot.
func (l *ledger) messages() (all []string) {
	s := l.Snapshot("press")
	for i := range s.Nodes {
		all = append(all, s.Nodes[i].Message)
	}
	return all
}

func TestTwoNodesOfOneIDAreShownWithBothAddressesAndTakeTurnsSlowly(t *testing.T) {
	l := newLedger(t, 1)
	var turns []string
	for range 4 * 35 { // both try every half second
		for _, address := range []string{"10.0.0.1", "10.0.0.2"} {
			if s := l.Snapshot("press"); len(s.Nodes) > 0 && s.Nodes[0].Address == address {
				continue
			}
			if _, in := l.arrive("press/a", address); in {
				turns = append(turns, address)
			}
		}
		l.clock.Step(time.Second)
	}
	want := []string{"10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2", "10.0.0.1"}
	if diff := gocmp.Diff(want, turns); diff != "" {
		t.Errorf("in turn (-want +got):\n%s", diff)
	}
	l.want("press/a: Authenticated/DuplicateID")
	const said = "several nodes announce this id, from 10.0.0.1 and from 10.0.0.2, and one at a time is let in; give each node an id of its own"
	if diff := gocmp.Diff([]string{said}, l.messages()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if l.places != 1 {
		t.Errorf("%d places are taken", l.places)
	}
	l.clock.Step(duplicateShown)
	l.want("press/a: Authenticated/Authenticated")
}

func TestTwoNodesOfOneIDBehindOneAddressAreDampedToo(t *testing.T) {
	l := newLedger(t, 1)
	in := 0
	for range 100 {
		if _, ok := l.arrive("press/a", "10.0.0.1"); ok {
			in++
		}
	}
	if in != 1+maxReturns {
		t.Errorf("%d of 100 were let in within the alive timeout", in)
	}
	l.want("press/a: Authenticated/DuplicateID")
	if said := l.messages()[0]; !strings.Contains(said, "twice from 10.0.0.1") {
		t.Errorf("says %q", said)
	}
}

func TestANodeThatComesBackIsNoDuplicate(t *testing.T) {
	for name, come := range map[string]func(l *ledger){
		"from another address, before its session has ended": func(l *ledger) { l.arrive("press/a", "10.0.0.2") },
		"from another address again, after its session has ended": func(l *ledger) {
			c, _ := l.arrive("press/a", "10.0.0.2")
			l.Ended(c, protocol.ErrPeerGone)
			l.arrive("press/a", "10.0.0.3")
		},
		"often from its own": func(l *ledger) {
			for range 100 {
				l.clock.Step(window / maxReturns)
				l.arrive("press/a", "10.0.0.1")
			}
		},
		"alone, when the other one is gone": func(l *ledger) {
			l.arrive("press/a", "10.0.0.2")
			c, _ := l.arrive("press/a", "10.0.0.3") // denied
			l.Ended(c, nil)
			for _, g := range l.groups {
				l.Ended(g.nodes["press/a"].live, protocol.ErrPeerGone)
			}
			l.arrive("press/a", "10.0.0.3")
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, 1)
			l.arrive("press/a", "10.0.0.1")
			come(l)
			l.want("press/a: Authenticated/Authenticated")
		})
	}
}

// One node takes the ids of its siblings, whose key it has.
func TestANodeThatKeepsItsSiblingsOutIsSeen(t *testing.T) {
	l := newLedger(t, 5)
	ids := []string{"press/a", "press/b", "press/c", "press/d", "press/e"}
	for i, id := range ids {
		l.arrive(id, fmt.Sprintf("10.0.0.%d", i+1))
	}
	for _, id := range ids {
		l.arrive(id, "10.0.0.9")
	}
	was := l.changed["press"]
	for range 1000 { // they try to come back
		for i, id := range ids {
			l.arrive(id, fmt.Sprintf("10.0.0.%d", i+1))
		}
	}
	if writes := l.changed["press"] - was; writes > 5000+len(ids) { // each handshake counts, and is not shown while it is quick
		t.Errorf("%d changes", writes)
	}
	s := l.Snapshot("press")
	r := refineryOf(5)
	report := newReport(r, s, &report{}, metav1.NewTime(l.clock.Now()))
	if c := report.Condition; c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonDuplicateID ||
		!strings.HasPrefix(c.Message, "5 of 5 wanted nodes are authenticated; press/a and 4 more: Authenticated (DuplicateID): several nodes announce this id, from 10.0.0.1 and from 10.0.0.9") {
		t.Errorf("condition: %+v", c)
	}
	if isAuthenticated(r, report.Nodes, 5, 5) {
		t.Error("the totals count the Refinery as authenticated")
	}
	l.clock.Step(window)
	for i, id := range ids {
		if _, in := l.arrive(id, fmt.Sprintf("10.0.0.%d", i+1)); !in {
			t.Errorf("%s is not let in after the alive timeout", id)
		}
	}
}

func TestFewConnectionsOfOneIDAreLetInAtOnce(t *testing.T) {
	l := newLedger(t, 1)
	in := 0
	for range 30 {
		c := connectionOf("press/a", "press")
		if l.Grant(c, grantFor("press", 5), eastUpstream) == nil {
			in++
		}
	}
	if in != maxGranted {
		t.Errorf("%d were let in at once", in)
	}
}

// Whoever has the key takes all of them and acknowledges none.
func TestANodeThatIsKeptOutByUnacknowledgedGrantsIsShown(t *testing.T) {
	l := newLedger(t, 1)
	for range maxGranted {
		if denial := l.Grant(connectionOf("press/a", "press"), grantFor("press", 5), eastUpstream); denial != nil {
			t.Fatal(denial)
		}
	}
	if _, in := l.arrive("press/a", "10.0.0.2"); in {
		t.Error("let in")
	}
	l.want("press/a: Denied/DuplicateID")
	report := newReport(refineryOf(1), l.Snapshot("press"), &report{}, metav1.NewTime(l.clock.Now()))
	if c := report.Condition; c.Reason != v1alpha1.ReasonDuplicateID || !strings.Contains(c.Message, "press/a: Denied (DuplicateID): other nodes announce the same id") {
		t.Errorf("condition: %+v", c)
	}
}

// A connection that is lost before its auth:ack has taken no place.
func TestOnlyAcknowledgedSessionsCountAsTaking(t *testing.T) {
	for name, address := range map[string]string{"from another address": "10.0.0.2", "from its own": "10.0.0.1"} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, 1)
			l.arrive("press/a", "10.0.0.1")
			for range maxReturns {
				c := connectionOf("press/a", "press")
				c.Address = address
				if denial := l.Grant(c, &admit.Grant{Refinery: "press", Policy: &admit.Policy{MaxSessions: 100, AliveTimeout: window}}, eastUpstream); denial != nil {
					t.Fatal(denial)
				}
				l.Ended(c, protocol.ErrPeerGone)
			}
			if _, in := l.arrive("press/a", address); !in {
				t.Error("denied when it tried again")
			}
			l.want("press/a: Authenticated/Authenticated")
		})
	}
}
