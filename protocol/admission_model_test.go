package protocol

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// come is a connection that only has an address.
type come struct {
	net.Conn
	from net.Addr
}

func (c *come) RemoteAddr() net.Addr { return c.from }

// doorModel is what admission has to keep in its books, found by counting.
type doorModel struct {
	door     admission
	waiting  []*arrival
	flying   []*arrival
	open     int // authenticated
	refusals map[error]bool
}

func (m *doorModel) arrive(t *rapid.T) {
	var addr net.Addr = &net.UnixAddr{Name: "memory"}
	if n := rapid.IntRange(0, 5).Draw(t, "source"); n > 0 {
		addr = &net.TCPAddr{IP: net.IPv4(10, 0, 0, byte(n))}
	}
	before := m.waiting
	c := &arrival{conn: &come{from: addr}, deadline: time.Now().Add(time.Minute)}
	displaced, err := m.door.admit(c)
	if err != nil {
		m.refusals[err] = true
		return
	}
	m.waiting = append(m.waiting, c)
	if displaced == nil {
		return
	}
	m.refusals[nil] = true
	had := func(s *source) (n int) {
		for _, a := range slices.Concat(before, m.flying) {
			if a.from == s && a.turn != turnOver {
				n++
			}
		}
		return n
	}
	if displaced.turn != turnOver || had(displaced.from)+1 < had(c.from)+2 {
		t.Fatalf("one of %d of its source made room for the %d. of another", had(displaced.from)+1, had(c.from)+1)
	}
	for i, a := range m.waiting {
		if a == displaced {
			m.waiting = append(m.waiting[:i:i], m.waiting[i+1:]...)
			break
		}
	}
}

func (m *doorModel) begin(t *rapid.T) {
	for c := m.door.next(); c != nil; c = m.door.next() {
		for i, a := range m.waiting {
			if a == c {
				m.waiting = append(m.waiting[:i:i], m.waiting[i+1:]...)
				m.flying = append(m.flying, c)
				c = nil
				break
			}
		}
		if c != nil {
			t.Fatal("a turn was given to a connection that does not wait")
		}
	}
}

func (m *doorModel) finish(t *rapid.T) {
	if len(m.flying) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.flying)-1).Draw(t, "which")
	c := m.flying[i]
	let := c.turn != turnOver && rapid.Bool().Draw(t, "let in")
	m.flying = append(m.flying[:i:i], m.flying[i+1:]...)
	m.door.opened(c)
	if let {
		m.open++
		return
	}
	m.door.ended()
}

func (m *doorModel) check(t *rapid.T) {
	sessions, handshaking, waiting := m.door.counts()
	flying, sources := 0, make(map[*source][2]int)
	for _, a := range slices.Concat(m.waiting, m.flying) {
		if a.turn == turnOver {
			continue
		}
		n := sources[a.from]
		n[0]++
		if a.turn != turnAhead {
			n[1]++
			flying++
		}
		sources[a.from] = n
	}
	want := fmt.Sprint(len(m.waiting)+len(m.flying)+m.open, flying, len(m.waiting))
	if got := fmt.Sprint(sessions, handshaking, waiting); got != want {
		t.Fatalf("sessions, handshaking, waiting: %s, want %s", got, want)
	}
	l := m.door.limits
	if m.door.now.Len() > l.handshakes || handshaking+waiting > l.handshakes+l.waiting || sessions > l.sessions {
		t.Fatalf("over a limit: %d have the turn, %d handshake, %d wait, %d sessions", m.door.now.Len(), handshaking, waiting, sessions)
	}
	addressed := 0
	for s, n := range sources {
		if s.arrivals != n[0] || s.begun != n[1] {
			t.Fatalf("the books of %v: %d and %d, want %v", s.address, s.arrivals, s.begun, n)
		}
		if s.address.IsValid() {
			addressed++
			if m.door.sources[s.address] != s || s.arrivals > l.perSource {
				t.Fatalf("%v has %d connections, or two books", s.address, s.arrivals)
			}
		}
	}
	if len(m.door.sources) != addressed {
		t.Fatalf("%d sources are remembered, %d have connections", len(m.door.sources), addressed)
	}
	if waiting > 0 && m.door.now.Len() < l.handshakes {
		t.Fatal("connections wait, and a turn is free")
	}
}

// pass lets the turns there are be so much older.
func (m *doorModel) pass(d time.Duration) {
	for e := m.door.now.Front(); e != nil; e = e.Next() {
		c := e.Value.(*arrival)
		c.begun = c.begun.Add(-d)
	}
}

// whatever comes, waits, is let in and leaves, the limits hold and the books are right.
func TestAdmissionKeepsItsBooks(t *testing.T) {
	seen := make(map[error]bool)
	rapid.Check(t, func(t *rapid.T) {
		m := &doorModel{refusals: seen}
		o := DefaultServerOptions()
		o.MaxHandshakes, o.MaxWaiting = rapid.IntRange(1, 3).Draw(t, "handshakes"), rapid.IntRange(0, 6).Draw(t, "waiting")
		o.MaxSessions, o.MaxHandshakesPerSource = rapid.IntRange(1, 12).Draw(t, "sessions"), rapid.IntRange(1, 5).Draw(t, "per source")
		o.HandshakeTurn = time.Hour // Time passes only where the model says so.
		m.door.again = func() {}
		m.door.configure(&o)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				m.finish(t)
			case 1:
				m.pass(rapid.SampledFrom([]time.Duration{time.Minute, time.Hour / 2, time.Hour}).Draw(t, "time"))
			case 2:
				if m.open > 0 {
					m.open--
					m.door.ended()
				}
			default:
				m.arrive(t)
			}
			m.begin(t)
			m.check(t)
		}
		m.door.close()
		m.waiting = nil
		for len(m.flying) > 0 {
			m.finish(t)
		}
		m.check(t)
	})
	for _, want := range []error{nil, ErrTooManySessions, ErrTooManyFromSource, ErrTooManyHandshakes} {
		if !seen[want] {
			t.Errorf("the scripts never came to %v", want)
		}
	}
}
