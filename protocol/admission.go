package protocol

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// arrival is an accepted connection that is not authenticated yet.
type arrival struct {
	conn    net.Conn
	address netip.Addr // invalid on a transport without any
	from    *source
	came    time.Time
	begun   time.Time // when its handshake began; zero while it waits
	since   time.Time // when its turn began
	turn    turn
	number  uint64        // in the order in which they came
	place   *list.Element // in the list of its turn
	session atomic.Pointer[Session]
}

// turn is what an arrival has of the handshakes that may be in flight.
type turn uint8

const (
	turnAhead turn = iota // it waits in line, and nothing is read from it
	turnNow               // its handshake is one of MaxHandshakes
	turnPast              // its handshake is one of MaxSlowHandshakes, and keeps nobody waiting
	turnOver              // it is authenticated, closed, or about to be
)

// admission decides, before anything is spent on a connection, whether it is refused, waits or may begin its handshake
//
type admission struct {
	mu       sync.Mutex
	closed   bool
	limits   admissionLimits
	sessions int // connections open: waiting, handshaking or authenticated
	sources  map[netip.Addr]*source
	callers  map[netip.Addr]int // by address, those that are not authenticated
	line     waitingLine        // turnAhead
	now      list.List          // turnNow, in the order in which their turns began
	past     list.List          // turnPast, in the order in which their turns ended
	done     []time.Time        // when handshakes were completed lately, in order; no more than can be in flight, and one
	// silent reports whether the peer of a connection sent nothing that is not read yet.
	silent func(net.Conn) bool
	// again is called when time has changed who is next, or has to go; wake is its timer.
	again func()
	wake  *time.Timer
}

// maxTurns is how many whole turns a handshake has at most that waits for this side.
const maxTurns = 8

// A turn is a part of a whole one, one of quickTurns, while fewer handshakes are in flight than were completed within
// lateTurns whole ones: then it is the way to the peers that takes time, and to wait for them would keep a fleet far away
// from coming back as soon as it could. A server that is slow completes fewer than it has in flight.
const (
	quickTurns = 5
	lateTurns  = 4
)

// networkBits is how much of a global IPv6 address tells sources apart: the rest a host chooses as it likes (RFC 4291, section
// 2.5.1). Private addresses are those of a cluster, whose nodes share a network and are given their addresses.
const networkBits = 64

type admissionLimits struct {
	sessions, handshakes, slow, waiting, perSource int
	// turn is for how long a handshake keeps others waiting at most, patience for how long a connection waits for its turn.
	turn, patience time.Duration
}

// configure sets the limits. What is over a new limit already stays.
func (a *admission) configure(o *ServerOptions) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits = admissionLimits{
		sessions: o.MaxSessions, handshakes: o.MaxHandshakes, slow: o.MaxSlowHandshakes, waiting: o.MaxWaiting,
		perSource: o.MaxHandshakesPerSource, turn: min(o.HandshakeTurn, o.HandshakeTimeout/8), patience: o.HandshakeTimeout / 2,
	}
	if a.sources == nil {
		a.sources, a.callers, a.line = make(map[netip.Addr]*source), make(map[netip.Addr]int), newWaitingLine()
	}
}

// admit puts c in line or returns why it is refused. displaced, if there is one, had its place and has to go. Whoever
// called it then starts whatever next returns.
func (a *admission) admit(c *arrival) (displaced *arrival, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.address = addressOf(c.conn.RemoteAddr())
	from := a.sourceOf(c.address)
	switch {
	case a.closed:
		return nil, ErrServerClosed
	case a.callers[c.address] >= a.limits.perSource:
		return nil, ErrTooManyFromSource
	case a.sessions >= a.limits.sessions:
		err = ErrTooManySessions
	case a.line.len() >= a.limits.waiting:
		err = ErrTooManyHandshakes
	}
	if err != nil {
		if displaced = a.line.spare(from); displaced == nil {
			return nil, err
		}
		a.sendAway(displaced)
	}
	if c.address.IsValid() {
		a.sources[from.network] = from
		a.callers[c.address]++
	}
	c.from = from
	a.sessions++
	a.line.push(c)
	return displaced, nil
}

// next returns the connection whose turn it is, or nil, and those that have to go: they waited for too long, or lost
// their place to one whose turn it is.
func (a *admission) next() (c *arrival, gone []*arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for c = a.line.oldest(); c != nil && now.Sub(c.came) >= a.limits.patience; c = a.line.oldest() {
		a.sendAway(c)
		gone = append(gone, c)
	}
	if c = a.line.first(); c == nil {
		return nil, gone
	}
	displaced, free := a.freeTurn(now, c.from)
	gone = append(gone, displaced...)
	if !free {
		a.wakeAt(now)
		return nil, gone
	}
	a.line.serve(c)
	c.begun, c.since = now, now
	c.turn, c.place = turnNow, a.now.PushBack(c)
	return c, gone
}

