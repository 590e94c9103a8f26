package attack

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol"
)

const (
	// fleetSize is how many good nodes there are, none of which may miss a heartbeat.
	fleetSize = 1000
	// newcomerPatience is how long a new node may take to get in.
	newcomerPatience = 2 * time.Second
	// memoryBound is by how much the master's resident memory may grow under attack, and memoryLeft what may stay.
	memoryBound, memoryLeft = 64 << 10, 12 << 10 // KiB
	// fullBound is memoryBound for an attack on memory itself: every place before authentication held by a message that
	// is nearly as long as it may be, with 64 KiB more for each, of TLS and stacks; and as much again not collected yet.
	places    = protocol.DefaultMaxHandshakes + protocol.DefaultMaxSlowHandshakes
	fullBound = 2 * places * (protocol.DefaultAuthStartBytes + 64<<10) >> 10 // KiB
)

// scene is a master with its fleet.
type scene struct {
	t             *testing.T
	identity      identity
	master, fleet *process
	before        masterReport
	bound         int // KiB by which the master may grow
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, identity: newIdentity(t), bound: memoryBound}
	s.master = start(t, "master", masterConfig{s.identity}, &s.before)
	var joined fleetReport
	s.fleet = start(t, "fleet", fleetConfig{s.identity, s.before.Address, fleetSize}, &joined)
	if joined.InSession != fleetSize {
		t.Fatalf("%d good nodes are in session", joined.InSession)
	}
	s.ask("free")
	s.before = s.ask("peak")
	return s
}

func (s *scene) ask(order string) (r masterReport) {
	s.t.Helper()
	s.master.ask(order, &r)
	return r
}

