// Package relay is a TCP proxy with one upstream at a time, which may change: new connections go to the current one, and those there are
// stay where they are until they end, or until the drain time after a move is over.
package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// sweepInterval is how often all links are looked at: what they have moved is counted, and how long they have been quiet.
	sweepInterval = 10 * time.Second
	// quietSweeps is for how many sweeps the log has one line at most about connections that are refused for one reason.
	quietSweeps = 6
	// acceptPause follows an error of accept, such as having no descriptors left.
	acceptPause = 100 * time.Millisecond
)

// keepAlive finds out within 75 s that a peer's machine is gone.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 4}

// Options of a relay.
type Options struct {
	// Upstream returns where new connections go, as host:port, "" while there is nowhere, and a channel that is closed when that is
	// different.
	Upstream func() (address string, changed <-chan struct{})
	// MaxConnections bounds how many connections there are at one time. One more is refused.
	MaxConnections int
	// Drain is how long a connection stays where it is after the upstream has become another one; 0: it does not.
	Drain time.Duration
	// IdleTimeout is for how long nothing may move on a connection; 0: for any time. It is looked at in every sweep.
	IdleTimeout time.Duration
	// AfterFunc is time.AfterFunc, in the place of which tests put a clock of their own.
	AfterFunc func(d time.Duration, f func()) (stop func() bool)
	// Log gets addresses and counts, and nothing of what is relayed.
	Log *slog.Logger
}

// Relay is made by New.
type Relay struct {
	Counters
	options Options
	self    netip.AddrPort // where it listens
	running sync.WaitGroup

	mu      sync.Mutex
	links   map[*link]struct{}
	current string // the upstream by which links were last told to stay or to drain
	closed  bool
	told    map[Outcome]bool // refusals that the log has a line about already
}

// New returns a relay that Serve can be called on once.
func New(options Options) *Relay {
	if options.AfterFunc == nil {
		options.AfterFunc = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	return &Relay{Counters: newCounters(), options: options, links: map[*link]struct{}{}, told: map[Outcome]bool{}}
}

// Listen listens on host:port for Serve.
func Listen(address string) (*net.TCPListener, error) {
	l, err := (&net.ListenConfig{KeepAliveConfig: keepAlive}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// Serve relays what comes in on l until ctx is done, and returns nil then. Any other return is an error of l. It closes l, and
// returns when every connection is closed.
func (r *Relay) Serve(ctx context.Context, l *net.TCPListener) error {
	ctx, cancel := context.WithCancel(ctx)
	r.self = l.Addr().(*net.TCPAddr).AddrPort()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // a second close fails, and changes nothing
	r.running.Go(func() { r.follow(ctx) })
	r.running.Go(func() { r.sweep(ctx) })
	err := r.accept(ctx, l)
	cancel()
	if stop() {
		_ = l.Close() // it has failed already
	}
	r.cutAll()
	r.running.Wait()
	return err
}

func (r *Relay) accept(ctx context.Context, l *net.TCPListener) error {
	for {
		client, err := l.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				abort(client)
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			r.refused(notAccepted, "", err)
			r.pause(ctx, acceptPause)
		case int(r.Open.Load()) >= r.options.MaxConnections: // only this goroutine adds to it
			r.refuse(client, Limited, "", nil)
		default:
			r.Open.Add(1)
			r.running.Go(func() { r.admit(ctx, client) })
		}
	}
}

// admit opens the client's way to the upstream. The link has goroutines of its own: their stacks have not grown by dialing.
func (r *Relay) admit(ctx context.Context, client *net.TCPConn) {
	upstream, address, err := r.open(ctx)
	if err != nil {
		r.Open.Add(-1)
		if ctx.Err() != nil {
			abort(client)
			return
		}
		r.refuse(client, outcomeOf(err), address, err)
		return
	}
	r.Connections[Relayed].Add(1)
	r.join(newLink(client, upstream, address, &r.Counters))
}

func (r *Relay) refuse(client *net.TCPConn, o Outcome, address string, err error) {
	r.Connections[o].Add(1)
	abort(client)
	r.refused(o, address, err)
}

// refused writes a line about the first refusal for a reason, and the next when a minute has passed. The counters have all of them.
func (r *Relay) refused(o Outcome, address string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[o] {
		return
	}
	r.told[o] = true
	attributes := []any{"reason", string(o), "open", r.Open.Load()}
	if address != "" {
		attributes = append(attributes, "upstream", address)
	}
	if err != nil {
		attributes = append(attributes, "error", err.Error())
	}
	r.options.Log.Warn("the relay refuses connections", attributes...)
}

// join starts a link.
func (r *Relay) join(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links[l] = struct{}{}
	r.settle(l)
	if r.closed {
		l.cut(nil)
	}
	for i := range l.flows {
		r.running.Go(func() {
			if l.run(&l.flows[i]) {
				r.leave(l)
			}
		})
	}
}

// leave forgets a link that has ended.
func (r *Relay) leave(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.links, l)
	if l.stopDrain != nil {
		l.stopDrain()
	}
	r.Open.Add(-1)
}

// follow tells the links when the upstream becomes another one.
func (r *Relay) follow(ctx context.Context) {
	for {
		address, changed := r.options.Upstream()
		r.moveTo(address)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

func (r *Relay) moveTo(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = address
	for l := range r.links {
		r.settle(l)
	}
}

// settle lets a link stay that is on the current upstream, and drains any other. It needs r.mu held.
func (r *Relay) settle(l *link) {
	stays := r.current == "" || r.current == l.address
	switch {
	case stays && l.stopDrain != nil:
		l.stopDrain()
		l.stopDrain = nil
	case !stays && l.stopDrain == nil:
		l.stopDrain = r.options.AfterFunc(r.options.Drain, func() { l.cut(r.Cut[Moved]) })
	}
}

// sweep looks at every link again and again.
func (r *Relay) sweep(ctx context.Context) {
	for n := 1; r.pause(ctx, sweepInterval); n++ {
		r.mu.Lock()
		for l := range r.links {
			if l.quietFor() >= l.mayBeQuiet(r.options.IdleTimeout) {
				l.cut(r.Cut[Idle])
			}
		}
		if n%quietSweeps == 0 {
			clear(r.told)
		}
		r.mu.Unlock()
	}
}

// cutAll ends every link there is, and every one that is still to come.
func (r *Relay) cutAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for l := range r.links {
		l.cut(nil)
	}
}

// pause waits for d, and reports whether ctx is not done.
func (r *Relay) pause(ctx context.Context, d time.Duration) bool {
	ctx, cancel := r.within(ctx, d)
	defer cancel()
	<-ctx.Done()
	return errors.Is(context.Cause(ctx), errLate)
}

// errLate is why a context of within has ended, if not with its parent.
var errLate = errors.New("it took too long")

// within is context.WithTimeout by the relay's clock.
func (r *Relay) within(ctx context.Context, d time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := r.options.AfterFunc(d, func() { cancel(errLate) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
