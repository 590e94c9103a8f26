package protocol_test

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// inMemory is a transport of one's own: a net.Listener whose connections never leave the process. A Unix socket, an SSH
// channel or a WebSocket is carried the same way: whatever gives an ordered stream of bytes as a net.Conn.
type inMemory struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func listenInMemory() *inMemory {
	return &inMemory{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Dial is the node's side.
func (m *inMemory) Dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case m.conns <- there:
		return here, nil
	case <-m.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Accept must return net.ErrClosed, or any other error, once Close was called.
func (m *inMemory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *inMemory) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

func (m *inMemory) Addr() net.Addr { return &net.UnixAddr{Name: "in memory", Net: "pipe"} }

// doorbell is a master that tells when a node is in session.
type doorbell struct {
	gate
	rings chan struct{}
}

func (d doorbell) Authenticated(s *protocol.Session) {
	d.gate.Authenticated(s)
	close(d.rings)
}

// A transport of one's own. Limits per source address hold only where connections have IP addresses.
func ExampleServer_Serve() {
	bell := doorbell{gate{shared: "sesame"}, make(chan struct{})}
	server, err := protocol.NewServer(bell, protocol.DefaultServerOptions())
	if err != nil {
		fmt.Println(err)
		return
	}
	transport := listenInMemory()
	served := make(chan error, 1)
	go func() { served <- server.Serve(transport) }()

	ctx := context.Background()
	conn, err := transport.Dial(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	options := protocol.DefaultClientOptions()
	options.ID, options.Version, options.Type, options.Certificate = "press/1", "0.1.0", "refinery", "sesame"
	client, err := protocol.Handshake(ctx, conn, options)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("node: upstream", client.Upstream())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	<-bell.rings

	fmt.Println("shutdown:", server.Shutdown(ctx))
	fmt.Println("serve:", <-served)
	fmt.Println("node:", <-ended)

	// Unordered output:
	// node: upstream ingest.example.com:34307
	// master: authenticated press/1
	// master: press/1 server closed
	// shutdown: <nil>
	// serve: server closed
	// node: closed by the peer
}
