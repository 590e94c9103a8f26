package protocol

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// Session is the server's side of one connection. Its methods may be called from any goroutine, a Handler's callbacks
// included, and none of them waits for the network.
type Session struct {
	server *Server
	socket socket
	in     wire.Reader // its Conn is the socket, or TLS over it
	o      *ServerOptions

	// Set before the Handler first sees the session, and then never again.
	id, version, typ string

	// Small fields stand together: a session has 480 bytes, for which the heap has a size.
	queueIndex   int32         // with checkAt guarded by liveness.mu
	establishing bool          // as id: Establish was called, so Closed must be
	state        State         // with what follows mu guarded by it
	writing      bool          // the same; someone has the turn to write
	parting      bool          // the same; conn:close was written, and the read deadline is the last
	checkAt      time.Duration // when liveness looks at it next

	mu         sync.Mutex
	seen       time.Duration // when the last message was read
	writeStart time.Duration // when the write in flight began; 0 if there is none
	cause      error         // why the session ends, once it does: the first reason given
	out        outbox
	opening    *opening // nil once the handshake is over
	upstream   string   // the last one acknowledged
	offered    *offer   // the one that is not yet; nil if there is none
	report     *report  // nil if there was none
	tag        any
}

// opening is what a session needs during its handshake only.
type opening struct {
	arrival      *arrival
	deadline     time.Time
	cancel       context.CancelFunc  // ends the context of Establish and Authenticate
	upstream     string              // granted, and not acknowledged yet
	certificates []*x509.Certificate // of the TLS peer; nil once the Handler has decided
}

// outbox holds what is to be written by whoever has the turn.
type outbox struct {
	upstream *string
	alive    uint32 // answers owed
	close    bool
}

// offer is an upstream that was sent to an authenticated refinery.
type offer struct {
	upstream string
	at       time.Duration
}

// report is what the refinery last said of itself with conn:alive.
type report struct{ status, load string }

// ID returns the node's id as announced: 1 to 253 bytes, printable. It is a claim, not an identity, until the Handler
// has compared it with the certificate.
func (s *Session) ID() string { return s.id }

// Version returns the node's version as announced: 1 to 64 bytes, printable.
func (s *Session) Version() string { return s.version }

// Type returns the node's type as announced: 1 to 64 bytes, printable.
func (s *Session) Type() string { return s.typ }

// RemoteAddr returns where the connection comes from.
func (s *Session) RemoteAddr() net.Addr { return s.socket.RemoteAddr() }

// State returns where the session stands.
func (s *Session) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Upstream returns the last upstream that the refinery acknowledged.
func (s *Session) Upstream() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.upstream
}

// Load returns the status and the load (a decimal number from 0 to 1) that the refinery last reported with conn:alive,
// each empty if it never did.
func (s *Session) Load() (status, load string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report == nil {
		return "", ""
	}
	return s.report.status, s.report.load
}

// TLS reports whether TLS carries the session.
func (s *Session) TLS() bool {
	_, over := s.in.Conn.(*tls.Conn)
	return over
}

// PeerCertificates returns the certificates of the TLS peer, leaf first; nil on plaintext. They are there inside
// Handler.Establish and Handler.Authenticate only. TLS has proven that the peer holds the leaf's key; the chain is
// verified only if ServerOptions.TLSConfig does so.
func (s *Session) PeerCertificates() []*x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opening == nil {
		return nil
	}
	return s.opening.certificates
}

// SetTag keeps a value of the Handler's with the session; Tag returns it.
func (s *Session) SetTag(v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tag = v
}

// Tag returns what SetTag was last given.
func (s *Session) Tag() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tag
}

