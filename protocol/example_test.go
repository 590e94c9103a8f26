package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// gate lets every node in that knows the shared certificate.
type gate struct{ shared string }

func (g gate) Establish(_ context.Context, s *protocol.Session) error {
	if s.Type() != "refinery" {
		return fmt.Errorf("type %q is not accepted", s.Type())
	}
	return nil
}

func (g gate) Authenticate(_ context.Context, _ *protocol.Session, certificate string) (string, error) {
	if certificate != g.shared {
		return "", errors.New("not the shared certificate")
	}
	return "ingest.example.com:34307", nil
}

func (g gate) Authenticated(s *protocol.Session) { fmt.Println("master: authenticated", s.ID()) }

func (g gate) Acknowledged(*protocol.Session, string) {}

func (g gate) Closed(s *protocol.Session, cause error) { fmt.Println("master:", s.ID(), cause) }

// A master with its own rule for who is let in, and a refinery that is.
func Example() {
	server, err := protocol.NewServer(gate{shared: "sesame"}, protocol.DefaultServerOptions())
	if err != nil {
		fmt.Println(err)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()

	options := protocol.DefaultClientOptions()
	options.ID, options.Version, options.Type = "press/1", "0.1.0", "refinery"
	options.Certificate = "sesame"

	ctx := context.Background()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := protocol.Handshake(ctx, conn, options)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("refinery: upstream", client.Upstream())
	fmt.Println("refinery:", client.Close())

	fmt.Println("shutdown:", server.Shutdown(ctx))
	fmt.Println("serve:", <-served)

	// Unordered output:
	// refinery: upstream ingest.example.com:34307
	// master: authenticated press/1
	// refinery: <nil>
	// master: press/1 closed by the peer
	// shutdown: <nil>
	// serve: server closed
}
