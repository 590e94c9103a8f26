package protocol

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/admission"
	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// Handler decides which nodes are let in, and learns what happens to them. The calls for one session never overlap. They
// come from the goroutine that reads the session, so a call that blocks delays the heartbeats of that session; calls for
// different sessions do overlap. The context ends with the handshake's deadline, or with the session. A panic ends the
// session, with a *PanicError as its cause. The text of an error never reaches the peer.
type Handler interface {
	// Establish is called when conn:establish was read. The server answers conn:startAuth if it returns nil, and conn:close
	// if it returns an error. It decides which versions are accepted.
	Establish(ctx context.Context, s *Session) error
	// Authenticate is called when auth:start was read. The server answers auth:ack with the upstream (at most 1024 printable
	// bytes) if it returns nil, and auth:dec if it returns an error.
	Authenticate(ctx context.Context, s *Session, certificate string) (upstream string, err error)
	// Authenticated is called when the refinery has acknowledged its first upstream: only now is the session authenticated.
	Authenticated(s *Session)
	// Acknowledged is called when the refinery has acknowledged a later upstream (Session.SetUpstream).
	Acknowledged(s *Session, upstream string)
	// Closed is called exactly once for each session for which Establish was called. cause is the error of Establish or
	// Authenticate, that passed to Session.Close, ErrPeerClosed, ErrAliveTimeout, ErrAckTimeout, ErrWriteTimeout,
	// ErrHandshakeTimeout, ErrServerClosed, ErrTooManyHandshakes, a *ProtocolError, a *PanicError, or the network's error.
	Closed(s *Session, cause error)
}

// Server is the master's side of the protocol. Make one with NewServer.
type Server struct {
	handler Handler
	current atomic.Pointer[ServerOptions]
	ctx     context.Context // of every Handler call
	stop    context.CancelCauseFunc
	door    *admission.Door
	live    liveness
	silent  func(net.Conn) bool // whether the peer of a connection sent nothing that is not read yet

	applying sync.Mutex // one set of options at a time

	accepted, refused, authenticated atomic.Uint64

	mu        sync.Mutex
	listeners map[*net.Listener]struct{}
	sessions  map[*Session]struct{} // handshaking and authenticated
	closing   chan struct{}         // closed when Shutdown or Close is called
	drained   chan struct{}         // closed when the last session ended after that
}

// Stats counts what a Server has now, and has seen since it was made.
type Stats struct {
	Sessions      int    // authenticated, or closing after it
	Handshaking   int    // handshakes in flight
	Waiting       int    // connections that wait for their handshake to begin
	Accepted      uint64 // connections accepted
	Authenticated uint64 // sessions that became authenticated
	Refused       uint64 // connections that ended before Handler.Establish was called
}