// SetUpstream sends the refinery a new upstream, of at most 1024 printable bytes. One is sent at a time: while the
// refinery has not acknowledged it the latest of those that follow waits, and the others are dropped.
// Handler.Acknowledged tells which was acknowledged. Errors: ErrNotAuthenticated, ErrInvalidUpstream.
func (s *Session) SetUpstream(upstream string) error {
	if !wire.ValidUpstream(upstream) {
		return ErrInvalidUpstream
	}
	s.mu.Lock()
	if s.state != StateAuthenticated {
		s.mu.Unlock()
		return ErrNotAuthenticated
	}
	s.out.upstream = &upstream
	mine := s.takeTurn()
	s.mu.Unlock()
	if mine {
		go s.flush()
	}
	return nil
}

// Close ends the session: conn:close is sent, then the socket closed. It returns at once; Handler.Closed follows with
// the cause of the first call, or ErrSessionClosed for nil.
func (s *Session) Close(cause error) {
	if s.beginClose(cause) {
		go s.flush()
	}
}

// beginClose returns true if the caller must flush.
func (s *Session) beginClose(cause error) bool {
	if cause == nil {
		cause = ErrSessionClosed
	}
	s.mu.Lock()
	if s.cause != nil {
		s.mu.Unlock()
		return false
	}
	s.cause = cause
	opening, early := s.opening, s.state == StateNew
	if !early {
		s.state = StateClosing
		s.out = outbox{close: true}
	}
	mine := !early && s.takeTurn()
	s.mu.Unlock()
	if opening != nil {
		opening.cancel()
	}
	if early {
		_ = s.socket.Close() // Nothing was said yet, and TLS may not stand.
	}
	return mine
}

// abort ends the session without a word.
func (s *Session) abort(cause error) {
	s.mu.Lock()
	if s.cause == nil {
		s.cause = cause
	}
	opening := s.opening
	s.mu.Unlock()
	if opening != nil {
		opening.cancel()
	}
	_ = s.socket.Close() // Wakes whoever reads or writes.
}

// expire ends a session that is overdue. Who is silent or does not read gets no conn:close.
func (s *Session) expire(cause error) {
	if errors.Is(cause, ErrAckTimeout) {
		s.Close(cause)
		return
	}
	s.abort(cause)
}

// overdue returns when the session is to be looked at again, or why it has to end.
func (s *Session) overdue(now time.Duration) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	alive := time.Duration(s.server.live.alive.Load())
	next := now + alive
	if s.writeStart != 0 {
		end := s.writeStart + time.Duration(s.server.live.write.Load())
		if now >= end {
			return 0, ErrWriteTimeout
		}
		next = min(next, end)
	}
	if s.cause != nil {
		return next, nil // Reading ends by closeLinger, so only a write can hang.
	}
	if s.offered != nil {
		if now >= s.offered.at+alive {
			return 0, ErrAckTimeout
		}
		next = min(next, s.offered.at+alive)
	}
	silent := s.seen + alive
	if now >= silent {
		return 0, ErrAliveTimeout
	}
	return min(next, silent), nil
}

// writes reports whether a write is in flight.
func (s *Session) writes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeStart != 0
}

// takeTurn makes the caller the one who writes, unless someone is. Called with mu held.
func (s *Session) takeTurn() bool {
	if s.writing {
		return false
	}
	s.writing = true
	return true
}

// flush writes what is in the outbox and gives the turn back. The caller has the turn.
func (s *Session) flush() {
	for {
		b, last := s.outgoing()
		if b == nil {
			return
		}
		if err := s.write(b); err != nil {
			s.abort(err)
			return
		}
		if last {
			s.farewell()
			return
		}
	}
}

// outgoing returns the next message to write, or gives the turn back. After the last one the turn is never given back.
func (s *Session) outgoing() (b []byte, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.out.close:
		b, last = wire.Close, true
	case s.out.alive > 0:
		s.out.alive--
		b = wire.Alive
	case s.out.upstream != nil && s.offered == nil:
		s.offered = &offer{*s.out.upstream, s.server.live.now()}
		s.out.upstream = nil
		b = wire.AppendGrant(nil, s.offered.upstream)
	default:
		s.writing, s.writeStart = false, 0
		return nil, false
	}
	s.writeStart = s.server.live.now()
	return b, last
}

