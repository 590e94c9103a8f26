package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// node is a node of one's own: it stays in session, comes back when a session ends, and gives up when coming back would
// not help.
type node struct {
	address string
	options protocol.ClientOptions
}

// run returns when ctx ends, or the master refuses the node itself.
func (n node) run(ctx context.Context) error {
	for wait := time.Duration(0); ; wait = min(2*wait+100*time.Millisecond, 30*time.Second) {
		// The jitter is full, so that nodes that lost their master in one moment do not come back in one.
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(rand.N(wait + 1)):
		}
		client, err := n.connect(ctx)
		switch {
		case errors.Is(err, protocol.ErrVersionRefused), errors.Is(err, protocol.ErrDenied):
			return err // Neither is mended by coming back at once (R-7.3).
		case err != nil:
			continue
		}
		wait = 0
		// Run keeps the session alive until one of the sides ends it; when ctx ends it says conn:close.
		if err = client.Run(ctx); ctx.Err() == nil {
			fmt.Println("node:", err)
		}
	}
}

func (n node) connect(ctx context.Context) (*protocol.Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", n.address)
	if err != nil {
		return nil, err
	}
	return protocol.Handshake(ctx, conn, n.options) // It closes conn if it fails.
}

// restless is a master that ends the first session at once, and lets the node go once it is back.
type restless struct {
	gate
	sessions int
	enough   func()
}

func (r *restless) Authenticated(s *protocol.Session) {
	if r.sessions++; r.sessions == 1 {
		s.Close(errors.New("to see whether it comes back"))
		return
	}
	r.enough()
}

func (r *restless) Closed(*protocol.Session, error) {}

// A node of one's own, which publishes its upstream, reports its load, and comes back when its session ends.
func ExampleClient() {
	ctx, stop := context.WithCancelCause(context.Background())
	master := &restless{gate: gate{shared: "sesame"}, enough: func() { stop(errors.New("told to stop")) }}
	server, address := listenAndServe(master)

	options := protocol.DefaultClientOptions()
	options.ID, options.Version, options.Type = "press/1", "0.1.0", "refinery"
	options.Certificate = "sesame"
	options.OnUpstream = func(upstream string) error {
		fmt.Println("node: upstream", upstream)
		return nil // An error is not acknowledged: the node would leave instead (R-4.6).
	}
	options.Load = func() (status, load string, ok bool) { return "pressing", "0.25", true }
	fmt.Println("node:", node{address, options}.run(ctx))

	fmt.Println("shutdown:", server.Shutdown(context.Background()))

	// Output:
	// node: upstream ingest.example.com:34307
	// node: closed by the peer
	// node: upstream ingest.example.com:34307
	// node: told to stop
	// shutdown: <nil>
}

// listenAndServe starts a master on loopback.
func listenAndServe(h protocol.Handler) (server *protocol.Server, address string) {
	server, err := protocol.NewServer(h, protocol.DefaultServerOptions())
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() { _ = server.Serve(listener) }() // Shutdown ends it.
	return server, listener.Addr().String()
}