// NewServer returns a server that lets h decide. It starts nothing: see Serve.
func NewServer(h Handler, o ServerOptions) (*Server, error) {
	if h == nil {
		return nil, errors.New("a Handler is required")
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	srv := &Server{
		handler:   h,
		silent:    silent,
		live:      liveness{epoch: time.Now().Add(-1), queue: checkQueue()},
		listeners: make(map[*net.Listener]struct{}),
		sessions:  make(map[*Session]struct{}),
		closing:   make(chan struct{}),
		drained:   make(chan struct{}),
	}
	srv.door = admission.NewDoor(srv.startNext)
	srv.ctx, srv.stop = context.WithCancelCause(context.Background())
	srv.apply(&o)
	return srv, nil
}

func (srv *Server) options() *ServerOptions { return srv.current.Load() }

func (srv *Server) apply(o *ServerOptions) {
	srv.applying.Lock()
	defer srv.applying.Unlock()
	srv.current.Store(o)
	srv.door.Configure(admission.Limits{
		Sessions: o.MaxSessions, Handshakes: o.MaxHandshakes, Slow: o.MaxSlowHandshakes, Waiting: o.MaxWaiting,
		PerSource: o.MaxHandshakesPerSource, Turn: min(o.HandshakeTurn, o.HandshakeTimeout/8), Patience: o.HandshakeTimeout / 2,
	})
	srv.live.configure(o)
}

// Reconfigure replaces the options. AliveTimeout and WriteTimeout apply to live sessions at once, all others to connections
// whose handshake begins later. Connections over a new limit stay. If it returns an error, nothing has changed.
func (srv *Server) Reconfigure(o ServerOptions) error {
	if err := o.Validate(); err != nil {
		return err
	}
	srv.apply(&o)
	srv.startNext()
	return nil
}

// Stats returns the counts. They are not taken at one instant, so they may differ by what happens meanwhile.
func (srv *Server) Stats() Stats {
	handshaking, waiting := srv.door.Counts()
	return Stats{
		Sessions:      srv.live.count(),
		Handshaking:   handshaking,
		Waiting:       waiting,
		Accepted:      srv.accepted.Load(),
		Authenticated: srv.authenticated.Load(),
		Refused:       srv.refused.Load(),
	}
}

// Serve accepts connections from l until Shutdown or Close, and then returns ErrServerClosed. After a
// temporary Accept error, such as too many open files, it waits and tries again; any other error is returned. It closes l,
// and may be called for several listeners.
func (srv *Server) Serve(l net.Listener) error {
	defer func() { _ = l.Close() }() // Nothing is accepted any more, whether or not it fails.
	if !srv.listen(&l, true) {
		return ErrServerClosed
	}
	defer srv.listen(&l, false)
	if err := boundBuffers(l, srv.options().SocketBytes); err != nil {
		if srv.isClosing() {
			return ErrServerClosed
		}
		return fmt.Errorf("listener %v: %w", l.Addr(), err)
	}
	var backoff time.Duration
	for {
		conn, err := l.Accept()
		if err == nil {
			backoff = 0
			srv.arrive(conn)
			continue
		}
		if srv.isClosing() {
			return ErrServerClosed
		}
		if !temporary(err) {
			return fmt.Errorf("accept on %v: %w", l.Addr(), err)
		}
		srv.tellRefused(nil, err)
		backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(backoff):
		case <-srv.closing:
			return ErrServerClosed
		}
	}
}

// temporary reports whether Accept may succeed later. On Linux it also fails for what has befallen the connection that it would have
// returned, such as EPROTO and EHOSTUNREACH, or EPERM by a firewall: so every error of the system counts, unless the listener itself
// is of no use any more.
func temporary(err error) bool {
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return !slices.Contains([]syscall.Errno{syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP, syscall.EFAULT}, number)
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// listen adds l to the listeners that Close closes, or removes it. It returns false if the server is closing.
func (srv *Server) listen(l *net.Listener, add bool) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if !add {
		delete(srv.listeners, l)
		return true
	}
	if srv.isClosing() {
		return false
	}
	srv.listeners[l] = struct{}{}
	return true
}

func (srv *Server) isClosing() bool {
	select {
	case <-srv.closing:
		return true
	default:
		return false
	}
}

// arrival is an accepted connection until it is authenticated.
type arrival struct {
	net.Conn
	silent  func(net.Conn) bool
	place   admission.Arrival
	session atomic.Pointer[Session]
}

// Silent implements admission.Peer.
func (a *arrival) Silent() bool { return a.silent(a.Conn) }

// Heard implements admission.Peer. What was read since the handshake began is noted by its session.
func (a *arrival) Heard() bool {
	s := a.session.Load()
	return s != nil && s.socket.heard.Load() || !a.Silent()
}

// arrive lets a new connection wait for its turn, or refuses it.
func (srv *Server) arrive(conn net.Conn) {
	srv.accepted.Add(1)
	a := &arrival{Conn: conn, silent: srv.silent}
	a.place = admission.Arrival{Peer: a, Came: time.Now()}
	own, other, err := srv.door.Admit(&a.place)
	if own != nil {
		srv.displace(own, ErrTooManyFromSource)
	}
	if other != nil {
		srv.displace(other, ErrTooManyHandshakes)
	}
	if err != nil {
		srv.turnAway(conn, err)
	}
	srv.startNext()
}

// displace closes a connection that lost its place to another, or waited too long for its turn.
func (srv *Server) displace(place *admission.Arrival, reason error) {
	a := place.Peer.(*arrival)
	if s := a.session.Load(); s != nil {
		s.abort(reason)
		return
	}
	if !place.Began() {
		srv.turnAway(a.Conn, reason)
		return
	}
	_ = a.Close() // This ends its handshake, which then counts it as refused.
}

