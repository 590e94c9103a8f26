package admission

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// doorModel is what admission has to do, found by looking at everyone. Time passes only where a script says so.
type doorModel struct {
	door     *Door
	elapsed  time.Duration
	waiting  []*peer         // in the order in which they came
	flying   []*peer         // in the order in which their turns began
	lost     []*peer         // displaced, and still closing
	open     int             // authenticated
	count    int             // arrivals and turns
	done     []time.Duration // when handshakes were completed
	served   map[string]int  // the last turn of each source
	outcomes map[string]bool
}

// peer is a connection as the model knows it.
type peer struct {
	*Arrival
	caller int // stands for its address; 0 is a transport without any
	source string
	since  time.Duration // when it came, or its turn began
	begun  time.Duration // when its first turn began
	number int           // in the order of arrivals and turns
	past   bool          // its turn is over
	silent bool          // it is the peer that is slow
	heard  bool          // something came from it
	remote net.Addr
}

func (c *peer) RemoteAddr() net.Addr { return c.remote }
func (c *peer) Silent() bool         { return c.silent }
func (c *peer) Heard() bool          { return c.heard }

const (
	modelTurn     = time.Hour
	modelPatience = 5 * time.Hour // With a turn of an eighth of the timeout at most.
)

func (m *doorModel) flyingFrom(source string) (n int) {
	for _, c := range m.flying {
		if c.source == source {
			n++
		}
	}
	return n
}

// oldest returns the number of the first that waits from there.
func (m *doorModel) oldest(source string) int {
	i := slices.IndexFunc(m.waiting, func(c *peer) bool { return c.source == source })
	return m.waiting[i].number
}

func (m *doorModel) arrivalsFrom(source string) int {
	n := m.flyingFrom(source)
	for _, c := range m.waiting {
		if c.source == source {
			n++
		}
	}
	return n
}

// callersAt counts those from one address.
func (m *doorModel) callersAt(caller int) (n int) {
	for _, c := range slices.Concat(m.waiting, m.flying) {
		if c.caller == caller {
			n++
		}
	}
	return n
}

func (m *doorModel) arrive(t *rapid.T) {
	n := rapid.IntRange(0, 6).Draw(t, "caller")
	m.count++
	c := &peer{caller: n, source: fmt.Sprint(n), since: m.elapsed, number: m.count}
	var addr net.Addr = &net.TCPAddr{IP: net.IPv4(10, 0, 0, byte(n))}
	switch {
	case n == 0:
		addr, c.source = &net.UnixAddr{Name: "memory"}, fmt.Sprintf("%p", c)
	case n > 4:
		addr, c.source = &net.TCPAddr{IP: net.ParseIP(fmt.Sprintf("fd00:db8::%d", n))}, "a network"
	}
	c.remote = addr
	c.Arrival = &Arrival{Peer: c, Came: time.Now()}
	l := m.door.limits
	var want error
	var most int // of the sources from which someone waits, as many arrivals as that has that has most
	for _, w := range m.waiting {
		most = max(most, m.arrivalsFrom(w.source))
	}
	full := false
	wantOwn, all := m.ownQuiet(n)
	if wantOwn != nil {
		m.giveUp(wantOwn)
		m.outcomes["made room for its own"] = true
		most = 0
		for _, w := range m.waiting {
			most = max(most, m.arrivalsFrom(w.source))
		}
	}
	switch from := m.arrivalsFrom(c.source); {
	case all && wantOwn == nil:
		want = ErrTooManyFromSource
	case len(m.waiting)+len(m.flying)+len(m.lost)+m.open >= l.Sessions:
		if full = most >= from+2; !full {
			want = ErrTooManySessions
		}
	case len(m.waiting) >= l.Waiting:
		if full = most >= from+2; !full {
			want = ErrTooManyHandshakes
		}
	}
	own, displaced, err := m.door.Admit(c.Arrival)
	if own != nil != (wantOwn != nil) || own != nil && own != wantOwn.Arrival {
		t.Fatalf("from %s: own is %v, want %v", c.source, own, wantOwn)
	}
	if !errors.Is(err, want) || (displaced != nil) != full {
		t.Fatalf("from %s: displaces %v, %v; want %t, %v", c.source, displaced, err, full, want)
	}
	if displaced != nil {
		m.displacedBy(t, displaced, most)
	}
	m.outcomes[fmt.Sprint(err, full)] = true
	if err == nil {
		m.waiting = append(m.waiting, c)
	}
}

// ownQuiet returns the oldest from an address from which nothing came, if there are as many from there as there may be.
func (m *doorModel) ownQuiet(n int) (oldest *peer, all bool) {
	if n == 0 || m.callersAt(n) < m.door.limits.PerSource {
		return nil, false
	}
	for _, c := range slices.Concat(m.waiting, m.flying) {
		if c.caller == n && !c.heard && (oldest == nil || c.number < oldest.number) {
			oldest = c
		}
	}
	return oldest, true
}

