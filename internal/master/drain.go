package master

import (
	"context"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol"
)

const (
	// farewell is how long, after the drain window, the last nodes have to read their conn:close when a term ends.
	farewell = 2 * time.Second
	// handoverFor is how long a master that ends waits for the next one.
	handoverFor = 5 * time.Second
	// settleFor is how long the Service may take to lead to the next master.
	settleFor = time.Second
)

// drainWindow is the time over which nodes are sent away when a term ends. It is well within the alive timeout, which is how
// long the next master presumes that they come back.
func drainWindow(aliveTimeout time.Duration) time.Duration {
	return min(protocol.DefaultDrainWindow, aliveTimeout/3)
}

// drain sends the nodes away, spread over a window, and does not wait for it; at its end it calls done. The reporter has stopped,
// so the next master may take over at once. Where this process ends, and nothing happened to it, it serves on until the next one
// does, so that each node that is sent away finds it.
func (t *activeTerm) drain(ctx context.Context, done func()) {
	t.master.draining.Go(func() {
		defer done()
		if t.ending() {
			t.awaitSuccessor()
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), protocol.DefaultDrainWindow+farewell)
		defer cancel()
		_ = t.server.Shutdown(bounded) // what did not end in time was ended by force
	})
}

// awaitSuccessor waits until another master is active, for a bounded time: there may be none. Then it gives the Service a moment
// to lead there.
func (t *activeTerm) awaitSuccessor() {
	select {
	case <-t.superseded:
		<-t.master.clock.After(t.master.settle)
	case <-t.master.clock.After(t.master.handover):
	}
}
