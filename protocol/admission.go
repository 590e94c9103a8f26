package protocol

import (
	"container/list"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// arrival is an accepted connection that is not authenticated yet.
type arrival struct {
	conn     net.Conn
	from     *source
	deadline time.Time // of the whole handshake, waiting included
	begun    time.Time // when its handshake began; zero while it waits
	turn     turn
	place    *list.Element // in the list of its turn
	session  atomic.Pointer[Session]
}

// turn is what an arrival has of the handshakes that may be in flight.
type turn uint8

const (
	turnAhead turn = iota // it waits, and nothing is read from it
	turnNow               // its handshake is one of MaxHandshakes
	turnPast              // its handshake goes on, and keeps nobody waiting any more
	turnOver              // it is authenticated, closed, or about to be
)

// source is where arrivals come from: an IP address, or, on a transport without any, one connection.
type source struct {
	address  netip.Addr
	arrivals int // not authenticated yet
	begun    int // of these, the handshakes in flight
}

// admission decides, before anything is spent on a connection, whether it is refused, waits or may begin its handshake
//
type admission struct {
	mu       sync.Mutex
	closed   bool
	limits   admissionLimits
	sessions int // connections open: waiting, handshaking or authenticated
	sources  map[netip.Addr]*source
	line     []*arrival // turnAhead, in the order in which they came
	now      list.List  // turnNow, in the order in which they began
	past     list.List  // turnPast, the same
	// again is called when a turn has lasted for long enough and others wait; wake is its timer.
	again func()
	wake  *time.Timer
}

type admissionLimits struct {
	sessions, handshakes, waiting, perSource int
	turn                                     time.Duration
}

// configure sets the limits. What is over a new limit already stays.
func (a *admission) configure(o *ServerOptions) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits = admissionLimits{o.MaxSessions, o.MaxHandshakes, o.MaxWaiting, o.MaxHandshakesPerSource, o.HandshakeTurn}
	if a.sources == nil {
		a.sources = make(map[netip.Addr]*source)
	}
}

// admit puts c in line or returns why it is refused. displaced, if there is one, had its place and has to go. Whoever
// called it then starts whatever next returns.
func (a *admission) admit(c *arrival) (displaced *arrival, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	from := a.sourceOf(c.conn.RemoteAddr())
	switch {
	case a.closed:
		return nil, ErrServerClosed
	case a.sessions >= a.limits.sessions:
		return nil, ErrTooManySessions
	case from.arrivals >= a.limits.perSource && from.address.IsValid():
		return nil, ErrTooManyFromSource
	case a.unauthenticated() >= a.limits.handshakes+a.limits.waiting:
		if displaced = a.displace(from); displaced == nil {
			return nil, ErrTooManyHandshakes
		}
	}
	if from.address.IsValid() {
		a.sources[from.address] = from
	}
	c.from = from
	from.arrivals++
	a.sessions++
	a.line = append(a.line, c)
	return displaced, nil
}

func (a *admission) unauthenticated() int { return len(a.line) + a.now.Len() + a.past.Len() }

// displace takes its place from one of the source that has most of them, if that has at least two more than from: from
// it the one that has been handshaking longest, if its turn is over, else the one that came last. Whoever comes alone is
// never displaced.
func (a *admission) displace(from *source) *arrival {
	var most *source
	for _, s := range a.sources {
		if most == nil || s.arrivals > most.arrivals {
			most = s
		}
	}
	if most == nil || most.arrivals < from.arrivals+2 {
		return nil
	}
	for e := a.past.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*arrival); c.from == most {
			a.leave(c)
			return c
		}
	}
	for i, c := range slices.Backward(a.line) {
		if c.from == most {
			a.line = slices.Delete(a.line, i, i+1)
			a.sessions--
			a.leave(c)
			return c
		}
	}
	return nil
}

// next returns the connection whose turn it is, or nil. Of those that wait it is one of a source with the fewest
// handshakes in flight, and of these the one that came first: a source that has many keeps only itself waiting.
//
// Deadlines in the line need no timer: whoever comes to be ahead of a connection either has an earlier deadline, or is
// ahead only while another of its own source handshakes, which has one. So a turn comes at the own deadline at the latest.
func (a *admission) next() *arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.line) == 0 {
		return nil
	}
	now := time.Now()
	a.endTurns(now)
	if a.now.Len() >= a.limits.handshakes {
		a.wakeAfter(a.now.Front().Value.(*arrival).begun.Add(a.limits.turn).Sub(now))
		return nil
	}
	first := 0
	for i, c := range a.line {
		if c.from.begun < a.line[first].from.begun {
			first = i
		}
		if a.line[first].from.begun == 0 {
			break
		}
	}
	c := a.line[first]
	if a.line = slices.Delete(a.line, first, first+1); len(a.line) == 0 {
		a.line = nil
	}
	c.begun = now
	c.from.begun++
	c.turn, c.place = turnNow, a.now.PushBack(c)
	return c
}

// endTurns ends the turns that have lasted for long enough: a peer that stalls does not keep others waiting.
func (a *admission) endTurns(now time.Time) {
	for e := a.now.Front(); e != nil; e = a.now.Front() {
		c := e.Value.(*arrival)
		if now.Sub(c.begun) < a.limits.turn {
			return
		}
		a.now.Remove(e)
		c.turn, c.place = turnPast, a.past.PushBack(c)
	}
}

func (a *admission) wakeAfter(wait time.Duration) {
	if a.wake == nil {
		a.wake = time.AfterFunc(wait, a.again)
		return
	}
	a.wake.Reset(wait)
}

// opened is called for each connection that next returned: its handshake is over, however it went. It returns false if it
// had lost its place before.
func (a *admission) opened(c *arrival) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	had := c.turn != turnOver
	a.leave(c)
	return had
}

// leave takes c out of what is not authenticated, unless it is out already. Called with mu held.
func (a *admission) leave(c *arrival) {
	switch c.turn {
	case turnOver:
		return
	case turnNow:
		a.now.Remove(c.place)
	case turnPast:
		a.past.Remove(c.place)
	}
	if c.turn != turnAhead {
		c.from.begun--
	}
	c.turn, c.place = turnOver, nil
	if c.from.arrivals--; c.from.arrivals == 0 {
		delete(a.sources, c.from.address)
	}
}

// ended is called once for each connection that next returned: it is closed.
func (a *admission) ended() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions--
}

// close refuses everyone from now on and returns those who stood in line.
func (a *admission) close() []*arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	line := a.line
	a.closed, a.line = true, nil
	a.sessions -= len(line)
	for _, c := range line {
		a.leave(c)
	}
	if a.wake != nil {
		a.wake.Stop()
	}
	return line
}

func (a *admission) counts() (sessions, handshaking, waiting int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sessions, a.now.Len() + a.past.Len(), len(a.line)
}

// sourceOf returns the source that a connection comes from; called with mu held.
func (a *admission) sourceOf(remote net.Addr) *source {
	var address netip.Addr
	if r, ok := remote.(interface{ AddrPort() netip.AddrPort }); ok {
		address = r.AddrPort().Addr().Unmap().WithZone("")
	}
	if s := a.sources[address]; s != nil {
		return s
	}
	return &source{address: address}
}
