package protocol_test

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// ledger is an authenticator of one's own: each node has a secret of its own, of which only the hash is known, and an
// upstream.
type ledger map[string]entry

type entry struct {
	secret   [sha256.Size]byte
	upstream string
}

// Establish refuses what cannot be let in whatever it proves. The answer to the node is conn:close, with no reason.
func (l ledger) Establish(_ context.Context, s *protocol.Session) error {
	if s.Type() != "refinery" {
		return fmt.Errorf("type %q is not accepted", s.Type())
	}
	return nil
}

// Authenticate decides by what auth:start brought. ctx ends with the handshake's deadline: pass it on to whatever is
// asked over a network.
func (l ledger) Authenticate(_ context.Context, s *protocol.Session, certificate string) (upstream string, err error) {
	known, ok := l[s.ID()]
	given := sha256.Sum256([]byte(certificate))
	if same := subtle.ConstantTimeCompare(known.secret[:], given[:]) == 1; !ok || !same {
		return "", errors.New("unknown node or wrong secret")
	}
	return known.upstream, nil
}

// Authenticated comes only after the node has acknowledged: from here on it is in session, and can be moved.
func (l ledger) Authenticated(s *protocol.Session) {
	if err := s.SetUpstream("west.example.com:34307"); err != nil {
		s.Close(err)
	}
}

// Acknowledged reports whether a node has taken a later upstream.
func (l ledger) Acknowledged(s *protocol.Session, upstream string) {
	fmt.Println("master:", s.ID(), "moved to", upstream)
	s.Close(errors.New("maintenance")) // Only this side learns why.
}

// Closed comes exactly once for each session that Establish was asked about.
func (l ledger) Closed(s *protocol.Session, cause error) {
	fmt.Println("master:", s.ID(), "is gone:", cause)
}

// A master with an authenticator of its own, which moves a node to another upstream and then ends its session.
func ExampleServer() {
	nodes := ledger{"press/1": {sha256.Sum256([]byte("sesame")), "east.example.com:34307"}}
	server, err := protocol.NewServer(nodes, protocol.DefaultServerOptions())
	if err != nil {
		fmt.Println(err)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	for _, secret := range []string{"guessed", "sesame"} {
		node := protocol.DefaultClientOptions()
		node.ID, node.Version, node.Type, node.Certificate = "press/1", "0.1.0", "refinery", secret
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			fmt.Println(err)
			return
		}
		client, err := protocol.Handshake(context.Background(), conn, node)
		if err != nil {
			fmt.Println("node:", err)
			continue
		}
		fmt.Println("node:", client.Run(context.Background()))
	}

	fmt.Println(server.Shutdown(context.Background()), <-served)

	// Unordered output:
	// node: master denied authentication
	// master: press/1 is gone: unknown node or wrong secret
	// master: press/1 moved to west.example.com:34307
	// master: press/1 is gone: maintenance
	// node: closed by the peer
	// <nil> server closed
}
