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
	// A new node may take so many turns of the master's line, and so many times as long as a new node took in the same time at
	// a master of the same machine that nobody attacks. One in so many may take longer: a packet that the kernel drops is sent
	// again after a second, then after two more.
	newcomerTurns, newcomerTimes, oneIn = 4, 20, 20
	// acceptPause is the longest pause of a master that has no descriptors between two tries to accept.
	acceptPause = time.Second
	// memoryBound is by how much the master's resident memory may grow under attack, and memoryLeft what may stay.
	memoryBound, memoryLeft = 64 << 10, 12 << 10 // KiB
	// fullBound is memoryBound for an attack on memory itself: every place before authentication held by a message that
	// is nearly as long as it may be, with 64 KiB more for each, of TLS and stacks; and as much again not collected yet.
	places    = protocol.DefaultMaxHandshakes + protocol.DefaultMaxSlowHandshakes
	fullBound = 2 * places * (protocol.DefaultAuthStartBytes + 64<<10) >> 10 // KiB
)

// scene is a master with its fleet, and another one that nobody attacks.
type scene struct {
	t             *testing.T
	identity      identity
	master, fleet *process
	before, calm  masterReport
	bound         int // KiB by which the master may grow
	// unit is the alive interval, by which all attacks are timed: a second, and on a slow machine more.
	unit time.Duration
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, identity: newIdentity(), bound: memoryBound}
	start(t, "master", masterConfig{s.identity, time.Second}, &s.calm)
	s.unit = s.measuredUnit()
	s.master = start(t, "master", masterConfig{s.identity, s.unit}, &s.before)
	var joined fleetReport
	s.fleet = start(t, "fleet", fleetConfig{s.identity, s.before.Address, fleetSize, s.unit}, &joined)
	if joined.InSession != fleetSize {
		t.Fatalf("%d good nodes are in session", joined.InSession)
	}
	s.ask("free")
	s.before = s.ask("peak")
	return s
}

// measuredUnit is a second where a hundred nodes, one after the other, need a third of that to get in, or less.
func (s *scene) measuredUnit() time.Duration {
	s.t.Helper()
	begin := time.Now()
	for i := range 100 {
		if _, err := s.join(s.calm, i); err != nil {
			s.t.Fatal(err)
		}
	}
	return max(time.Second, 3*time.Since(begin))
}

func (s *scene) ask(order string) (r masterReport) {
	s.t.Helper()
	s.master.ask(order, &r)
	return r
}

// done reports whether attacks have done what a test is about.
type done func(master masterReport, attackers []attackerReport) bool

