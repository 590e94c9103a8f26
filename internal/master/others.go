package master

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// others is what the other masters of the ClusterMaster ask and tell this one. It implements peer.Master.
type others struct{ *Master }

// LostAPIServer implements peer.Master.
func (o others) LostAPIServer() bool {
	return o.contact.lost(o.clock.Now(), o.retryPeriod+2*tryTimeout)
}

// Superseded implements peer.Master: terms of an older epoch are over.
func (o others) Superseded(epoch int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for t := range o.terms {
		if t.term.Epoch < epoch {
			t.log.Info("another master says that it is active; this one steps down", "newer", epoch)
			t.supersede()
		}
	}
}

// Released implements peer.Master.
func (o others) Released() {
	select {
	case o.released <- struct{}{}:
	default:
	}
}

// runLink listens for the other masters, if there is a link to them.
func (m *Master) runLink(ctx context.Context, workers *sync.WaitGroup, fail context.CancelCauseFunc) error {
	if m.link == nil {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", m.options.PeerListen)
	if err != nil {
		return fmt.Errorf("cannot listen for other masters: %w", err)
	}
	workers.Go(func() {
		if err := m.link.Serve(ctx, listener); err != nil {
			fail(fmt.Errorf("peer link: %w", err))
		}
	})
	workers.Go(func() { m.link.Run(ctx) })
	return nil
}

// aloneFor is for how long a master without others may take it that there are none.
const aloneFor = 6 * time.Second

// confirm returns until when no other master becomes active, as none can reach the API server; zero if that is not known.
func (m *Master) confirm(ctx context.Context) time.Time {
	t := m.activeTerm()
	switch {
	case t == nil:
		return time.Time{}
	case m.link != nil:
		return m.link.Confirm(ctx, t.term.Epoch)
	}
	if master := m.directory.Master(); master != nil && master.WantedPods() > 1 {
		return time.Time{}
	}
	return m.clock.Now().Add(aloneFor)
}

// takeOver tells the other masters that this one is active now. A master that ends sends its nodes away then, so the Service
// leads here first, if that can be written soon.
func (m *Master) takeOver(ctx context.Context, t *activeTerm) {
	if len(m.options.PodIPs) > 0 {
		soon, cancel := context.WithTimeout(ctx, time.Second)
		_, _ = t.ensureEndpoint(soon) // publishEndpoint goes on, and says what is wrong
		cancel()
	}
	if m.link != nil {
		m.link.TakeOver(ctx, t.term.Epoch)
	}
}

// standBy notes that no term is active.
func (m *Master) standBy() {
	if m.link != nil {
		m.link.StandBy()
	}
}

func (m *Master) tellReleased(ctx context.Context) {
	if m.link != nil {
		m.link.Release(ctx)
	}
}
