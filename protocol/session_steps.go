package protocol

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// open is the handshake, from the socket's first byte to the refinery's auth:ack. On success the session is
// authenticated.
func (s *Session) open(ctx context.Context, o *ServerOptions) error {
	if err := s.secure(ctx, o); err != nil {
		return err
	}
	for _, step := range [...]func(context.Context, *ServerOptions) error{s.establish, s.authenticate, s.acknowledge} {
		if err := step(ctx, o); err != nil {
			s.lastWords()
			return err
		}
	}
	return nil
}

// recordTypeHandshake is the first byte of every TLS connection. No message of the protocol begins with it.
const recordTypeHandshake = 22

// beginsWithTLS reads the first byte of a connection, and keeps it for who reads next.
func (s *Session) beginsWithTLS() (bool, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(&s.socket, first); err != nil {
		return false, openingFailure(err, StateNew)
	}
	s.socket.ahead = first
	return first[0] == recordTypeHandshake, nil
}

// secure puts TLS over the socket, if that is configured: nothing later adds or removes it. TLS parses a client's
// certificates before it has verified anything about them, so their size is bounded.
func (s *Session) secure(ctx context.Context, o *ServerOptions) error {
	if o.TLSConfig == nil {
		return nil
	}
	if o.Plaintext {
		if over, err := s.beginsWithTLS(); err != nil || !over {
			return err
		}
	}
	conn := tls.Server(&s.socket, o.TLSConfig)
	s.socket.flight = int32(o.TLSFlightBytes) //nolint:gosec // Validate bounds it
	s.socket.left = s.socket.flight
	err := conn.HandshakeContext(ctx)
	s.socket.flight = 0
	if err != nil {
		// Otherwise it failed by itself, even if ctx has ended meanwhile.
		if ctx.Err() != nil && (isContextError(err) || errors.Is(err, net.ErrClosed)) {
			return context.Cause(ctx)
		}
		if err = openingFailure(err, StateNew); errors.Is(err, ErrPeerClosed) || errors.Is(err, ErrHandshakeTimeout) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrTLS, err)
	}
	s.in.Conn = conn
	s.opening.certificates = takeCertificates(conn.ConnectionState())
	return nil
}

// takeCertificates returns the certificates of the TLS peer and clears them in the connection, which would keep several
// kilobytes for as long as it lives. That works as the slices in a ConnectionState are those of the connection.
func takeCertificates(state tls.ConnectionState) []*x509.Certificate {
	certificates := slices.Clone(state.PeerCertificates)
	clear(state.PeerCertificates)
	for _, chain := range state.VerifiedChains {
		clear(chain)
	}
	return certificates
}

// establish reads conn:establish and answers conn:startAuth or conn:close.
func (s *Session) establish(ctx context.Context, o *ServerOptions) error {
	m, err := s.take(o.EstablishBytes)
	if err != nil {
		return err
	}
	if err := m.CheckEstablish(); err != nil {
		return readFailure(err, StateNew)
	}
	s.id = string(m.Values[wire.FieldID])
	s.version = string(m.Values[wire.FieldVersion])
	s.typ = string(m.Values[wire.FieldType])
	if err := s.move(StateEstablishing); err != nil {
		return err
	}
	s.establishing = true
	if err := s.decided(ctx, s.server.handler.Establish(ctx, s)); err != nil {
		if s.beginClose(err) {
			s.flush()
		}
		return err
	}
	return s.answer(wire.StartAuth, StateAuthenticating)
}

// authenticate reads auth:start and answers auth:ack or auth:dec.
func (s *Session) authenticate(ctx context.Context, o *ServerOptions) error {
	m, err := s.take(o.AuthStartBytes)
	if err != nil {
		return err
	}
	if err := m.CheckAuthStart(); err != nil {
		return readFailure(err, StateAuthenticating)
	}
	certificate := string(m.Values[wire.FieldCert])
	if err := s.move(StateVerifying); err != nil {
		return err
	}
	upstream, err := s.server.handler.Authenticate(ctx, s, certificate)
	s.mu.Lock()
	s.opening.upstream, s.opening.certificates = upstream, nil
	s.mu.Unlock()
	if err = s.decided(ctx, err); err == nil && !wire.ValidUpstream(upstream) {
		err = ErrInvalidUpstream
	}
	if err != nil {
		return s.deny(err)
	}
	return s.answer(s.grant(upstream), StateAcknowledging)
}

// grant is the auth:ack that names an upstream.
func (s *Session) grant(upstream string) []byte {
	if s.o.LiteralPayloads {
		return wire.AppendLiteralGrant(nil, upstream)
	}
	return wire.AppendGrant(nil, upstream)
}

// deny sends auth:dec and waits for the refinery's conn:close. It returns why.
func (s *Session) deny(why error) error {
	if err := s.send(wire.AuthDec, StateDenied); err != nil {
		return why
	}
	_, _ = s.take(s.o.SessionBytes) // Whatever comes, the session ends for the same reason.
	return why
}

// acknowledge reads the refinery's auth:ack, which makes the session authenticated. It frees the place among handshakes
// first, so that the session cannot be displaced any more.
func (s *Session) acknowledge(context.Context, *ServerOptions) error {
	if _, err := s.take(s.o.SessionBytes); err != nil {
		return err
	}
	if !s.server.opened(s.opening.arrival, true) {
		return ErrTooManyHandshakes
	}
	s.mu.Lock()
	if s.cause != nil {
		s.mu.Unlock()
		return s.cause
	}
	s.state = StateAuthenticated
	s.seen = s.server.live.now()
	s.upstream = s.opening.upstream
	s.opening = nil
	_ = s.socket.SetDeadline(time.Time{}) // A socket that fails here fails at the next read.
	s.mu.Unlock()
	s.server.authenticated.Add(1)
	s.server.live.add(s)
	s.server.handler.Authenticated(s)
	return nil
}

