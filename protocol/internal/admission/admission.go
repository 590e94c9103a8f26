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

// Why a connection is refused, or closed before it is authenticated.
var (
	ErrClosed            = errors.New("server closed")
	ErrTooManySessions   = errors.New("too many sessions")
	ErrTooManyHandshakes = errors.New("too many connections waiting for authentication")
	ErrTooManyFromSource = errors.New("too many connections from this address waiting for authentication")
)

// Arrival is an accepted connection until it is authenticated. Its maker sets the exported fields.
type Arrival struct {
	Peer Peer
	Came time.Time

	address netip.Addr // not valid on a transport without IP addresses
	source  *source
	stage   stage
	began   time.Time     // when its handshake began; zero while it waits
	since   time.Time     // when its turn began; a handshake can have several turns, one after the other
	number  uint64        // counts arrivals and turns, so that they can be put in order
	place   *list.Element // in the list of its stage
	queued  *list.Element // in source.waiting, while it waits
	quiet   *list.Element // in caller.quiet; nil once the peer was heard
}

// Peer is the other side of a connection.
type Peer interface {
	RemoteAddr() net.Addr
	// Silent reports whether everything that the peer sent is read. It must not block.
	Silent() bool
	// Heard reports whether the peer has sent anything, read or not. It must not block.
	Heard() bool
}

// Began reports whether Next has returned c.
func (c *Arrival) Began() bool { return !c.began.IsZero() }

// stage is how far an arrival is. It never goes back.
type stage uint8

const (
	waits   stage = iota // nothing is read from it
	hasTurn              // its handshake is one of Limits.Handshakes
	isSlow               // its turn is over: its handshake is one of Limits.Slow, and keeps nobody waiting
	isOver               // it is authenticated, closed, or about to be closed
)

// Door decides, before anything is spent on a connection, whether it is refused, waits or may begin its handshake
// . Annex A of spec.md has the same as pseudo-code.
type Door struct {
	mu        sync.Mutex
	closed    bool
	limits    Limits
	sessions  int // open connections, in whatever stage, and those that are authenticated
	sources   map[netip.Addr]*source
	callers   map[netip.Addr]*caller
	line      waitingLine // of those that wait
	turns     list.List   // of those that have a turn, in the order in which these turns began
	slow      list.List   // of those that are slow, in the order in which they lost their turn
	completed []time.Time // when the last handshakes were completed, oldest first; one more than can be in flight at most
	changed   func()      // called when time alone has changed what Next returns
	wake      *time.Timer // calls changed
}

// caller is an address with its connections that are not authenticated.
type caller struct {
	arrivals int
	quiet    list.List // of those from which nothing was heard when it was last looked, in the order in which they came
}

// NewDoor returns a door without limits: call Configure first. changed is called on a goroutine of its own when time
// alone has changed what Next returns.
func NewDoor(changed func()) *Door {
	return &Door{sources: make(map[netip.Addr]*source), callers: make(map[netip.Addr]*caller), line: newWaitingLine(), changed: changed}
}

// maxTurns is the most turns that a handshake gets because the master is slow.
const maxTurns = 8

// A turn is short, a quickTurns-th of a whole one, while fewer handshakes are in flight than were completed within the
// last lateTurns whole turns. Then the network is what takes time, and to wait for it would keep a distant fleet from
// coming back as soon as it could. A master that is slow itself completes fewer than it has in flight.
const (
	quickTurns = 5
	lateTurns  = 4
)

// networkBits is how many bits of an IPv6 address tell sources apart: a host can choose the others as it likes (RFC 4291,
// section 2.5.1), of a unique local address (RFC 4193) too. Link-local addresses share one prefix, and so count whole.
const networkBits = 64

// Limits of a Door. The counts are a server's options MaxSessions, MaxHandshakes, MaxSlowHandshakes, MaxWaiting and
// MaxHandshakesPerSource.
type Limits struct {
	Sessions, Handshakes, Slow, Waiting, PerSource int
	Turn                                           time.Duration // the longest that a turn lasts while others wait
	Patience                                       time.Duration // the longest that a connection waits for its turn
}

// Configure sets the limits. Connections over a new limit stay.
func (d *Door) Configure(l Limits) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limits = l
}

