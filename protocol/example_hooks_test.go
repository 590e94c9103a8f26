package protocol_test

import (
	"context"
	"expvar"
	"fmt"
	"net"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// meter counts, by code, what goes over the wire. Any metrics library or tracer takes the place of expvar: all hooks are
// plain functions.
type meter struct{ messages, bytes expvar.Map }

func (m *meter) count(t protocol.TracedMessage) {
	key := "received " + t.Code
	if t.Sent {
		key = "sent " + t.Code
	}
	m.messages.Add(key, 1)
	m.bytes.Add(key, int64(t.Bytes))
}

// Hooks for tracing and metrics, on both sides, and what a Server counts by itself.
func ExampleServerOptions_metrics() {
	var master, node meter
	var refused expvar.Map

	options := protocol.DefaultServerOptions()
	options.OnMessage = func(_ *protocol.Session, t protocol.TracedMessage) { master.count(t) }
	options.OnRefused = func(_ net.Addr, reason error) { refused.Add(reason.Error(), 1) }
	options.OnPanic = func(s *protocol.Session, err *protocol.PanicError) {
		if s != nil { // There is none where OnRefused panics.
			fmt.Printf("session of %s: ", s.ID())
		}
		fmt.Printf("%v\n%s", err, err.Stack)
	}
	server, err := protocol.NewServer(gate{shared: "sesame"}, options)
	if err != nil {
		fmt.Println(err)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { _ = server.Serve(listener) }() // Shutdown ends it.

	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	nodeOptions := protocol.DefaultClientOptions()
	nodeOptions.ID, nodeOptions.Version, nodeOptions.Type, nodeOptions.Certificate = "press/1", "0.1.0", "refinery", "sesame"
	nodeOptions.OnMessage = node.count
	client, err := protocol.Handshake(context.Background(), conn, nodeOptions)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = client.Close()
	_ = server.Shutdown(context.Background())

	fmt.Println(master.bytes.String())
	fmt.Println(node.messages.String())
	fmt.Println("refused:", refused.String())
	stats := server.Stats()
	fmt.Println(stats.Accepted, "accepted,", stats.Authenticated, "authenticated,", stats.Refused, "refused")

	// Unordered output:
	// master: authenticated press/1
	// master: press/1 closed by the peer
	// {"received auth:ack": 15, "received auth:start": 34, "received conn:close": 17, "received conn:establish": 73, "sent auth:ack": 54, "sent conn:startAuth": 21}
	// {"received auth:ack": 1, "received conn:startAuth": 1, "sent auth:ack": 1, "sent auth:start": 1, "sent conn:close": 1, "sent conn:establish": 1}
	// refused: {}
	// 1 accepted, 1 authenticated, 0 refused
}