// decided returns the outcome of a Handler's decision: its own error, or why the context ended while it decided.
func (s *Session) decided(ctx context.Context, err error) error {
	if ctx.Err() == nil || (err != nil && !isContextError(err)) {
		return err
	}
	return context.Cause(ctx)
}

// take reads the next message of the handshake.
func (s *Session) take(limit int) (*wire.Message, error) {
	m, err := s.in.Next(limit)
	state := s.State()
	if err != nil {
		return nil, openingFailure(err, state)
	}
	s.hold()
	s.received(m)
	if err := masterTakes.check(state, m.Code); err != nil {
		return nil, err
	}
	if m.Code == wire.CodeClose {
		return nil, ErrPeerClosed
	}
	return m, nil
}

// move enters the next state, unless the session is being closed.
func (s *Session) move(next State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return s.cause
	}
	s.state = next
	return nil
}

// answer sends the refinery the message it waits for. It fails if the refinery sent something before it.
func (s *Session) answer(message []byte, next State) error {
	if err := ahead(&s.in, &s.socket, s.State()); err != nil {
		return err
	}
	return s.send(message, next)
}

// send enters the next state and writes a message of the handshake.
func (s *Session) send(message []byte, next State) error {
	s.mu.Lock()
	if s.cause != nil {
		s.mu.Unlock()
		return s.cause
	}
	s.state = next
	s.becomeWriter() // Nobody else writes during a handshake, unless the session is closing.
	s.mu.Unlock()
	if err := s.write(message); err != nil {
		return openingFailure(err, next)
	}
	s.flush()
	return nil
}

// step handles every message that is buffered.
func (s *Session) step() error {
	for {
		m, err := s.in.Held(s.o.SessionBytes)
		if err != nil {
			return readFailure(err, s.State())
		}
		if m == nil {
			return nil
		}
		s.hold()
		if err := s.handle(m); err != nil {
			return err
		}
	}
}

// hold waits until the program lets messages be handled.
func (s *Session) hold() {
	if s.o.Hold != nil {
		s.o.Hold()
	}
}

// handle acts on one message of an authenticated session.
func (s *Session) handle(m *wire.Message) error {
	s.received(m)
	now := s.server.live.now()
	s.mu.Lock()
	before := s.seen
	s.seen = now
	if s.state != StateAuthenticated {
		s.mu.Unlock()
		return nil // conn:close was sent: what still comes is discarded.
	}
	if err := masterTakes.check(s.state, m.Code); err != nil {
		s.mu.Unlock()
		return err
	}
	switch m.Code {
	case wire.CodeAlive:
		if !s.out.rhythm.mixed {
			s.out.rhythm.known = now-before <= time.Duration(s.server.live.alive.Load())/4*3
		}
		s.out.rhythm.mixed = false
		return s.alive(m, now)
	case wire.CodeAuthAck:
		s.out.rhythm.mixed = true
		return s.acknowledged()
	default:
		s.mu.Unlock()
		return ErrPeerClosed
	}
}

// alive keeps the refinery's report and answers. Called with mu held, which it releases. As this is nearly all
// that a session ever does, it reads the clock once: the write counts as begun when the message was read.
func (s *Session) alive(m *wire.Message, now time.Duration) error {
	if status, load := m.Values[wire.FieldStatus], m.Values[wire.FieldLoad]; status != nil || load != nil {
		if r, tell := s.keepReport(status, load); tell {
			s.mu.Unlock()
			s.tellReport(r)
			s.mu.Lock()
		}
	}
	if !s.becomeWriter() {
		s.out.alive++
		s.mu.Unlock()
		return nil
	}
	s.writeStart = now
	s.mu.Unlock()
	if err := s.write(wire.Alive); err != nil {
		s.abort(err)
		return nil // The next read fails.
	}
	s.flush()
	return nil
}

// keepReport stores the status and the load, each if it was sent and is valid. It returns what to tell the program if
// there is something: another value, or one that is ignored. Called with mu held.
func (s *Session) keepReport(status, load []byte) (r Report, tell bool) {
	if s.report == nil {
		s.report = &report{}
	}
	for _, v := range [...]struct {
		sent  []byte
		kept  *string
		valid func([]byte) bool
	}{
		{status, &s.report.status, wire.ValidStatus[[]byte]},
		{load, &s.report.load, wire.ValidLoad[[]byte]},
	} {
		switch {
		case v.sent == nil || string(v.sent) == *v.kept:
		case v.valid(v.sent):
			*v.kept, tell = string(v.sent), true
		default:
			r.Ignored++
			tell = true
		}
	}
	r.Status, r.Load = s.report.status, s.report.load
	return r, tell
}

// tellReport calls the hook, if there is one.
func (s *Session) tellReport(r Report) {
	if hook := s.server.options().OnReport; hook != nil {
		hook(s, r)
	}
}

// acknowledged ends the offer of an upstream and sends the next one, if one waits. Called with mu held, which it
// releases.
func (s *Session) acknowledged() error {
	if s.offered == nil {
		s.mu.Unlock()
		return &ProtocolError{State: StateAuthenticated, Rule: ruleAck, Detail: "auth:ack acknowledges nothing"}
	}
	upstream := s.offered.upstream
	s.upstream, s.offered = upstream, nil
	s.mu.Unlock()
	s.server.handler.Acknowledged(s, upstream)
	s.mu.Lock()
	mine := s.out.upstream != nil && s.becomeWriter()
	s.mu.Unlock()
	if mine {
		s.flush()
	}
	return nil
}