// Admit lets c wait for its turn, or returns why it is refused. Either way the caller closes those that made room for it: own, of the
// same address, and other, if they are not nil. Then it calls Next.
func (d *Door) Admit(c *Arrival) (own, other *Arrival, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, ErrClosed
	}
	c.address = addressOf(c.Peer.RemoteAddr())
	if from := d.callers[c.address]; from != nil && from.arrivals >= d.limits.PerSource {
		if own = from.oldestQuiet(); own == nil {
			return nil, nil, ErrTooManyFromSource
		}
		d.sendAway(own)
	}
	from := d.sourceOf(c.address)
	switch {
	case d.sessions >= d.limits.Sessions:
		err = ErrTooManySessions
	case d.line.len() >= d.limits.Waiting:
		err = ErrTooManyHandshakes
	}
	if err != nil {
		if other = d.line.spare(from); other == nil {
			return own, nil, err
		}
		d.sendAway(other)
	}
	if c.address.IsValid() {
		d.sources[from.network] = from
		d.call(c)
	}
	c.source = from
	d.sessions++
	d.line.push(c)
	return own, other, nil
}

// call counts c among the connections of its address.
func (d *Door) call(c *Arrival) {
	from := d.callers[c.address]
	if from == nil {
		from = &caller{}
		d.callers[c.address] = from
	}
	from.arrivals++
	c.quiet = from.quiet.PushBack(c)
}

// oldestQuiet returns the oldest connection from which nothing has come, or nil. Who was heard once is not looked at again, so
// that this takes constant time on average.
func (from *caller) oldestQuiet() *Arrival {
	for e := from.quiet.Front(); e != nil; e = from.quiet.Front() {
		c := e.Value.(*Arrival)
		if !c.Peer.Heard() {
			return c
		}
		from.quiet.Remove(e)
		c.quiet = nil
	}
	return nil
}

// Next returns the connection whose handshake begins now, or nil. The caller closes those in gone: they have waited for
// too long, or lost their place to another.
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
	displaced, free := d.makeRoom(now, c.source)
	gone = append(gone, displaced...)
	if !free {
		d.wakeAt(now)
		return nil, gone
	}
	d.line.serve(c)
	c.began, c.since = now, now
	c.stage, c.place = hasTurn, d.turns.PushBack(c)
	return c, gone
}

// makeRoom ends turns that have lasted long enough, until one is free for a connection from that source, and reports
// whether one is. Where there is no place for one more slow handshake, one is displaced.
func (d *Door) makeRoom(now time.Time, from *source) (displaced []*Arrival, free bool) {
	for d.turns.Len() >= d.limits.Handshakes {
		longest := d.turns.Front().Value.(*Arrival)
		if now.Sub(longest.since) < d.turnLength(now) {
			return displaced, false
		}
		keeps := d.masterIsSlow(now, longest, from)
		if !keeps && d.slow.Len() >= d.limits.Slow {
			if slow := d.mostOf(longest, from); slow != nil {
				d.leave(slow)
				displaced = append(displaced, slow)
			} else {
				keeps = true
			}
		}
		switch {
		case keeps:
			longest.since = now
			d.turns.MoveToBack(longest.place)
		case longest.stage == hasTurn:
			d.turns.Remove(longest.place)
			longest.stage, longest.place = isSlow, d.slow.PushBack(longest)
		}
	}
	return displaced, true
}

// turnLength returns for how long a handshake keeps others waiting just now.
func (d *Door) turnLength(now time.Time) time.Duration {
	for len(d.completed) > 0 && now.Sub(d.completed[0]) >= lateTurns*d.limits.Turn {
		d.completed = d.completed[1:]
	}
	if d.turns.Len()+d.slow.Len() < len(d.completed) {
		return d.limits.Turn / quickTurns
	}
	return d.limits.Turn
}

// masterIsSlow reports whether c, whose turn is over, waits for this side and so gets another turn: a slow master that
// began more handshakes instead would finish none in time. A peer that sends what is never read gains maxTurns at most,
// and for no more connections than the source that waits has, and one.
func (d *Door) masterIsSlow(now time.Time, c *Arrival, from *source) bool {
	return now.Sub(c.began) < maxTurns*d.limits.Turn && c.source.inFlight <= from.inFlight+1 && !c.Peer.Silent()
}

