package master

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// Many nodes shake hands at once, with few places left. Exactly so many are let in, and nodes that come back under their
// own id while the master is full take over the place of their former session.
func TestHandshakesThatRaceForTheLastPlacesTakeExactlyThose(t *testing.T) {
	const rounds, maxSessions, newcomers = 12, 4, 12
	f := newFloor(t)
	f.registry.SetWanted("press", 100)
	f.setMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Protocol.MaxSessions = maxSessions })
	residents := map[string]*member{"press/resident-a": nil, "press/resident-b": nil}
	for id := range residents {
		residents[id] = f.joined(f.press, id)
	}
	for round := range rounds {
		f.clock.Step(time.Minute) // so that nobody has come back too often
		letIn, returned := make(chan *member, newcomers), make(chan *member, len(residents))
		var racing sync.WaitGroup
		start := make(chan struct{})
		race := func(id string, in chan<- *member, mayBeDenied bool) {
			racing.Go(func() {
				<-start
				m, err := f.join(f.press, id)
				switch {
				case err == nil:
					in <- m
				case !mayBeDenied || !errors.Is(err, protocol.ErrDenied):
					t.Errorf("round %d: %s: %v", round, id, err)
				}
			})
		}
		for i := range newcomers {
			race(fmt.Sprintf("press/newcomer-%d-%d", round, i), letIn, true)
		}
		for id := range residents {
			race(id, returned, false)
		}
		close(start)
		racing.Wait()
		close(letIn)
		if free := maxSessions - len(residents); len(letIn) != free {
			t.Fatalf("round %d: %d nodes were let in to %d places", round, len(letIn), free)
		}
		f.until("full", func() bool { return f.registry.Count() == maxSessions })
		close(returned)
		for m := range returned {
			if err := <-residents[m.id].ended; !errors.Is(err, protocol.ErrPeerClosed) {
				t.Errorf("round %d: the former session of %s was ended by %v", round, m.id, err)
			}
			residents[m.id] = m
		}
		for m := range letIn {
			_ = m.client.Close()
		}
		f.until("two places free", func() bool { return f.registry.Count() == len(residents) })
	}
	if f.registry.places != len(residents) {
		t.Errorf("%d places are taken by %d nodes", f.registry.places, len(residents))
	}
	for _, m := range residents {
		m.lives()
	}
}

// grant is what a step of a test asks for a node, and what comes of it.
func (l *ledger) grant(maxSessions int, id string) (*connection, string) {
	refinery, _, _ := strings.Cut(id, "/")
	a := connectionOf(id, refinery)
	l.Establishing(a)
	denial := l.Grant(a, grantFor(refinery, maxSessions), eastUpstream)
	if denial == nil {
		return a, "in"
	}
	l.Refused(a, denial)
	return a, denial.Message
}

// grants returns what each node gets in turn.
func (l *ledger) grants(maxSessions int, ids ...string) (got []string) {
	for _, id := range ids {
		_, g := l.grant(maxSessions, id)
		got = append(got, g)
	}
	return got
}

const (
	masterIsFull   = "the master holds as many sessions as spec.protocol.maxSessions allows"
	refineryIsFull = "the Refinery holds 16 sessions and wants 0 nodes; raise spec.replicas, or stop nodes"
)

// turn is what nodes do in turn, and what each of them got.
type turn struct {
	do   func(l *ledger) []string
	want []string
}

func takeTurns(t *testing.T, turns map[string]turn) {
	t.Helper()
	for name, test := range turns {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, 0)
			l.SetWanted("pump", 1)
			if diff := gocmp.Diff(test.want, test.do(l)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAGrantTakesAPlaceAndGivesItBackOnce(t *testing.T) {
	takeTurns(t, map[string]turn{
		"before the node acknowledges it": {func(l *ledger) []string { return l.grants(1, "press/a", "press/b") }, []string{"in", masterIsFull}},
		"never acknowledged": {func(l *ledger) []string {
			a, _ := l.grant(1, "press/a")
			l.Ended(a, protocol.ErrHandshakeTimeout)
			l.Ended(a, protocol.ErrHandshakeTimeout)
			return l.grants(1, "press/b", "press/c")
		}, []string{"in", masterIsFull}},
		"of a session that has ended": {func(l *ledger) []string {
			a, _ := l.grant(1, "press/a")
			l.Authenticated(a)
			l.Ended(a, &admit.Denial{Reason: v1alpha1.ReasonSuspended})
			l.Ended(a, protocol.ErrPeerClosed)
			return l.grants(1, "press/b", "press/c")
		}, []string{"in", masterIsFull}},
		"ended before it was acknowledged, it authenticates nobody": {func(l *ledger) []string {
			a, first := l.grant(1, "press/a")
			l.Ended(a, &admit.Denial{Reason: v1alpha1.ReasonSuspended})
			l.Authenticated(a)
			_, b := l.grant(1, "press/b")
			return []string{first, b, fmt.Sprint(l.Count())}
		}, []string{"in", "in", "0"}},
	})
}

func TestANodeThatComesBackNeedsNoSecondPlace(t *testing.T) {
	takeTurns(t, map[string]turn{
		"before its session has ended": {func(l *ledger) []string {
			older, first := l.grant(1, "press/a")
			l.Authenticated(older)
			newer, second := l.grant(1, "press/a")
			l.Authenticated(newer)
			l.Ended(older, errReplaced)
			_, other := l.grant(1, "press/b")
			return []string{first, second, other}
		}, []string{"in", "in", masterIsFull}},
		"of two grants the one that is left keeps the place": {func(l *ledger) []string {
			a, first := l.grant(1, "press/a")
			b, second := l.grant(1, "press/a")
			l.Ended(a, protocol.ErrHandshakeTimeout)
			_, other := l.grant(1, "press/b")
			l.Authenticated(b)
			l.Ended(b, protocol.ErrPeerClosed)
			_, after := l.grant(1, "press/b")
			return []string{first, second, other, after}
		}, []string{"in", "in", masterIsFull, "in"}},
		"though its Refinery has its share, which leaves the places of others": {func(l *ledger) []string {
			for i := range spareSessions {
				if _, got := l.grant(100, fmt.Sprintf("press/n%d", i)); got != "in" {
					return []string{got}
				}
			}
			return l.grants(100, "press/n0", "press/more", "pump/a")
		}, []string{"in", refineryIsFull, "in"}},
	})
}
