package protocol

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// closeLinger is how long the sender of conn:close waits for the receiver to close, so that the message is not lost to
// a reset.
const closeLinger = time.Second

// socket is the connection below TLS, or without TLS the connection itself. During a TLS handshake no more than flight
// bytes are read between two writes.
type socket struct {
	net.Conn
	wait         waiting
	flight, left int32 // flight is 0 outside of a TLS handshake
	// ahead was read by await, before TLS asked for it.
	ahead []byte
}

// waiting is what a read does when nothing has come.
type waiting uint8

const (
	// waits is what sockets do.
	waits waiting = iota
	// looks reads what the kernel holds and never waits: between a peer's message and the answer to it, to see whether
	// anything came ahead of its turn.
	looks
	// rests reads what was read ahead and nothing else: see rest.go.
	rests
)

// errFlight ends a TLS handshake whose peer sends more than ServerOptions.TLSFlightBytes at a time.
var errFlight = errors.New("the peer sends more than TLSFlightBytes")

// Read reads, or fails with os.ErrDeadlineExceeded where it would have to wait and must not: TLS can go on after that.
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
		return s.Conn.Read(p)
	}
	if s.left == 0 {
		return 0, errFlight
	}
	n, err := s.Conn.Read(p[:min(len(p), int(s.left))])
	s.left -= int32(n) //nolint:gosec // at most what was left
	return n, err
}

func (s *socket) Write(p []byte) (int, error) {
	if s.flight > 0 {
		s.left = s.flight
	}
	return s.Conn.Write(p)
}

// hangUp tells the peer that nothing more will come, where the transport can. Over TLS it closes the socket after closeLinger:
// TLS would wait for five seconds for a peer that does not read, and for as long as that likes if the peer asked for new keys,
// which are answered while reading.
func hangUp(conn net.Conn) {
	if s, ok := conn.(*socket); ok {
		conn = s.Conn
	}
	if over, ok := conn.(*tls.Conn); ok {
		below := over.NetConn() // Of over nothing is kept for so long.
		time.AfterFunc(closeLinger, func() { _ = below.Close() })
		go func() { _ = over.CloseWrite() }()
		return
	}
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // The socket is closed next in any case.
	}
}

// closeBelowTLS closes the socket without a word of TLS, which would wait as hangUp says.
func closeBelowTLS(conn net.Conn) error {
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	return conn.Close()
}

// ahead returns nil if the peer has sent nothing but what was read. It looks at what is buffered here and, without
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
