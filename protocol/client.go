package protocol

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// Client is the refinery's side of one authenticated session. Make one with Handshake, then call Run.
type Client struct {
	socket socket
	in     wire.Reader // its Conn is the socket, or the TLS connection that the socket wraps
	o      ClientOptions

	deadline time.Time // of the opening

	// writeMu is held while a message is written, so that messages do not mix.
	writeMu sync.Mutex
	parted  bool // conn:close was sent; guarded by writeMu

	mu       sync.Mutex
	state    State
	upstream string
	cause    error // why the session ended, or is ending; nil until then
	running  bool
	// unanswered counts the conn:alive sent and not answered yet. One that comes when it is 0 is the master's own.
	unanswered int
	beat       *time.Timer
	late       *time.Timer // fires when the oldest conn:alive that is not answered is late; nil without OnLate
}

// Handshake runs the opening of the protocol over conn, which is dialed already and wrapped in TLS if that is wanted.
// It returns once the first upstream is granted and acknowledged. It closes conn on any error: ErrVersionRefused, ErrDenied,
// ErrPeerClosed, ErrHandshakeTimeout, a *ProtocolError, the error of OnUpstream, the cause of ctx, or the network's.
func Handshake(ctx context.Context, conn net.Conn, o ClientOptions) (*Client, error) {
	if err := o.Validate(); err != nil {
		_ = conn.Close() // Nothing was sent.
		return nil, err
	}
	c := &Client{socket: socket{Conn: conn}, o: o, deadline: time.Now().Add(o.HandshakeTimeout)}
	c.in = wire.Reader{Conn: &c.socket, Borrows: true}
	_ = conn.SetDeadline(c.deadline) // If this fails, so does the next read.
	stop := context.AfterFunc(ctx, func() { _ = closeBelowTLS(conn) })
	err := c.open()
	if !stop() {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		c.in.Release()
		_ = closeBelowTLS(conn) // It has failed already.
		return nil, err
	}
	c.in.Borrows = false
	return c, nil
}

// open does the refinery's part of the opening.
func (c *Client) open() error {
	if over, ok := c.socket.Conn.(*tls.Conn); ok {
		if err := over.Handshake(); err != nil {
			return openingFailure(err, StateNew)
		}
		c.in.Conn = over
	}
	if err := c.sendInTurn(wire.AppendEstablish(nil, c.o.ID, c.o.Version, c.o.Type), StateEstablishing); err != nil {
		return err
	}
	m, err := c.take()
	if err != nil {
		return err
	}
	if m.Code == wire.CodeClose {
		return ErrVersionRefused
	}
	c.state = StateAuthenticating
	if err := c.sendInTurn(wire.AppendAuthStart(nil, c.o.Certificate), StateVerifying); err != nil {
		return err
	}
	if m, err = c.take(); err != nil {
		return err
	}
	switch m.Code {
	case wire.CodeAuthDec:
		c.state = StateDenied
		_ = c.goodbye() // The answer stands, whether or not the master hears of it.
		return ErrDenied
	case wire.CodeClose:
		return ErrPeerClosed
	}
	c.state = StateAcknowledging
	if err := c.granted(m); err != nil {
		if c.state == StateClosing {
			_ = c.goodbye() // The caller gets the reason.
			return err
		}
		return openingFailure(err, c.state)
	}
	if err := c.ahead(); err != nil {
		return err
	}
	// The master may speak as soon as it has read this, so the state is set first.
	c.state = StateAuthenticated
	return c.sendOpening(wire.AuthAck)
}

// sendInTurn enters the next state and sends a message of the opening. It fails if the master sent something before it.
func (c *Client) sendInTurn(message []byte, next State) error {
	if err := c.ahead(); err != nil {
		return err
	}
	c.state = next
	return c.sendOpening(message)
}