// under runs attacks at the same time, while new nodes come one after the other. It returns what the attackers did, and
// fails if a new node did not get in in time.
func (s *scene) under(attacks ...attackerConfig) []attackerReport {
	s.t.Helper()
	begin := time.Now()
	var attackers []*process
	for _, config := range attacks {
		config.Identity, config.Address = s.identity, s.before.Address
		attackers = append(attackers, start(s.t, "attacker", config, new(string)))
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	var coming sync.WaitGroup
	var times []time.Duration
	coming.Go(func() { times = s.newcomers(ctx) })
	reports := make([]attackerReport, len(attackers))
	for i, p := range attackers {
		p.ask("report", &reports[i])
		p.stop()
	}
	cancel()
	coming.Wait()
	if len(times) == 0 {
		s.t.Fatalf("no new node got in; attacks over after %v: %+v", time.Since(begin), reports)
	}
	if slowest := slices.Max(times); slowest > newcomerPatience {
		s.t.Errorf("%d new nodes got in; they took up to %v", len(times), slowest)
	}
	slices.Sort(times)
	s.t.Logf("attacks over after %v: %+v; %d new nodes got in, in %v (median) to %v", time.Since(begin).Round(time.Millisecond), reports,
		len(times), times[len(times)/2].Round(time.Microsecond), slices.Max(times).Round(time.Microsecond))
	return reports
}

// newcomers joins and leaves until ctx ends, and returns how long each joining took.
func (s *scene) newcomers(ctx context.Context) (times []time.Duration) {
	n := node{s.before.Address, net.IPv4(127, 0, 3, 1), s.identity.client(), s.identity.Certificate}
	for i := 0; ctx.Err() == nil; i++ {
		begin := time.Now()
		_, client, err := n.join(context.WithoutCancel(ctx), fmt.Sprint("new/", i))
		if err != nil {
			s.t.Errorf("new node %d did not get in after %v: %v", i, time.Since(begin), err)
		} else {
			times = append(times, time.Since(begin))
			_ = client.Close()
		}
		rest(ctx, 50*time.Millisecond)
	}
	return times
}

// unharmed fails unless every heartbeat of every good node was answered, and the master is what it was before.
func (s *scene) unharmed() masterReport {
	s.t.Helper()
	attacked := s.ask("report")
	if grown := attacked.Peak - s.before.Resident; grown > s.bound {
		s.t.Errorf("the master's memory grew by %d KiB to %d, more than %d", grown, attacked.Peak, s.bound)
	}
	after := attacked
	for end := time.Now().Add(protocol.DefaultHandshakeTimeout + 5*time.Second); time.Now().Before(end); {
		if after = s.ask("free"); s.recovered(after) {
			break
		}
		time.Sleep(100 * time.Millisecond) // The master's process cannot tell when it is done with all of them.
	}
	if !s.recovered(after) {
		s.t.Errorf("the master does not come back to what it was:\nbefore %+v\nafter  %+v", s.before, after)
	}
	var fleet fleetReport
	s.fleet.ask("stop", &fleet)
	if fleet.InSession != fleetSize || fleet.Sent != fleet.Answered || fleet.Sent < fleetSize {
		s.t.Errorf("%d of %d good nodes are in session, %d of %d heartbeats were answered; ended: %q",
			fleet.InSession, fleetSize, fleet.Answered, fleet.Sent, fleet.Ended)
	}
	for cause, n := range after.GoodClosed {
		s.t.Errorf("%d sessions of good nodes ended: %s", n, cause)
	}
	s.t.Logf("%d heartbeats, %d answered, within %v; memory %d KiB before, %d at most, %d after; closed %v; refused %v",
		fleet.Sent, fleet.Answered, fleet.Slowest.Round(time.Millisecond), s.before.Resident, attacked.Peak, after.Resident, after.Closed, after.Refused)
	return after
}

func (s *scene) recovered(r masterReport) bool {
	return r.Stats.Sessions == fleetSize && r.Stats.Handshaking == 0 && r.Stats.Waiting == 0 &&
		r.Resident <= s.before.Resident+memoryLeft && r.Goroutines <= s.before.Goroutines+8 && r.Descriptors <= s.before.Descriptors
}

func TestTenThousandConnectionsThatNeverAuthenticate(t *testing.T) {
	s := newScene(t)
	done := s.under(attackerConfig{Kind: "silent", Workers: 10000, Sources: 256, Pause: 2 * time.Second, For: 13 * time.Second})
	after := s.unharmed()
	if done[0].Opened < 10000 {
		t.Errorf("only %d connections were opened", done[0].Opened)
	}
	if after.Strangers < protocol.DefaultMaxWaiting*9/10 {
		t.Errorf("there were up to %d connections that were not authenticated", after.Strangers)
	}
}

func TestOneAddressCannotTakeEverySlot(t *testing.T) {
	s := newScene(t)
	s.under(attackerConfig{Kind: "silent", Workers: 3000, Sources: 1, Pause: time.Second, For: 5 * time.Second})
	after := s.unharmed()
	// A newcomer, from another address, is one more.
	if after.Strangers > protocol.DefaultMaxHandshakesPerSource+1 || after.Refused[protocol.ErrTooManyFromSource.Error()] < 2900 {
		t.Errorf("there were up to %d connections that were not authenticated; refused %v", after.Strangers, after.Refused)
	}
}

func TestWritersOfOneByteASecond(t *testing.T) {
	s := newScene(t)
	s.under(
		attackerConfig{Kind: "dribble", Workers: 1000, Sources: 40, Pause: time.Second, For: 12 * time.Second},
		attackerConfig{Kind: "dribble over TLS", Workers: 200, Sources: 40, Pause: time.Second, For: 12 * time.Second},
		attackerConfig{Kind: "dribble in session", Workers: 200, Sources: 40, Pause: time.Second, For: 12 * time.Second},
	)
	after := s.unharmed()
	// Each of 200 is silent to the master for three of the twelve seconds; on a busy machine many get in late.
	if after.Closed[protocol.ErrAliveTimeout.Error()] < 100 {
		t.Errorf("closed %v", after.Closed)
	}
}

func TestPeersThatNeverRead(t *testing.T) {
	s := newScene(t)
	s.under(attackerConfig{Kind: "never read", Workers: 200, Sources: 20, Pause: time.Second, For: 10 * time.Second})
	after := s.unharmed()
	// A session that cannot be written to is not read either, and of its two timers the shorter one ends it.
	if n := after.Closed[protocol.ErrWriteTimeout.Error()] + after.Closed[protocol.ErrAliveTimeout.Error()]; n < 50 {
		t.Errorf("closed %v", after.Closed)
	}
}

func TestResetsAtEachStep(t *testing.T) {
	s := newScene(t)
	done := s.under(attackerConfig{Kind: "reset", Workers: 100, Sources: 20, Pause: time.Second, For: 6 * time.Second})
	s.unharmed()
	if done[0].Opened < 1000 {
		t.Errorf("only %d connections were opened", done[0].Opened)
	}
}

func TestGarbageInsteadOfTLS(t *testing.T) {
	s := newScene(t)
	done := s.under(attackerConfig{Kind: "garbage", Workers: 200, Sources: 20, Pause: 200 * time.Millisecond, For: 6 * time.Second})
	after := s.unharmed()
	if n := after.Refused[protocol.ErrTLS.Error()]; n < 1000 || done[0].Opened < 2000 {
		t.Errorf("%d of %d connections were refused for what they are", n, done[0].Opened)
	}
}

func TestHandshakesOfThoseWhoHaveNoCertificate(t *testing.T) {
	s := newScene(t)
	done := s.under(attackerConfig{Kind: "anonymous", Workers: 400, Sources: 20, For: 6 * time.Second})
	after := s.unharmed()
	if n := after.Refused[protocol.ErrTLS.Error()]; n < 1000 {
		t.Errorf("%d of %d connections were refused for what they are", n, done[0].Opened)
	}
}

func TestSixteenMebibytesWithoutAnEnd(t *testing.T) {
	s := newScene(t)
	var all []attackerConfig
	kinds := []string{"endless", "endless establish", "endless certificate", "endless in session"}
	for _, kind := range kinds {
		all = append(all, attackerConfig{Kind: kind, Workers: 25, Sources: 10, Pause: 500 * time.Millisecond, For: 6 * time.Second})
	}
	done := s.under(all...)
	after := s.unharmed()
	for i, d := range done {
		if each := d.Bytes / max(1, d.Opened); d.Opened < 50 || each > endlessBytes/2 {
			t.Errorf("%s: %d connections could write %d bytes each", kinds[i], d.Opened, each)
		}
	}
	if after.Closed["R-2.5"] < 50 || after.Refused["R-2.5"] < 25 {
		t.Errorf("closed %v; refused %v", after.Closed, after.Refused)
	}
}

func TestEveryPlaceHeldOneByteBelowTheBound(t *testing.T) {
	s := newScene(t)
	s.bound = fullBound
	const each = protocol.DefaultMaxHandshakesPerSource
	s.under(attackerConfig{Kind: "stall certificate", Workers: places, Sources: places / each, For: 25 * time.Second})
	after := s.unharmed()
	if after.Strangers < places*9/10 || after.Closed[protocol.ErrHandshakeTimeout.Error()] < places/2 {
		t.Errorf("there were up to %d connections that were not authenticated; closed %v", after.Strangers, after.Closed)
	}
}

func TestAPanicEndsItsSessionOnly(t *testing.T) {
	s := newScene(t)
	var all []attackerConfig
	for _, step := range []string{"establish", "authenticate", "authenticated", "closed"} {
		all = append(all, attackerConfig{Kind: "panic " + step, Workers: 10, Sources: 5, Pause: 500 * time.Millisecond, For: 4 * time.Second})
	}
	opened := 0
	for _, d := range s.under(all...) {
		opened += int(d.Opened)
	}
	after := s.unharmed()
	// Exactly one for each connection that got as far as its panic; the last ones may have been cut short.
	if after.Panics < 200 || after.Panics > opened || after.Panics < opened-40 {
		t.Errorf("%d panics of %d sessions that had one coming", after.Panics, opened)
	}
}

func TestOutOfDescriptors(t *testing.T) {
	s := newScene(t)
	const spare = 50
	limited := s.ask(fmt.Sprint("descriptors ", s.before.Descriptors+spare))
	begin := time.Now()
	attackers := start(t, "attacker", attackerConfig{Identity: s.identity, Address: s.before.Address,
		Kind: "silent", Workers: 500, Sources: 50, Pause: time.Second, For: 5 * time.Second}, new(string))
	var report attackerReport
	attackers.ask("report", &report)
	starved := s.ask(fmt.Sprint("descriptors ", 20000))
	attackers.stop()
	// After 5, 10, 20 ms and so on it tries once a second, each time a few: far from spinning.
	if n, took := starved.AcceptErrors-limited.AcceptErrors, time.Since(begin); n < 3 || n > 100 {
		t.Errorf("Accept failed %d times in %v", n, took)
	}
	if starved.Stats.Sessions != fleetSize || report.Opened < 500 {
		t.Errorf("%d sessions, %d connections opened", starved.Stats.Sessions, report.Opened)
	}
	n := node{s.before.Address, net.IPv4(127, 0, 3, 1), s.identity.client(), s.identity.Certificate}
	again := time.Now()
	_, client, err := n.join(t.Context(), "new/1")
	if took := time.Since(again); err != nil || took > newcomerPatience {
		t.Fatalf("once there are descriptors a new node gets in after %v: %v", took, err)
	}
	_ = client.Close()
	s.unharmed()
}