// giveUp removes who made room for another of its address.
func (m *doorModel) giveUp(c *peer) {
	isIt := func(other *peer) bool { return other == c }
	if slices.ContainsFunc(m.flying, isIt) {
		m.lost = append(m.lost, c)
	}
	m.waiting, m.flying = slices.DeleteFunc(m.waiting, isIt), slices.DeleteFunc(m.flying, isIt)
}

// hear has something come from one of them.
func (m *doorModel) hear(t *rapid.T) {
	if all := slices.Concat(m.waiting, m.flying); len(all) > 0 {
		rapid.SampledFrom(all).Draw(t, "who is heard").heard = true
	}
}

// displacedBy removes who lost its place in line: of any source that had as many arrivals, the one that came last.
func (m *doorModel) displacedBy(t *rapid.T, displaced *Arrival, arrivals int) {
	for i, w := range slices.Backward(m.waiting) {
		if w.Arrival != displaced {
			continue
		}
		if n := m.arrivalsFrom(w.source); n != arrivals {
			t.Fatalf("displaced is one of %d, and another source has %d", n, arrivals)
		}
		for _, later := range m.waiting[i+1:] {
			if later.source == w.source {
				t.Fatal("displaced is not the one that came last")
			}
		}
		m.waiting = slices.Delete(m.waiting, i, i+1)
		return
	}
	t.Fatal("displaced is one that does not wait")
}

// next is Door.Next.
func (m *doorModel) next() (next *peer, gone []*Arrival) {
	for len(m.waiting) > 0 && m.elapsed-m.waiting[0].since >= modelPatience {
		gone = append(gone, m.waiting[0].Arrival)
		m.waiting = m.waiting[1:]
		m.outcomes["waited too long"] = true
	}
	if len(m.waiting) == 0 {
		return nil, gone
	}
	next = slices.MinFunc(m.waiting, func(a, b *peer) int {
		return cmp.Or(
			cmp.Compare(m.flyingFrom(a.source), m.flyingFrom(b.source)),
			cmp.Compare(max(m.served[a.source], m.oldest(a.source)), max(m.served[b.source], m.oldest(b.source))),
			cmp.Compare(a.number, b.number),
		)
	})
	for {
		var past int
		var turns []*peer
		for _, f := range m.flying {
			if f.past {
				past++
			} else {
				turns = append(turns, f)
			}
		}
		if len(turns) < m.door.limits.Handshakes {
			return next, gone
		}
		longest := turns[0]
		drop := func(c *peer) { m.flying = slices.DeleteFunc(m.flying, func(f *peer) bool { return f == c }) }
		again := func(why string) {
			longest.since = m.elapsed
			drop(longest)
			m.flying = append(m.flying, longest)
			m.outcomes[why] = true
		}
		ours := !longest.silent && m.elapsed-longest.begun < 8*modelTurn &&
			m.flyingFrom(longest.source) < m.flyingFrom(next.source)+2
		switch slow := m.slowest(longest, next.source); {
		case m.elapsed-longest.since < m.turn():
			return nil, gone
		case ours:
			again("another turn, as it waits for this side")
		case past < m.door.limits.Slow:
			longest.past = true
			m.outcomes["turn over"] = true
		case slow == nil:
			again("another turn, as there is no other place")
		default:
			gone = append(gone, slow.Arrival)
			drop(slow)
			m.lost = append(m.lost, slow)
			longest.past = longest != slow
			m.outcomes["slow one displaced"] = true
		}
	}
}

// turn is Door.turnLength.
func (m *doorModel) turn() time.Duration {
	lately := 0
	for _, at := range m.done {
		if m.elapsed-at < 4*modelTurn {
			lately++
		}
	}
	if len(m.flying) < lately {
		m.outcomes["a short turn"] = true
		return modelTurn / 5
	}
	return modelTurn
}

// slowest is Door.mostOf.
func (m *doorModel) slowest(longest *peer, source string) (slow *peer) {
	most := m.flyingFrom(source) + 1
	for _, f := range m.flying {
		if n := m.flyingFrom(f.source); n > most && (f.past || f == longest) {
			slow, most = f, n
		}
	}
	return slow
}

func (m *doorModel) begin(t *rapid.T) {
	for {
		want, wantGone := m.next()
		got, gone := m.door.Next()
		if !slices.Equal(gone, wantGone) {
			t.Fatalf("%d have to go, want %d", len(gone), len(wantGone))
		}
		if want == nil && got == nil {
			return
		}
		if want == nil || got != want.Arrival {
			t.Fatalf("the turn is of %v, want %v", got, want)
		}
		m.waiting = slices.DeleteFunc(m.waiting, func(c *peer) bool { return c == want })
		m.count++
		m.served[want.source] = m.count
		want.begun, want.since, want.silent = m.elapsed, m.elapsed, rapid.IntRange(0, 3).Draw(t, "silent") > 0
		m.flying = append(m.flying, want)
	}
}