// ahead returns an error if the master sent something ahead of its turn. With TLS the only way to see what it
// buffers is a read whose deadline has passed.
func (c *Client) ahead() error {
	if _, ok := c.in.Conn.(*tls.Conn); ok {
		_ = c.socket.SetReadDeadline(time.Unix(1, 0))
		defer func() { _ = c.socket.SetReadDeadline(c.deadline) }() // If this fails, so does the next read.
	}
	return ahead(&c.in, &c.socket, c.state)
}

func (c *Client) sendOpening(message []byte) error {
	return openingFailure(c.write(message), c.state)
}

func (c *Client) write(message []byte) error {
	err := wire.WritePackets(&c.socket, message, c.o.PacketBytes)
	if c.o.OnMessage != nil && err == nil {
		c.o.OnMessage(traceOf(message))
	}
	return err
}

// received passes a message that was read to the OnMessage hook, if there is one.
func (c *Client) received(m *wire.Message) {
	if c.o.OnMessage != nil {
		c.o.OnMessage(TracedMessage{Code: m.Code.String(), Bytes: int(m.Size)})
	}
}

// take reads the next message of the opening.
func (c *Client) take() (*wire.Message, error) {
	m, err := c.in.Next(c.o.MaxMessageBytes)
	if err != nil {
		return nil, openingFailure(err, c.state)
	}
	c.received(m)
	return m, refineryTakes.check(c.state, m.Code)
}

// granted takes over the upstream of an auth:ack. The caller then acknowledges it; after an error of OnUpstream the state
// is StateClosing, and the caller sends conn:close instead.
func (c *Client) granted(m *wire.Message) error {
	if err := m.CheckGrant(); err != nil {
		return err
	}
	upstream := string(m.Values[wire.FieldUpstream])
	if c.o.OnUpstream != nil {
		if err := c.o.OnUpstream(upstream); err != nil {
			c.end(err) // From here on nothing but conn:close is sent.
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.upstream = upstream
	return nil
}

// Upstream returns the last upstream that the master granted.
func (c *Client) Upstream() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.upstream
}

// Run keeps the session alive and follows new upstreams until the session ends, and returns why: ErrPeerClosed,
// ErrAliveTimeout, ErrSessionClosed after Close, a *ProtocolError, the error of OnUpstream, a *PanicError if Load or
// OnMessage panicked at a heartbeat, or the network's. When ctx ends it sends conn:close and returns ctx's cause. It closes
// the connection before it returns. It may be called once.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		return errors.New("Run was called before")
	}
	c.running = true
	ended := c.cause
	if ended == nil {
		c.beat = time.AfterFunc(c.pause(), c.heartbeat)
	}
	c.mu.Unlock()
	if ended != nil {
		return ended
	}
	stop := context.AfterFunc(ctx, func() { c.end(context.Cause(ctx)) })
	defer stop()
	err := c.converse()
	c.mu.Lock()
	if c.cause == nil {
		c.cause = err
	}
	err = c.cause
	closing := c.state == StateClosing
	c.beat.Stop()
	if c.late != nil {
		c.late.Stop()
	}
	c.mu.Unlock()
	if closing {
		_ = c.goodbye() // The session is over, whether or not the master hears of it.
	}
	_ = closeBelowTLS(c.socket.Conn) // It is over either way.
	c.in.Release()
	return err
}

// Waits reports whether a conn:alive has not been answered yet.
func (c *Client) Waits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unanswered > 0
}

// pause is the time to the next conn:alive.
func (c *Client) pause() time.Duration {
	j := jitter(c.o.AliveInterval)
	return c.o.AliveInterval - j + rand.N(2*j+1)
}

// converse reads and handles messages until the session ends. The read deadline is moved once it
// has passed, not with every message.
func (c *Client) converse() error {
	seen := time.Now()
	for c.setReadDeadline(seen.Add(c.o.AliveTimeout)) {
		m, err := c.in.Next(c.o.MaxMessageBytes)
		for ; err == nil; m, err = c.in.Next(c.o.MaxMessageBytes) {
			seen = time.Now()
			c.received(m)
			if err := c.handle(m); err != nil {
				return err
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return readFailure(err, StateAuthenticated)
		}
		if !time.Now().Before(seen.Add(c.o.AliveTimeout)) {
			return ErrAliveTimeout
		}
	}
	return nil
}

// setReadDeadline returns false if this side is ending the session.
func (c *Client) setReadDeadline(due time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return false
	}
	_ = c.socket.SetReadDeadline(due) // If this fails, so does the next read.
	return true
}