// mostOf returns the handshake to displace for one from that source, or nil. Of the slow ones, and longest, it is the first
// of the source with the most in flight, if that has at least two more than from: so a single one is never displaced.
func (d *Door) mostOf(longest *Arrival, from *source) (slow *Arrival) {
	most := from.inFlight + 1
	for e := d.slow.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*Arrival); c.source.inFlight > most {
			slow, most = c, c.source.inFlight
		}
	}
	if longest.source.inFlight > most {
		return longest
	}
	return slow
}

// wakeAt sets the timer to when the oldest turn ends, or the oldest connection has waited for too long.
func (d *Door) wakeAt(now time.Time) {
	wait := min(
		d.line.oldest().Came.Add(d.limits.Patience).Sub(now),
		d.turns.Front().Value.(*Arrival).since.Add(d.turnLength(now)).Sub(now),
	)
	if d.wake == nil {
		d.wake = time.AfterFunc(wait, d.changed)
		return
	}
	d.wake.Reset(wait)
}

// Opened is called when the handshake of a connection that Next returned is over, completed or not. It returns false if
// the connection had lost its place before.
func (d *Door) Opened(c *Arrival, completed bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	had := c.stage != isOver
	d.leave(c)
	if had && completed {
		if len(d.completed) > d.limits.Handshakes+d.limits.Slow {
			d.completed = d.completed[1:]
		}
		d.completed = append(d.completed, time.Now())
	}
	return had
}

// sendAway takes a connection out of the counts of those that are not authenticated. The caller closes it. One whose handshake has
// begun counts as open until then. Called with mu held.
func (d *Door) sendAway(c *Arrival) {
	if c.stage == waits {
		d.sessions--
	}
	d.leave(c)
}

// leave ends that c counts as not authenticated. It may be called again. Called with mu held.
func (d *Door) leave(c *Arrival) {
	switch c.stage {
	case isOver:
		return
	case waits:
		d.line.remove(c)
	case hasTurn:
		d.turns.Remove(c.place)
	case isSlow:
		d.slow.Remove(c.place)
	}
	if c.stage != waits {
		c.source.inFlight--
		d.line.rank(c.source)
	}
	c.stage, c.place = isOver, nil
	if c.source.arrivals() == 0 {
		delete(d.sources, c.source.network)
	}
	d.hangUp(c)
}

// hangUp ends that c counts among the connections of its address.
func (d *Door) hangUp(c *Arrival) {
	from := d.callers[c.address]
	if from == nil {
		return // it has no address
	}
	if c.quiet != nil {
		from.quiet.Remove(c.quiet)
		c.quiet = nil
	}
	if from.arrivals--; from.arrivals == 0 {
		delete(d.callers, c.address)
	}
}

// Ended is called once for each connection that Next returned, when it is closed.
func (d *Door) Ended() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions--
}

// Close refuses every connection from now on, and returns those that wait.
func (d *Door) Close() (waiting []*Arrival) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for c := d.line.oldest(); c != nil; c = d.line.oldest() {
		d.sendAway(c)
		waiting = append(waiting, c)
	}
	if d.wake != nil {
		d.wake.Stop()
	}
	return waiting
}

// Counts returns how many handshakes are in flight, and how many connections wait.
func (d *Door) Counts() (handshaking, waiting int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.turns.Len() + d.slow.Len(), d.line.len()
}

// sourceOf returns the source that an address belongs to; called with mu held.
func (d *Door) sourceOf(address netip.Addr) *source {
	network := address
	if address.Is6() && !address.IsLinkLocalUnicast() {
		prefix, _ := address.Prefix(networkBits) // Fails for more bits than there are only.
		network = prefix.Addr()
	}
	if s := d.sources[network]; s != nil {
		return s
	}
	return &source{network: network}
}

// addressOf returns the IP address of a peer, in one form of several, or one that is not valid if it has none.
func addressOf(remote net.Addr) netip.Addr {
	if r, ok := remote.(interface{ AddrPort() netip.AddrPort }); ok {
		return r.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
