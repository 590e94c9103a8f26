package master

import (
	"context"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// farewell is how long, after the drain window, the last nodes have to read their conn:close when a term ends.
const farewell = 2 * time.Second

// drainWindow is the time over which nodes are sent away when a term ends. It is well within the alive timeout, which is how
// long the next master presumes that they come back.
func drainWindow(aliveTimeout time.Duration) time.Duration {
	return min(protocol.DefaultDrainWindow, aliveTimeout/3)
}

// drain sends the nodes away, spread over a window, and does not wait for it. The listener is closed and the reporter has
// stopped, so the next master may take over at once, and each node that is sent away finds it. Sessions are not reviewed
// meanwhile: one whose permission ends lives on until the end of the window at most.
func (t *activeTerm) drain(ctx context.Context) {
	t.master.draining.Go(func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), protocol.DefaultDrainWindow+farewell)
		defer cancel()
		_ = t.server.Shutdown(bounded) // what did not end in time was ended by force
	})
}