// freeTurn makes sure that a turn is free for a connection from there, if one can be: it ends turns that have lasted for
// long enough. Where no place is left for one more such handshake, another of them is displaced.
func (a *admission) freeTurn(now time.Time, from *source) (displaced []*arrival, free bool) {
	for a.now.Len() >= a.limits.handshakes {
		longest := a.now.Front().Value.(*arrival)
		if now.Sub(longest.since) < a.turn(now) {
			return displaced, false
		}
		keeps := a.keepsTurn(now, longest, from)
		if !keeps && a.past.Len() >= a.limits.slow {
			if slow := a.slowest(longest, from); slow != nil {
				a.leave(slow)
				displaced = append(displaced, slow)
			} else {
				keeps = true
			}
		}
		switch {
		case keeps:
			longest.since = now
			a.now.MoveToBack(longest.place)
		case longest.turn == turnNow:
			a.now.Remove(longest.place)
			longest.turn, longest.place = turnPast, a.past.PushBack(longest)
		}
	}
	return displaced, true
}

// turn returns for how long a handshake keeps others waiting just now.
func (a *admission) turn(now time.Time) time.Duration {
	for len(a.done) > 0 && now.Sub(a.done[0]) >= lateTurns*a.limits.turn {
		a.done = a.done[1:]
	}
	if a.now.Len()+a.past.Len() < len(a.done) {
		return a.limits.turn / quickTurns
	}
	return a.limits.turn
}

// keepsTurn reports whether a handshake whose turn is over has another one, as it waits for this side: to begin more
// handshakes instead would end in none of them being done in time. Nobody can keep a turn for long by sending what is not
// read, nor for more connections than the source has that waits.
func (a *admission) keepsTurn(now time.Time, c *arrival, from *source) bool {
	return now.Sub(c.begun) < maxTurns*a.limits.turn && c.from.begun <= from.begun+1 && !a.silent(c.conn)
}

// slowest returns, of the handshakes whose turn is over, longest among them, the first one of the source that has most
// handshakes in flight, if that has at least two more than from. Who comes alone is never displaced.
func (a *admission) slowest(longest *arrival, from *source) (slow *arrival) {
	most := from.begun + 1
	for e := a.past.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*arrival); c.from.begun > most {
			slow, most = c, c.from.begun
		}
	}
	if longest.from.begun > most {
		return longest
	}
	return slow
}

// wakeAt sets the timer to when a turn is over, or a connection has waited for too long, whichever is first.
func (a *admission) wakeAt(now time.Time) {
	wait := min(
		a.line.oldest().came.Add(a.limits.patience).Sub(now),
		a.now.Front().Value.(*arrival).since.Add(a.turn(now)).Sub(now),
	)
	if a.wake == nil {
		a.wake = time.AfterFunc(wait, a.again)
		return
	}
	a.wake.Reset(wait)
}

// opened is called for each connection that next returned: its handshake is over, and may have been completed. It returns
// false if it had lost its place before.
func (a *admission) opened(c *arrival, completed bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	had := c.turn != turnOver
	a.leave(c)
	if had && completed {
		if len(a.done) > a.limits.handshakes+a.limits.slow {
			a.done = a.done[1:]
		}
		a.done = append(a.done, time.Now())
	}
	return had
}

// sendAway takes out of line a connection that is to be closed.
func (a *admission) sendAway(c *arrival) {
	a.sessions--
	a.leave(c)
}

// leave takes c out of what is not authenticated, unless it is out already. Called with mu held.
func (a *admission) leave(c *arrival) {
	switch c.turn {
	case turnOver:
		return
	case turnAhead:
		a.line.remove(c)
	case turnNow:
		a.now.Remove(c.place)
	case turnPast:
		a.past.Remove(c.place)
	}
	if c.turn != turnAhead {
		c.from.begun--
		a.line.rank(c.from)
	}
	c.turn, c.place = turnOver, nil
	if c.from.arrivals() == 0 {
		delete(a.sources, c.from.network)
	}
	if a.callers[c.address]--; a.callers[c.address] <= 0 {
		delete(a.callers, c.address)
	}
}

// ended is called once for each connection that next returned: it is closed.
func (a *admission) ended() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions--
}

// close refuses everyone from now on and returns those who stood in line.
func (a *admission) close() (line []*arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for c := a.line.oldest(); c != nil; c = a.line.oldest() {
		a.sendAway(c)
		line = append(line, c)
	}
	if a.wake != nil {
		a.wake.Stop()
	}
	return line
}

func (a *admission) counts() (handshaking, waiting int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now.Len() + a.past.Len(), a.line.len()
}

// sourceOf returns the source that an address belongs to; called with mu held.
func (a *admission) sourceOf(address netip.Addr) *source {
	network := address
	if address.Is6() && !address.IsPrivate() && !address.IsLinkLocalUnicast() {
		prefix, _ := address.Prefix(networkBits) // Fails for more bits than there are only.
		network = prefix.Addr()
	}
	if s := a.sources[network]; s != nil {
		return s
	}
	return &source{network: network}
}

// addressOf returns the IP address of a peer, however it is written, or an invalid one.
func addressOf(remote net.Addr) netip.Addr {
	if r, ok := remote.(interface{ AddrPort() netip.AddrPort }); ok {
		return r.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
