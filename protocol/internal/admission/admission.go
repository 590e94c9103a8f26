// Package admission decides which of a master's connections begin their handshake, and when.
package admission

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Why a connection is refused or sent away.
var (
	ErrClosed            = errors.New("server closed")
	ErrTooManySessions   = errors.New("too many sessions")
	ErrTooManyHandshakes = errors.New("too many connections waiting for authentication")
	ErrTooManyFromSource = errors.New("too many connections from this address waiting for authentication")
)

// Arrival is an accepted connection that is not authenticated yet.
type Arrival struct {
	Peer Peer
	Came time.Time

	address netip.Addr // invalid on a transport without any
	from    *source
	begun   time.Time // when its handshake began; zero while it waits
	since   time.Time // when its turn began
	turn    turn
	number  uint64        // in the order in which they came
	place   *list.Element // in the list of its turn
}

// Peer is the other side of a connection.
type Peer interface {
	RemoteAddr() net.Addr
	// Silent reports whether the peer sent nothing that is not read yet. It must not block.
	Silent() bool
}

// Began reports whether Next has returned c.
func (c *Arrival) Began() bool { return !c.begun.IsZero() }

// turn is what an arrival has of the handshakes that may be in flight.
type turn uint8

const (
	turnAhead turn = iota // it waits in line, and nothing is read from it
	turnNow               // its handshake is one of MaxHandshakes
	turnPast              // its handshake is one of MaxSlowHandshakes, and keeps nobody waiting
	turnOver              // it is authenticated, closed, or about to be
)

// Door decides, before anything is spent on a connection, whether it is refused, waits or may begin its handshake
// . Annex A of spec.md has the same as pseudo-code.
type Door struct {
	mu       sync.Mutex
	closed   bool
	limits   Limits
	sessions int // connections open: waiting, handshaking or authenticated
	sources  map[netip.Addr]*source
	callers  map[netip.Addr]int // by address, those that are not authenticated
	line     waitingLine        // turnAhead
	now      list.List          // turnNow, in the order in which their turns began
	past     list.List          // turnPast, in the order in which their turns ended
	done     []time.Time        // when handshakes were completed lately, in order; no more than can be in flight, and one
	again    func()             // called when time has changed who is next, or who has to go; wake is its timer
	wake     *time.Timer
}

// NewDoor returns a door without limits: Configure comes first. again is called, on a goroutine of its own, when time
// has changed what Next returns.
func NewDoor(again func()) *Door {
	return &Door{sources: make(map[netip.Addr]*source), callers: make(map[netip.Addr]int), line: newWaitingLine(), again: again}
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

// Limits are those of a master's options.
type Limits struct {
	Sessions, Handshakes, Slow, Waiting, PerSource int
	// Turn is for how long a handshake keeps others waiting at most, Patience for how long a connection waits for its turn.
	Turn, Patience time.Duration
}

// Configure sets the limits. What is over a new limit already stays.
func (d *Door) Configure(l Limits) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limits = l
}

// Admit puts c in line or returns why it is refused. displaced, if there is one, had its place and has to go. Whoever
// called it then starts whatever Next returns.
func (d *Door) Admit(c *Arrival) (displaced *Arrival, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.address = addressOf(c.Peer.RemoteAddr())
	from := d.sourceOf(c.address)
	switch {
	case d.closed:
		return nil, ErrClosed
	case d.callers[c.address] >= d.limits.PerSource:
		return nil, ErrTooManyFromSource
	case d.sessions >= d.limits.Sessions:
		err = ErrTooManySessions
	case d.line.len() >= d.limits.Waiting:
		err = ErrTooManyHandshakes
	}
	if err != nil {
		if displaced = d.line.spare(from); displaced == nil {
			return nil, err
		}
		d.sendAway(displaced)
	}
	if c.address.IsValid() {
		d.sources[from.network] = from
		d.callers[c.address]++
	}
	c.from = from
	d.sessions++
	d.line.push(c)
	return displaced, nil
}

// Next returns the connection whose turn it is, or nil, and those that have to go: they waited for too long, or lost
// their place to one whose turn it is.
func (d *Door) Next() (c *Arrival, gone []*Arrival) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for c = d.line.oldest(); c != nil && now.Sub(c.Came) >= d.limits.Patience; c = d.line.oldest() {
		d.sendAway(c)
		gone = append(gone, c)
	}
	if c = d.line.first(); c == nil {
		return nil, gone
	}
	displaced, free := d.freeTurn(now, c.from)
	gone = append(gone, displaced...)
	if !free {
		d.wakeAt(now)
		return nil, gone
	}
	d.line.serve(c)
	c.begun, c.since = now, now
	c.turn, c.place = turnNow, d.now.PushBack(c)
	return c, gone
}