// turnAway closes a connection whose handshake has not begun.
func (srv *Server) turnAway(conn net.Conn, reason error) {
	_ = conn.Close() // Nothing was said yet.
	srv.refuse(conn.RemoteAddr(), reason)
}

func (srv *Server) refuse(remote net.Addr, reason error) {
	srv.refused.Add(1)
	srv.tellRefused(remote, reason)
}

func (srv *Server) tellRefused(remote net.Addr, reason error) {
	if hook := srv.options().OnRefused; hook != nil {
		defer srv.outlive(nil, "OnRefused")
		hook(remote, reason)
	}
}

// startNext begins every handshake whose turn it is.
func (srv *Server) startNext() {
	for {
		next, gone := srv.door.Next()
		for _, g := range gone {
			srv.displace(g, ErrTooManyHandshakes)
		}
		if next == nil {
			return
		}
		go srv.handshake(next.Peer.(*arrival))
	}
}

// handshake opens a session and, once it is authenticated, starts a goroutine for the rest of its life.
func (srv *Server) handshake(a *arrival) {
	o := srv.options()
	deadline := a.place.Came.Add(o.HandshakeTimeout)
	ctx, cancel := context.WithDeadlineCause(srv.ctx, deadline, ErrHandshakeTimeout)
	s := &Session{
		server:  srv,
		socket:  socket{Conn: a.Conn},
		o:       o,
		opening: &opening{arrival: a, deadline: deadline, cancel: cancel},
	}
	s.in = wire.Reader{Conn: &s.socket, Borrows: true}
	a.session.Store(s)
	err := ErrSessionClosed // Remains if a Handler ends the goroutine with runtime.Goexit.
	defer func() {
		panicked := recover()
		cancel()
		srv.opened(a, false)
		if err != nil || panicked != nil {
			s.finish(err, panicked)
		}
	}()
	if !srv.track(s) {
		err = ErrServerClosed
		return
	}
	_ = a.SetDeadline(deadline) // If this fails, so does the next read.
	if err = s.open(ctx, o); err != nil {
		return
	}
	s.in.Borrows = s.TLS()
	s.in.Rest()
	go s.run(false)
}

// opened frees the place of a handshake that is over. It returns false if another connection was given it before.
func (srv *Server) opened(a *arrival, completed bool) bool {
	had := srv.door.Opened(&a.place, completed)
	if had {
		srv.startNext()
	}
	return had
}

// track adds s to the sessions that Shutdown ends. It returns false if Shutdown or Close was called before.
func (srv *Server) track(s *Session) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.isClosing() {
		return false
	}
	srv.sessions[s] = struct{}{}
	return true
}

// ended is called once s is closed: it frees its place, and tells the Handler or OnRefused.
func (srv *Server) ended(s *Session, cause error) {
	defer srv.forget(s) // Even if a Handler ends the goroutine with runtime.Goexit.
	srv.door.Ended()
	if s.establishing {
		srv.tellClosed(s, cause)
	} else {
		srv.refuse(s.RemoteAddr(), cause)
	}
}

// forget removes s from the sessions that Shutdown waits for.
func (srv *Server) forget(s *Session) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.sessions, s)
	srv.checkDrained()
}

func (srv *Server) tellClosed(s *Session, cause error) {
	defer srv.outlive(s, "Handler.Closed")
	srv.handler.Closed(s, cause)
}

// outlive, deferred, recovers from a panic of a callback for which there is no session left to end.
func (srv *Server) outlive(s *Session, called string) {
	v := recover()
	if v == nil {
		return
	}
	err := srv.panicked(s, v)
	if srv.options().OnPanic == nil {
		log.Printf("protocol: %s: %v\n%s", called, err, err.Stack)
	}
}

// checkDrained tells Shutdown when the last session has ended. Called with mu held.
func (srv *Server) checkDrained() {
	if len(srv.sessions) > 0 || !srv.isClosing() {
		return
	}
	select {
	case <-srv.drained:
	default:
		close(srv.drained)
	}
}