// under runs attacks at the same time until their time is over and they are done, while new nodes come one after the
// other. It fails if a new node took too long to get in.
func (s *scene) under(enough done, attacks ...attackerConfig) {
	s.t.Helper()
	begin := time.Now()
	var attackers []*process
	var lasting time.Duration
	for _, config := range attacks {
		config.Identity, config.Address = s.identity, s.before.Address
		attackers = append(attackers, start(s.t, "attacker", config, new(string)))
		lasting = max(lasting, config.For)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	var coming sync.WaitGroup
	var here, calm []time.Duration
	coming.Go(func() { here, calm = s.newcomers(ctx) })
	rest(ctx, lasting)
	reports := make([]attackerReport, len(attackers))
	ask := func(order string) {
		for i, p := range attackers {
			p.ask(order, &reports[i])
		}
	}
	ask("report")
	for end := time.Now().Add(patience); !enough(s.ask("report"), reports); ask("report") {
		if time.Now().After(end) {
			s.t.Errorf("after %v the attacks have not done what they have to: %+v, and the master %+v", time.Since(begin), reports, s.ask("report"))
			break
		}
		rest(ctx, s.unit/10)
	}
	ask("stop")
	for _, p := range attackers {
		p.stop()
	}
	cancel()
	coming.Wait()
	s.t.Logf("attacks over after %v: %+v", time.Since(begin).Round(time.Millisecond), reports)
	s.getInInTime(here, calm)
}

// newcomers joins and leaves until ctx ends, here and in turns with it at the master that nobody attacks, and returns how
// long each joining took.
func (s *scene) newcomers(ctx context.Context) (here, calm []time.Duration) {
	for i := 0; ctx.Err() == nil; i++ {
		took, err := s.join(s.before, i)
		if err != nil {
			s.t.Errorf("new node %d did not get in after %v: %v", i, took, err)
			continue
		}
		there, err := s.join(s.calm, i)
		if err != nil {
			s.t.Errorf("where nobody attacks new node %d did not get in after %v: %v", i, there, err)
			continue
		}
		here, calm = append(here, took), append(calm, there)
		rest(ctx, 50*time.Millisecond)
	}
	return here, calm
}

// join lets a new node join a master and leave, and returns how long the joining took.
func (s *scene) join(master masterReport, number int) (took time.Duration, err error) {
	n := node{master.Address, net.IPv4(127, 0, 3, 1), s.identity.client(), s.identity.Certificate}
	begin := time.Now()
	_, client, err := n.join(context.WithoutCancel(s.t.Context()), fmt.Sprint("new/", number))
	took = time.Since(begin)
	if err == nil {
		_ = client.Close()
	}
	return took, err
}

// getInInTime compares how long new nodes took with how long they took where nobody attacked.
func (s *scene) getInInTime(here, calm []time.Duration) {
	s.t.Helper()
	if len(here) == 0 {
		s.t.Fatal("no new node got in")
	}
	slices.Sort(here)
	slices.Sort(calm)
	slowest, calmest := here[len(here)-1], calm[len(calm)-1]
	s.t.Logf("%d new nodes got in, in %v (median) to %v; where nobody attacked, in %v to %v", len(here), here[len(here)/2].Round(time.Microsecond),
		slowest.Round(time.Microsecond), calm[len(calm)/2].Round(time.Microsecond), calmest.Round(time.Microsecond))
	bound := newcomerTurns*protocol.DefaultHandshakeTurn + newcomerTimes*calmest
	inTime, _ := slices.BinarySearch(here, bound)
	if slow := here[inTime:]; len(slow) > len(here)/oneIn {
		s.t.Errorf("of %d new nodes %d took more than %v to get in: %v", len(here), len(slow), bound, slow)
	}
}

// unharmed fails unless every heartbeat of every good node was answered, and the master is what it was before.
func (s *scene) unharmed() masterReport {
	s.t.Helper()
	attacked := s.ask("report")
	if grown := attacked.Peak - s.before.Resident; grown > s.bound {
		s.t.Errorf("the master's memory grew by %d KiB to %d, more than %d", grown, attacked.Peak, s.bound)
	}
	after := attacked
	for end := time.Now().Add(protocol.DefaultHandshakeTimeout + patience); time.Now().Before(end); {
		if after = s.ask("free"); s.recovered(after) {
			break
		}
		rest(s.t.Context(), s.unit/10) // The master's process cannot tell when it is done with all of them.
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
	s.under(func(m masterReport, a []attackerReport) bool {
		return a[0].Opened >= 10000 && m.Strangers >= protocol.DefaultMaxWaiting*9/10
	}, attackerConfig{Kind: "silent", Workers: 10000, Sources: 256, Pause: 2 * s.unit, For: 13 * s.unit})
	s.unharmed()
}

func TestOneAddressCannotTakeEverySlot(t *testing.T) {
	s := newScene(t)
	s.under(func(m masterReport, _ []attackerReport) bool {
		return m.Refused[protocol.ErrTooManyFromSource.Error()] >= 2900
	}, attackerConfig{Kind: "silent", Workers: 3000, Sources: 1, Pause: s.unit, For: 5 * s.unit})
	after := s.unharmed()
	// A newcomer, from another address, is one more.
	if after.Strangers > protocol.DefaultMaxHandshakesPerSource+1 {
		t.Errorf("there were up to %d connections that were not authenticated", after.Strangers)
	}
}

func TestWritersOfOneByteASecond(t *testing.T) {
	s := newScene(t)
	s.under(func(m masterReport, _ []attackerReport) bool {
		// Of 200, each of which is silent to the master for three of twelve alive intervals.
		return m.Closed[protocol.ErrAliveTimeout.Error()] >= 100
	},
		attackerConfig{Kind: "dribble", Workers: 1000, Sources: 40, Pause: s.unit, For: 12 * s.unit},
		attackerConfig{Kind: "dribble over TLS", Workers: 200, Sources: 40, Pause: s.unit, For: 12 * s.unit},
		attackerConfig{Kind: "dribble in session", Workers: 200, Sources: 40, Pause: s.unit, For: 12 * s.unit},
	)
	s.unharmed()
}

func TestPeersThatNeverRead(t *testing.T) {
	s := newScene(t)
	s.under(func(m masterReport, _ []attackerReport) bool {
		// A session that cannot be written to is not read either, and of its two timers the shorter one ends it.
		return m.Closed[protocol.ErrWriteTimeout.Error()]+m.Closed[protocol.ErrAliveTimeout.Error()] >= 50
	}, attackerConfig{Kind: "never read", Workers: 200, Sources: 20, Pause: s.unit, For: 10 * s.unit})
	s.unharmed()
}

func TestResetsAtEachStep(t *testing.T) {
	s := newScene(t)
	s.under(func(_ masterReport, a []attackerReport) bool { return a[0].Opened >= 1000 },
		attackerConfig{Kind: "reset", Workers: 100, Sources: 20, Pause: s.unit, For: 6 * s.unit})
	s.unharmed()
}

func TestGarbageInsteadOfTLS(t *testing.T) {
	s := newScene(t)
	s.under(func(m masterReport, a []attackerReport) bool {
		return m.Refused[protocol.ErrTLS.Error()] >= 1000 && a[0].Opened >= 2000
	}, attackerConfig{Kind: "garbage", Workers: 200, Sources: 20, Pause: s.unit / 5, For: 6 * s.unit})
	s.unharmed()
}

func TestHandshakesOfThoseWhoHaveNoCertificate(t *testing.T) {
	s := newScene(t)
	s.under(func(m masterReport, _ []attackerReport) bool { return m.Refused[protocol.ErrTLS.Error()] >= 1000 },
		attackerConfig{Kind: "anonymous", Workers: 400, Sources: 20, For: 6 * s.unit})
	s.unharmed()
}

func TestSixteenMebibytesWithoutAnEnd(t *testing.T) {
	s := newScene(t)
	var all []attackerConfig
	for _, kind := range []string{"endless", "endless establish", "endless certificate", "endless in session"} {
		all = append(all, attackerConfig{Kind: kind, Workers: 25, Sources: 10, Pause: s.unit / 2, For: 6 * s.unit})
	}
	var reports []attackerReport
	s.under(func(m masterReport, a []attackerReport) bool {
		reports = a
		return m.Closed["R-2.5"] >= 50 && m.Refused["R-2.5"] >= 25 && !slices.ContainsFunc(a, func(r attackerReport) bool { return r.Opened < 50 })
	}, all...)
	s.unharmed()
	for i, r := range reports {
		if each := r.Bytes / max(1, r.Opened); each > endlessBytes/2 {
			t.Errorf("%s: %d connections could write %d bytes each", all[i].Kind, r.Opened, each)
		}
	}
}

func TestEveryPlaceHeldOneByteBelowTheBound(t *testing.T) {
	s := newScene(t)
	s.bound = fullBound
	const each = protocol.DefaultMaxHandshakesPerSource
	s.under(func(m masterReport, _ []attackerReport) bool {
		return m.Strangers >= places*9/10 && m.Closed[protocol.ErrHandshakeTimeout.Error()] >= places/2
	}, attackerConfig{Kind: "stall certificate", Workers: places, Sources: places / each, For: 25 * s.unit})
	s.unharmed()
}

func TestAPanicEndsItsSessionOnly(t *testing.T) {
	s := newScene(t)
	var all []attackerConfig
	for _, step := range []string{"establish", "authenticate", "authenticated", "closed"} {
		all = append(all, attackerConfig{Kind: "panic " + step, Workers: 10, Sources: 5, Pause: s.unit / 2, For: 4 * s.unit})
	}
	var reports []attackerReport
	s.under(func(m masterReport, a []attackerReport) bool { reports = a; return m.Panics >= 200 }, all...)
	after, opened := s.unharmed(), 0
	for _, r := range reports {
		opened += int(r.Opened)
	}
	// Exactly one for each connection that got as far as its panic; the last ones may have been cut short.
	if after.Panics > opened || after.Panics < opened-40 {
		t.Errorf("%d panics of %d sessions that had one coming", after.Panics, opened)
	}
}

func TestOutOfDescriptors(t *testing.T) {
	s := newScene(t)
	const spare = 50
	limited := s.ask(fmt.Sprint("descriptors ", s.before.Descriptors+spare))
	begin := time.Now()
	attackers := start(t, "attacker", attackerConfig{Identity: s.identity, Address: s.before.Address,
		Kind: "silent", Workers: 500, Sources: 50, Pause: s.unit}, new(string))
	rest(t.Context(), 5*s.unit)
	var report attackerReport
	for end := time.Now().Add(patience); report.Opened < 500 && time.Now().Before(end); rest(t.Context(), s.unit/10) {
		attackers.ask("report", &report)
	}
	attackers.ask("stop", &report)
	starved := s.ask(fmt.Sprint("descriptors ", 20000))
	attackers.stop()
	// After 5, 10, 20 ms and so on it tries once a second, each time a few: far from spinning.
	took := time.Since(begin)
	if n := starved.AcceptErrors - limited.AcceptErrors; n < 3 || n > 20*int(1+took/time.Second) {
		t.Errorf("Accept failed %d times in %v", n, took)
	}
	if starved.Stats.Sessions != fleetSize || report.Opened < 500 {
		t.Errorf("%d sessions, %d connections opened", starved.Stats.Sessions, report.Opened)
	}
	here, err := s.join(s.before, 1)
	if err != nil {
		t.Fatalf("once there are descriptors a new node does not get in after %v: %v", here, err)
	}
	calm, err := s.join(s.calm, 1)
	if err != nil {
		t.Fatal(err)
	}
	s.getInInTime([]time.Duration{here - acceptPause}, []time.Duration{calm})
	s.unharmed()
}
