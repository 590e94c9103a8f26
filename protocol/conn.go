package protocol

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// closeLinger is how long the sender of conn:close waits for the receiver to close, so that the message is not lost to
// a reset.
const closeLinger = time.Second

// socket is the connection below TLS, or the connection itself without TLS. During a TLS handshake it reads at most flight
// bytes between two writes.
type socket struct {
	net.Conn
	wait         waiting
	flight, left int32       // the bound, 0 outside of a TLS handshake, and how much of it is left
	heard        atomic.Bool // something was read
	// ahead was read by await, before TLS asked for it.
	ahead []byte
}

// Forwarded is a TCP connection that someone in between has made, and Remote is the address that it was made for, as a load balancer
// says in a header. A listener returns it once it has read that header, and nothing beyond. For a Server it is a socket like others.
type Forwarded struct {
	*net.TCPConn
	Remote net.Addr
}

// RemoteAddr is the address that the connection was made for.
func (f *Forwarded) RemoteAddr() net.Addr { return f.Remote }

// waiting is what a read does when there is nothing to read.
type waiting uint8

const (
	// waits until something comes, as sockets do.
	waits waiting = iota
	// looks reads what the kernel holds and never waits. It serves to see, before a message is answered, whether anything
	// came ahead of its turn.
	looks
	// rests reads what was read ahead and nothing else: see rest.go.
	rests
)

// errFlight ends a TLS handshake whose peer sends more than ServerOptions.TLSFlightBytes at a time.
var errFlight = errors.New("the peer sends more than TLSFlightBytes")

// Read fails with os.ErrDeadlineExceeded where it would have to wait and must not. A tls.Conn can be read again after that.
func (s *socket) Read(p []byte) (int, error) {
	if len(s.ahead) > 0 {
		n := copy(p, s.ahead)
		s.ahead = s.ahead[n:]
		return n, nil
	}
	switch s.wait {
	case looks:
		return readNow(s.Conn, p)
	case rests:
		return 0, os.ErrDeadlineExceeded
	}
	if s.flight == 0 {
		return s.hear(p)
	}
	if s.left == 0 {
		return 0, errFlight
	}
	n, err := s.hear(p[:min(len(p), int(s.left))])
	s.left -= int32(n) //nolint:gosec // at most what was left
	return n, err
}

// hear reads from the connection, and notes that something came.
func (s *socket) hear(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 && !s.heard.Load() {
		s.heard.Store(true)
	}
	return n, err
}

func (s *socket) Write(p []byte) (int, error) {
	if s.flight > 0 {
		s.left = s.flight
	}
	return s.Conn.Write(p)
}

// hangUp closes this side's direction of the stream, where the transport can. Over TLS it also closes the socket after
// closeLinger: TLS would wait for five seconds for a peer that does not read, and without end for one that asked for new
// keys, which it answers while it reads.
func hangUp(conn net.Conn) {
	if s, ok := conn.(*socket); ok {
		conn = s.Conn
	}
	if over, ok := conn.(*tls.Conn); ok {
		below := over.NetConn() // So that the timer does not keep the TLS connection in memory.
		time.AfterFunc(closeLinger, func() { _ = below.Close() })
		go func() { _ = over.CloseWrite() }()
		return
	}
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // The socket is closed next in any case.
	}
}

// closeBelowTLS closes the socket without the closing message of TLS, for which TLS could wait as long as hangUp says.
func closeBelowTLS(conn net.Conn) error {
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	return conn.Close()
}

// ahead returns an error if the peer has sent more than was read. It looks at what is buffered here and, without
// waiting, at what the transport holds. Bytes ahead of their turn are a violation, unless they are conn:close.
func ahead(in *wire.Reader, s *socket, state State) error {
	if !in.Buffered() {
		s.wait = looks
		n, err := in.Look()
		s.wait = waits
		if n == 0 {
			if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			return readFailure(err, state)
		}
	}
	if in.Begins(wire.CodeClose) {
		return ErrPeerClosed
	}
	return &ProtocolError{State: state, Rule: ruleAhead, Detail: "bytes were sent ahead of their turn"}
}