func (m *doorModel) finish(t *rapid.T) {
	all := slices.Concat(m.flying, m.lost)
	if len(all) == 0 {
		return
	}
	c := rapid.SampledFrom(all).Draw(t, "which")
	isIt := func(other *peer) bool { return other == c }
	had := slices.ContainsFunc(m.flying, isIt)
	m.flying, m.lost = slices.DeleteFunc(m.flying, isIt), slices.DeleteFunc(m.lost, isIt)
	completed := rapid.Bool().Draw(t, "completed")
	if m.door.Opened(c.Arrival, completed) != had {
		t.Fatalf("that it had a place is not %t", had)
	}
	if had && completed {
		m.done = append(m.done, m.elapsed)
		m.open++
		return
	}
	m.door.Ended()
}

// pass lets time pass, by making everyone older.
func (m *doorModel) pass(d time.Duration) {
	m.elapsed += d
	for i := range m.door.completed {
		m.door.completed[i] = m.door.completed[i].Add(-d)
	}
	for _, c := range slices.Concat(m.waiting, m.flying) {
		c.Came, c.began, c.Arrival.since = c.Came.Add(-d), c.began.Add(-d), c.Arrival.since.Add(-d)
	}
}

// check compares the books.
func (m *doorModel) check(t *rapid.T) {
	handshaking, waiting := m.door.Counts()
	want := fmt.Sprint(len(m.waiting)+len(m.flying)+len(m.lost)+m.open, len(m.flying), len(m.waiting))
	if got := fmt.Sprint(m.door.sessions, handshaking, waiting); got != want {
		t.Fatalf("sessions, handshaking, waiting: %s, want %s", got, want)
	}
	addressed, callers := make(map[string]bool), make(map[netip.Addr]int)
	for _, c := range slices.Concat(m.waiting, m.flying) {
		s := c.Arrival.source
		if s.arrivals() != m.arrivalsFrom(c.source) || s.inFlight != m.flyingFrom(c.source) {
			t.Fatalf("the books of %v: %d and %d, want %d and %d",
				c.source, s.arrivals(), s.inFlight, m.arrivalsFrom(c.source), m.flyingFrom(c.source))
		}
		if s.network.IsValid() {
			if addressed[c.source] = true; m.door.sources[s.network] != s {
				t.Fatalf("%v has two books", s.network)
			}
			callers[c.address] = m.callersAt(c.caller)
		}
	}
	counted := make(map[netip.Addr]int)
	for address, from := range m.door.callers {
		if counted[address] = from.arrivals; from.quiet.Len() > from.arrivals {
			t.Fatalf("%v: of %d connections %d are quiet", address, from.arrivals, from.quiet.Len())
		}
	}
	if !maps.Equal(counted, callers) {
		t.Fatalf("from each address: %v, want %v", counted, callers)
	}
	if len(m.door.sources) != len(addressed) {
		t.Fatalf("%d sources are remembered, %d have connections", len(m.door.sources), len(addressed))
	}
	if l := m.door.limits; waiting > l.Waiting || m.door.turns.Len() > l.Handshakes || m.door.slow.Len() > l.Slow {
		t.Fatalf("over a limit: %d wait, %d have the turn, %d had it", waiting, m.door.turns.Len(), m.door.slow.Len())
	}
}

// whatever comes, waits, stalls, is let in and leaves, it happens as the rules say.
func TestAdmissionKeepsItsBooks(t *testing.T) {
	outcomes := make(map[string]bool)
	script := func(t *rapid.T) {
		m := &doorModel{outcomes: outcomes, served: make(map[string]int)}
		m.door = NewDoor(func() {})
		m.door.Configure(Limits{
			Handshakes: rapid.IntRange(1, 3).Draw(t, "handshakes"), Slow: rapid.IntRange(0, 4).Draw(t, "slow"),
			Waiting:  rapid.IntRange(1, 6).Draw(t, "waiting"),
			Sessions: rapid.IntRange(1, 16).Draw(t, "sessions"), PerSource: rapid.IntRange(1, 6).Draw(t, "per source"),
			Turn: modelTurn, Patience: modelPatience,
		})
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 6:
				m.hear(t)
			case 0:
				m.finish(t)
			case 1:
				m.pass(rapid.SampledFrom([]time.Duration{time.Minute, modelTurn / 5, modelTurn / 2, modelTurn, 2 * modelTurn}).Draw(t, "time"))
			case 2:
				if m.open > 0 {
					m.open--
					m.door.Ended()
				}
			default:
				m.arrive(t)
			}
			m.begin(t)
			m.check(t)
		}
		if line := m.door.Close(); len(line) != len(m.waiting) {
			t.Fatalf("%d stood in line, want %d", len(line), len(m.waiting))
		}
		m.waiting = nil
		for len(m.flying)+len(m.lost) > 0 {
			m.finish(t)
		}
		m.check(t)
	}
	for range 5 { // A hundred scripts alone now and then do not come to all of what follows.
		rapid.Check(t, script)
	}
	for _, want := range []string{
		"<nil> false", "<nil> true", fmt.Sprint(ErrTooManySessions, false),
		fmt.Sprint(ErrTooManyFromSource, false), "made room for its own",
		fmt.Sprint(ErrTooManyHandshakes, false), "waited too long", "turn over", "another turn, as it waits for this side",
		"another turn, as there is no other place", "slow one displaced", "a short turn",
	} {
		if !outcomes[want] {
			t.Errorf("the scripts never came to: %s", want)
		}
	}
}