// handle acts on one message of the session.
func (c *Client) handle(m *wire.Message) error {
	if err := refineryTakes.check(StateAuthenticated, m.Code); err != nil {
		return err
	}
	switch m.Code {
	case wire.CodeClose:
		return ErrPeerClosed
	case wire.CodeAlive:
		c.mu.Lock()
		answer := c.unanswered == 0
		if !answer {
			c.unanswered--
		}
		if c.unanswered == 0 && c.late != nil {
			c.late.Stop()
		}
		c.mu.Unlock()
		if answer {
			return c.send(wire.Alive)
		}
		return nil
	}
	if err := c.granted(m); err != nil {
		return readFailure(err, StateAuthenticated)
	}
	return c.send(wire.AuthAck)
}

// heartbeat sends conn:alive and sets the time of the next. Run returns a panic of a hook: on the
// goroutine of a timer the program could not recover from it.
func (c *Client) heartbeat() {
	defer func() {
		if v := recover(); v != nil {
			c.fail(&PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	message := wire.Alive
	if c.o.Load != nil {
		if status, load, ok := c.o.Load(); ok && wire.ValidStatus(status) && wire.ValidLoad(load) {
			message = wire.AppendReport(nil, status, load)
		}
	}
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return
	}
	c.unanswered++
	if c.o.OnLate != nil && c.unanswered == 1 {
		c.late = time.AfterFunc(c.o.LateAfter, c.o.OnLate)
	}
	c.mu.Unlock()
	if err := c.send(message); err != nil {
		c.fail(err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.beat.Reset(c.pause())
	}
}

// send writes a message of the session, bounded by WriteTimeout. After conn:close it does nothing, as a
// conn:alive may still be due.
func (c *Client) send(message []byte) error { return c.say(message, false) }

func (c *Client) say(message []byte, last bool) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.parted {
		return nil
	}
	c.parted = last
	_ = c.socket.SetWriteDeadline(time.Now().Add(c.o.WriteTimeout)) // If this fails, so does the write.
	err := c.write(message)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrWriteTimeout
	}
	// TLS answers a request for new keys while it reads; a write deadline that has passed would then end the connection.
	_ = c.socket.SetWriteDeadline(time.Time{}) // If this fails, so does the next write.
	return err
}

// goodbye sends conn:close and discards what comes until the master closes, for closeLinger at most.
func (c *Client) goodbye() error {
	if err := c.say(wire.Close, true); err != nil {
		return err
	}
	hangUp(&c.socket)
	if err := c.socket.SetReadDeadline(time.Now().Add(closeLinger)); err == nil {
		c.in.Drain()
	} // Else the connection is closed already, and there is nothing to wait for.
	return nil
}

// end makes Run send conn:close and return cause. It returns false if Run was not called: then the caller sends conn:close.
func (c *Client) end(cause error) (running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return true
	}
	c.cause, c.state = cause, StateClosing
	_ = c.socket.SetReadDeadline(time.Unix(1, 0)) // Wakes the reader. If this fails the socket is closed, which woke it.
	return c.running
}

// fail makes Run return cause, without sending conn:close.
func (c *Client) fail(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = cause
		_ = closeBelowTLS(c.socket.Conn) // Wakes the reader.
	}
}

// Close ends the session with conn:close: Run then returns ErrSessionClosed. It does not wait for Run.
func (c *Client) Close() error {
	if c.end(ErrSessionClosed) {
		return nil
	}
	err := c.goodbye()
	return errors.Join(err, closeBelowTLS(c.socket.Conn))
}
