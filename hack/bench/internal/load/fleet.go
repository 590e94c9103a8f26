package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/agent/backoff"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// fleet is many nodes in one process. Each is protocol.Client, driven as the agent drives it.
type fleet struct {
	load     *Load
	stop     context.CancelFunc
	attempts atomic.Int64
	killed   atomic.Bool // from here on whoever gets in is back
	back     chan time.Time
}

// Fleet opens so many sessions and keeps them, each by a node that comes back when it loses its session.
func (l *Load) Fleet(nodes int, _ *struct{}) error {
	ctx, stop := context.WithCancel(context.Background())
	l.fleet = &fleet{load: l, stop: stop, back: make(chan time.Time, nodes)}
	clients := make(chan *protocol.Client, nodes)
	err := forEach(nodes, func(int) error {
		client, err := l.fleet.join(ctx)
		if err == nil {
			clients <- client
		}
		return err
	})
	close(clients)
	for client := range clients {
		go l.fleet.live(ctx, client)
	}
	l.fleet.attempts.Store(0)
	return err
}

// Kill announces that the server is killed next.
func (l *Load) Kill(struct{}, *struct{}) error {
	l.fleet.killed.Store(true)
	return nil
}

// Await says since when the server is gone, and how long to wait at most.
type Await struct {
	Since time.Time
	For   time.Duration
}

// Returned is when nodes were back, in order, and how often they had tried to be.
type Returned struct {
	After    []time.Duration
	Attempts int
}

// Await waits until all nodes of the fleet are back, and dissolves it.
func (l *Load) Await(a Await, returned *Returned) error {
	defer l.fleet.stop()
	timeout := time.After(a.For)
	for range cap(l.fleet.back) {
		select {
		case at := <-l.fleet.back:
			returned.After = append(returned.After, at.Sub(a.Since))
		case <-timeout:
			return fmt.Errorf("%d of %d nodes were back after %v", len(returned.After), cap(l.fleet.back), a.For)
		}
	}
	slices.Sort(returned.After)
	returned.Attempts = int(l.fleet.attempts.Load())
	return nil
}

// live keeps one node in session, as the agent's loop does.
func (f *fleet) live(ctx context.Context, client *protocol.Client) {
	schedule := backoff.New(backoff.DefaultMax)
	var err error
	for ctx.Err() == nil {
		var wait time.Duration
		switch { // as the agent does
		case client != nil:
			wait = schedule.Ended(true, client.Run(ctx)) // It would have lived, outside of a benchmark.
		case errors.Is(err, errUnreached):
			wait = schedule.Unreached()
		default:
			wait = schedule.Failed()
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		if client, err = f.join(ctx); err == nil && f.killed.Load() {
			f.back <- time.Now()
		}
	}
}

// errUnreached marks an attempt that reached no master.
var errUnreached = errors.New("no master was reached")

// join is one attempt: dial, TLS, and the opening.
func (f *fleet) join(ctx context.Context) (*protocol.Client, error) {
	f.attempts.Add(1)
	conn, err := f.load.dialer.DialContext(ctx, "tcp", f.load.address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreached, err)
	}
	o := protocol.DefaultClientOptions()
	o.ID, o.Version, o.Type, o.Certificate = "press/press-5f6b-abcde", "0.1.0", "refinery", string(f.load.setting.Credentials.ClientCertificate)
	ctx, cancel := context.WithTimeout(ctx, o.HandshakeTimeout)
	defer cancel()
	if f.load.config != nil {
		secured := tls.Client(conn, f.load.config)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // It has failed already.
			return nil, err
		}
		conn = secured
	}
	return protocol.Handshake(ctx, conn, o)
}
