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

	// Set before the Handler first sees the session, and never changed.
	id, version, typ string

	// Field order keeps this struct at 480 bytes, an allocator size class. The next one has 512.
	queueIndex   int32         // with checkAt guarded by liveness.mu
	establishing bool          // set once, as id: Establish was called, so Closed must be
	state        State         // guarded by mu, as are the next two
	writing      bool          // a goroutine is the writer: see becomeWriter
	parting      bool          // conn:close was written, and the read deadline must not be moved again
	checkAt      time.Duration // when liveness checks it next

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

// opening holds what a session needs during its handshake only.
type opening struct {
	arrival      *arrival
	deadline     time.Time
	cancel       context.CancelFunc  // ends the context of Establish and Authenticate
	upstream     string              // granted, and not acknowledged yet
	certificates []*x509.Certificate // of the TLS peer; nil once the Handler has decided
}

// rhythm is what the heartbeats of a refinery tell about the alive timeout that it goes by.
type rhythm struct {
	known bool // the last two were close enough for the alive timeout
	mixed bool // another message came since the last one, so that the next tells nothing
}

// outbox holds what the writer has to write.
type outbox struct {
	upstream *string
	alive    uint32 // how many conn:alive are to be answered
	close    bool
	rhythm   rhythm // of what comes in; it is here as there is room for it
}

// offer is an upstream that was sent to an authenticated refinery.
type offer struct {
	upstream string
	at       time.Duration
}

// report is what the refinery last reported with conn:alive.
type report struct{ status, load string }

// Report is what an OnReport hook is told.
type Report struct {
	// Status and Load are what Session.Load returns.
	Status, Load string
	// Ignored is how many values of the message were not valid.
	Ignored int
}

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
// each empty if it never did or took it back. A status that is empty or ok means that the node is well.
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

// SetTag stores a value of the Handler's choice with the session; Tag returns it.
func (s *Session) SetTag(v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tag = v
}

// Tag returns the value of the last SetTag, or nil.
func (s *Session) Tag() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tag
}

// SetUpstream sends the refinery a new upstream, of at most 1024 printable bytes. One is sent at a time: of
// those set before the refinery has acknowledged it, only the latest is sent after it. Handler.Acknowledged is
// called with each that was acknowledged. Errors: ErrNotAuthenticated, ErrInvalidUpstream.
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
	mine := s.becomeWriter()
	s.mu.Unlock()
	if mine {
		go s.flush()
	}
	return nil
}

// Close ends the session: it sends conn:close, then closes the socket. It returns at once. Handler.Closed follows with the
// cause of the first call, or ErrSessionClosed if that is nil.
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
	mine := !early && s.becomeWriter()
	s.mu.Unlock()
	if opening != nil {
		opening.cancel()
	}
	if early {
		_ = s.socket.Close() // Nothing was said yet, and TLS may not stand.
	}
	return mine
}

// abort closes the socket without sending conn:close.
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
	_ = s.socket.Close() // Ends the reads and writes in flight.
}

// expire ends a session that is overdue. A peer that is silent or does not read is sent no conn:close.
func (s *Session) expire(cause error) {
	if errors.Is(cause, ErrAckTimeout) {
		s.Close(cause)
		return
	}
	s.abort(cause)
}

// overdue returns when the session is to be checked again, or why it has to end.
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
		return next, nil // Reading ends after closeLinger, so only a write can hang.
	}
	if s.offered != nil {
		if now >= s.offered.at+alive {
			return 0, ErrAckTimeout
		}
		next = min(next, s.offered.at+alive)
	}
	silent := s.seen + s.mayBeSilent(alive)
	if now >= silent {
		return 0, ErrAliveTimeout
	}
	return min(next, silent), nil
}

// mayBeSilent is the alive timeout, or longer while the refinery does not know of it. Called with mu held.
func (s *Session) mayBeSilent(alive time.Duration) time.Duration {
	if s.out.rhythm.known {
		return alive
	}
	return max(alive, time.Duration(s.server.live.patience.Load()))
}

// forgetRhythm is for a shorter alive timeout, of which the refinery may not know.
func (s *Session) forgetRhythm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.rhythm.known = false
}

// writes reports whether a write is in flight.
func (s *Session) writes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeStart != 0
}

// becomeWriter makes the caller the writer, and returns false if there is one already. Only the writer writes
// to the connection, and flush gives that up again. Called with mu held.
func (s *Session) becomeWriter() bool {
	if s.writing {
		return false
	}
	s.writing = true
	return true
}

// flush writes what is in the outbox, until it is empty. The caller is the writer, and no longer when flush returns.
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

// outgoing returns the next message to write; if there is none, the caller is the writer no longer. Nobody writes after the
// last message.
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
		b = s.grant(s.offered.upstream)
	default:
		s.writing, s.writeStart = false, 0
		return nil, false
	}
	s.writeStart = s.server.live.now()
	return b, last
}

// farewell is called after conn:close was written. The goroutine that reads then discards what comes until the peer closes,
// for closeLinger at most.
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
	_ = s.socket.SetReadDeadline(until) // If this fails the socket is closed, and there is nothing to wait for.
}

// write writes one message. The caller is the writer.
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

// received passes a message that was read to the OnMessage hook, if there is one.
func (s *Session) received(m *wire.Message) {
	if hook := s.server.options().OnMessage; hook != nil {
		s.trace(hook, TracedMessage{Code: m.Code.String(), Bytes: int(m.Size)})
	}
}

// trace calls the hook. If that panics, the session ends; the goroutine goes on, as it may be one of the program's.
func (s *Session) trace(hook func(*Session, TracedMessage), m TracedMessage) {
	defer func() {
		if v := recover(); v != nil {
			s.abort(s.server.panicked(s, v))
		}
	}()
	hook(s, m)
}

// traceOf describes a message that was written.
func traceOf(message []byte) TracedMessage {
	return TracedMessage{Sent: true, Code: wire.CodeOf(message).String(), Bytes: len(message)}
}

// converse handles messages until no more can be read. It waits for a message with few frames on the stack, so that Go can
// make the stack of a waiting session small.
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

// finish closes the socket, without a message if a violation ended the session, frees everything the session holds
// and tells the Handler. panicked is what recover returned.
func (s *Session) finish(err error, panicked any) {
	if panicked != nil {
		err = s.server.panicked(s, panicked)
	}
	s.mu.Lock()
	if s.cause == nil {
		if s.cause = err; err == nil {
			s.cause = ErrSessionClosed // A Handler ended the goroutine with runtime.Goexit.
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
	_ = conn.Close() // The session is over, whether or not this fails.
	s.in.Release()
	s.server.live.remove(s)
	s.server.ended(s, cause)
}

// panicked makes a PanicError of what was recovered. It must be called by the deferred function, while the stack still shows
// where the panic was.
func (srv *Server) panicked(s *Session, value any) *PanicError {
	err := &PanicError{Value: value, Stack: debug.Stack()}
	if hook := srv.options().OnPanic; hook != nil {
		tellPanic(hook, s, err)
	}
	return err
}

// tellPanic calls the hook. If that panics too, only the log is left to say so.
func tellPanic(hook func(*Session, *PanicError), s *Session, err *PanicError) {
	defer func() {
		if v := recover(); v != nil {
			log.Printf("protocol: OnPanic panicked: %v\n%s\nwhen called with: %v\n%s", v, debug.Stack(), err, err.Stack)
		}
	}()
	hook(s, err)
}