// farewell follows conn:close: the reading goroutine discards what comes until the peer closes, for a moment.
func (s *Session) farewell() {
	hangUp(s.in.Conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeStart = 0
	until := time.Now().Add(closeLinger)
	if s.opening != nil && s.opening.deadline.Before(until) {
		until = s.opening.deadline
	}
	s.parting = true
	_ = s.socket.SetReadDeadline(until) // On a closed socket there is nothing to wait for.
}

// write writes one message. The caller has the turn.
func (s *Session) write(message []byte) error {
	l := &s.server.live
	l.writeBegins()
	err := wire.WritePackets(s.in.Conn, message, s.o.PacketBytes)
	l.writeEnds()
	if hook := s.server.options().OnMessage; hook != nil && err == nil {
		s.trace(hook, traceOf(message))
	}
	return err
}

// received tells the hook, if there is one, of a message that was read.
func (s *Session) received(m *wire.Message) {
	if hook := s.server.options().OnMessage; hook != nil {
		s.trace(hook, TracedMessage{Code: m.Code.String(), Bytes: int(m.Size)})
	}
}

// trace calls the hook. If that panics, the session ends; the goroutine, which may be anyone's, goes on.
func (s *Session) trace(hook func(*Session, TracedMessage), m TracedMessage) {
	defer func() {
		if v := recover(); v != nil {
			s.abort(s.server.panicked(s, v))
		}
	}()
	hook(s, m)
}

// traceOf tells of a message that was written.
func traceOf(message []byte) TracedMessage {
	return TracedMessage{Sent: true, Code: wire.CodeOf(message).String(), Bytes: len(message)}
}

// converse handles messages until no more can be read. Whoever waits for a message waits on a stack of which little is
// used: a stack twice the size would never be given back.
func (s *Session) converse() error {
	for {
		if err := s.step(); err != nil {
			return err
		}
		if err := s.in.Fill(s.o.SessionBytes); err != nil {
			return readFailure(err, s.State())
		}
	}
}

// lastWords waits for the peer to close if conn:close was, or is being, sent to it.
func (s *Session) lastWords() {
	s.mu.Lock()
	closing := s.state == StateClosing
	s.mu.Unlock()
	if closing {
		s.socket.wait = waits
		s.in.Drain()
	}
}

// finish closes the socket, without a word where a violation ended the session, gives everything back and tells
// the Handler. panicked is what recover returned.
func (s *Session) finish(err error, panicked any) {
	if panicked != nil {
		err = s.server.panicked(s, panicked)
	}
	s.mu.Lock()
	if s.cause == nil {
		if s.cause = err; err == nil {
			s.cause = ErrSessionClosed // A Handler ended the goroutine.
		}
	}
	cause := s.cause
	s.state = StateClosed
	s.opening, s.out = nil, outbox{}
	s.mu.Unlock()
	conn := net.Conn(&s.socket)
	if errors.Is(cause, ErrPeerClosed) {
		conn = s.in.Conn // TLS answers the end of the peer's side with the end of its own (RFC 8446, section 6.1).
	}
	_ = conn.Close() // There is no one left to tell.
	s.in.Release()
	s.server.live.remove(s)
	s.server.ended(s, cause)
}

// panicked makes a PanicError of what was recovered. It must be called while the stack still shows where.
func (srv *Server) panicked(s *Session, value any) *PanicError {
	err := &PanicError{Value: value, Stack: debug.Stack()}
	if hook := srv.options().OnPanic; hook != nil {
		tellPanic(hook, s, err)
	}
	return err
}

// tellPanic calls the hook. A panic of that has nobody left to be told but the log.
func tellPanic(hook func(*Session, *PanicError), s *Session, err *PanicError) {
	defer func() {
		if v := recover(); v != nil {
			log.Printf("protocol: OnPanic: %v\n%s\nwhen it was told of: %v\n%s", v, debug.Stack(), err, err.Stack)
		}
	}()
	hook(s, err)
}
