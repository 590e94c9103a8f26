package protocol

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// arrival is an accepted connection that is not authenticated yet.
type arrival struct {
	conn     net.Conn
	source   netip.Addr // the zero Addr if the transport has no IP addresses: no limit per source then
	deadline time.Time  // of the whole handshake, waiting included
}

// admission decides, before anything is spent on a connection, whether it is refused, waits or may begin its handshake.
// The line needs no timers: whoever stands ahead has an earlier deadline, so a turn comes at the own deadline at the
// latest.
type admission struct {
	mu          sync.Mutex
	closed      bool
	limits      admissionLimits
	sessions    int // connections open: waiting, handshaking or authenticated
	handshaking int
	line        []*arrival
	sources     map[netip.Addr]int // connections not authenticated yet
}

type admissionLimits struct{ sessions, handshakes, waiting, perSource int }

// configure sets the limits. What is over a new limit already stays.
func (a *admission) configure(o *ServerOptions) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits = admissionLimits{o.MaxSessions, o.MaxHandshakes, o.MaxWaiting, o.MaxHandshakesPerSource}
	if a.sources == nil {
		a.sources = make(map[netip.Addr]int)
	}
}

// admit puts c in line or returns why it is refused. Whoever called it then starts whatever next returns.
func (a *admission) admit(c *arrival) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return ErrServerClosed
	case a.sessions >= a.limits.sessions:
		return ErrTooManySessions
	case c.source.IsValid() && a.sources[c.source] >= a.limits.perSource:
		return ErrTooManyFromSource
	case a.handshaking >= a.limits.handshakes && len(a.line) >= a.limits.waiting:
		return ErrTooManyHandshakes
	}
	a.sessions++
	if c.source.IsValid() {
		a.sources[c.source]++
	}
	a.line = append(a.line, c)
	return nil
}

// next returns the connection whose turn it is, or nil.
func (a *admission) next() *arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.line) == 0 || a.handshaking >= a.limits.handshakes {
		return nil
	}
	c := a.line[0]
	a.line[0] = nil
	if a.line = a.line[1:]; len(a.line) == 0 {
		a.line = nil
	}
	a.handshaking++
	return c
}

// opened is called once for each connection that next returned: its handshake is over, however it went.
func (a *admission) opened(source netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handshaking--
	a.forget(source)
}

func (a *admission) forget(source netip.Addr) {
	if !source.IsValid() {
		return
	}
	if a.sources[source]--; a.sources[source] == 0 {
		delete(a.sources, source)
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
		a.forget(c.source)
	}
	return line
}

func (a *admission) counts() (sessions, handshaking, waiting int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sessions, a.handshaking, len(a.line)
}

// sourceOf returns the IP address that a connection comes from.
func sourceOf(remote net.Addr) netip.Addr {
	if a, ok := remote.(interface{ AddrPort() netip.AddrPort }); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