// freeTurn makes sure that a turn is free for a connection from there, if one can be: it ends turns that have lasted for
// long enough. Where no place is left for one more such handshake, another of them is displaced.
func (d *Door) freeTurn(now time.Time, from *source) (displaced []*Arrival, free bool) {
	for d.now.Len() >= d.limits.Handshakes {
		longest := d.now.Front().Value.(*Arrival)
		if now.Sub(longest.since) < d.turn(now) {
			return displaced, false
		}
		keeps := d.keepsTurn(now, longest, from)
		if !keeps && d.past.Len() >= d.limits.Slow {
			if slow := d.slowest(longest, from); slow != nil {
				d.leave(slow)
				displaced = append(displaced, slow)
			} else {
				keeps = true
			}
		}
		switch {
		case keeps:
			longest.since = now
			d.now.MoveToBack(longest.place)
		case longest.turn == turnNow:
			d.now.Remove(longest.place)
			longest.turn, longest.place = turnPast, d.past.PushBack(longest)
		}
	}
	return displaced, true
}

// turn returns for how long a handshake keeps others waiting just now.
func (d *Door) turn(now time.Time) time.Duration {
	for len(d.done) > 0 && now.Sub(d.done[0]) >= lateTurns*d.limits.Turn {
		d.done = d.done[1:]
	}
	if d.now.Len()+d.past.Len() < len(d.done) {
		return d.limits.Turn / quickTurns
	}
	return d.limits.Turn
}

// keepsTurn reports whether a handshake whose turn is over has another one, as it waits for this side: to begin more
// handshakes instead would end in none of them being done in time. Nobody can keep a turn for long by sending what is not
// read, nor for more connections than the source has that waits.
func (d *Door) keepsTurn(now time.Time, c *Arrival, from *source) bool {
	return now.Sub(c.begun) < maxTurns*d.limits.Turn && c.from.begun <= from.begun+1 && !c.Peer.Silent()
}

// slowest returns, of the handshakes whose turn is over, longest among them, the first one of the source that has most
// handshakes in flight, if that has at least two more than from. Who comes alone is never displaced.
func (d *Door) slowest(longest *Arrival, from *source) (slow *Arrival) {
	most := from.begun + 1
	for e := d.past.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*Arrival); c.from.begun > most {
			slow, most = c, c.from.begun
		}
	}
	if longest.from.begun > most {
		return longest
	}
	return slow
}

// wakeAt sets the timer to when a turn is over, or a connection has waited for too long, whichever is first.
func (d *Door) wakeAt(now time.Time) {
	wait := min(
		d.line.oldest().Came.Add(d.limits.Patience).Sub(now),
		d.now.Front().Value.(*Arrival).since.Add(d.turn(now)).Sub(now),
	)
	if d.wake == nil {
		d.wake = time.AfterFunc(wait, d.again)
		return
	}
	d.wake.Reset(wait)
}

// Opened is called for each connection that Next returned: its handshake is over, and may have been completed. It returns
// false if it had lost its place before.
func (d *Door) Opened(c *Arrival, completed bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	had := c.turn != turnOver
	d.leave(c)
	if had && completed {
		if len(d.done) > d.limits.Handshakes+d.limits.Slow {
			d.done = d.done[1:]
		}
		d.done = append(d.done, time.Now())
	}
	return had
}

// sendAway takes out of line a connection that is to be closed.
func (d *Door) sendAway(c *Arrival) {
	d.sessions--
	d.leave(c)
}

// leave takes c out of what is not authenticated, unless it is out already. Called with mu held.
func (d *Door) leave(c *Arrival) {
	switch c.turn {
	case turnOver:
		return
	case turnAhead:
		d.line.remove(c)
	case turnNow:
		d.now.Remove(c.place)
	case turnPast:
		d.past.Remove(c.place)
	}
	if c.turn != turnAhead {
		c.from.begun--
		d.line.rank(c.from)
	}
	c.turn, c.place = turnOver, nil
	if c.from.arrivals() == 0 {
		delete(d.sources, c.from.network)
	}
	if d.callers[c.address]--; d.callers[c.address] <= 0 {
		delete(d.callers, c.address)
	}
}

// Ended is called once for each connection that Next returned: it is closed.
func (d *Door) Ended() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions--
}

// Close refuses everyone from now on and returns those who stood in line.
func (d *Door) Close() (line []*Arrival) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for c := d.line.oldest(); c != nil; c = d.line.oldest() {
		d.sendAway(c)
		line = append(line, c)
	}
	if d.wake != nil {
		d.wake.Stop()
	}
	return line
}

// Counts returns how many handshakes are in flight, and how many connections wait.
func (d *Door) Counts() (handshaking, waiting int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now.Len() + d.past.Len(), d.line.len()
}

// sourceOf returns the source that an address belongs to; called with mu held.
func (d *Door) sourceOf(address netip.Addr) *source {
	network := address
	if address.Is6() && !address.IsPrivate() && !address.IsLinkLocalUnicast() {
		prefix, _ := address.Prefix(networkBits) // Fails for more bits than there are only.
		network = prefix.Addr()
	}
	if s := d.sources[network]; s != nil {
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
