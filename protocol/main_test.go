package protocol

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is after how long a test gives up on what must happen. It says nothing about how soon that has to be.
const patience = time.Minute

// recorder is a Handler that writes down what it is asked and told. Decisions are functions; nil says yes.
type recorder struct {
	establish    func(context.Context, *Session) error
	authenticate func(context.Context, *Session, string) (string, error)
	onEvent      func(event string, s *Session)

	events chan string
	causes chan error
	last   atomic.Pointer[Session] // the one that was authenticated last
}

func newRecorder() *recorder {
	return &recorder{events: make(chan string, 1000), causes: make(chan error, 1000)}
}

func (r *recorder) note(s *Session, format string, args ...any) {
	event := fmt.Sprintf(format, args...)
	r.events <- event
	if r.onEvent != nil {
		r.onEvent(event, s)
	}
}

func (r *recorder) Establish(ctx context.Context, s *Session) error {
	r.note(s, "establish %s %s %s", s.ID(), s.Version(), s.Type())
	if r.establish != nil {
		return r.establish(ctx, s)
	}
	return nil
}

func (r *recorder) Authenticate(ctx context.Context, s *Session, certificate string) (string, error) {
	r.note(s, "authenticate %s", certificate)
	if r.authenticate != nil {
		return r.authenticate(ctx, s, certificate)
	}
	return "up:1", nil
}

func (r *recorder) Authenticated(s *Session) {
	r.last.Store(s)
	r.note(s, "authenticated %s", s.Upstream())
}

func (r *recorder) Acknowledged(s *Session, upstream string) { r.note(s, "acknowledged %s", upstream) }

func (r *recorder) Closed(s *Session, cause error) {
	r.causes <- cause
	r.note(s, "closed: %v", cause)
}

// wait returns the next event.
func (r *recorder) wait(t *testing.T) string {
	t.Helper()
	select {
	case e := <-r.events:
		return e
	case <-time.After(patience):
		t.Fatal("the Handler was told nothing")
		return ""
	}
}

// expect fails unless the next events are these.
func (r *recorder) expect(t *testing.T, events ...string) {
	t.Helper()
	for _, want := range events {
		if got := r.wait(t); got != want {
			t.Fatalf("event %q, want %q", got, want)
		}
	}
}

// cause returns why the next session that closed did.
func (r *recorder) cause(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.causes:
		return err
	case <-time.After(patience):
		t.Fatal("no session was closed")
		return nil
	}
}

// serve runs a server on l, once it is prepared, until the test ends, which fails if it does not drain.
func serve(t *testing.T, l net.Listener, h Handler, o ServerOptions, prepare ...func(*Server)) *Server {
	t.Helper()
	srv, err := NewServer(h, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range prepare {
		f(srv)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("sessions are left after Close: %v", err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve returned %v, want ErrServerClosed", err)
		}
	})
	return srv
}

func expectStats(t *testing.T, srv *Server, want Stats) {
	t.Helper()
	if diff := cmp.Diff(want, srv.Stats()); diff != "" {
		t.Errorf("stats -want +got:\n%s", diff)
	}
}

// testClientOptions are those of a refinery that sends testEstablish and testAuthStart.
func testClientOptions() ClientOptions {
	o := DefaultClientOptions()
	o.ID, o.Version, o.Type, o.Certificate = "a", "0.1.0", "refinery", "PEM"
	return o
}

// join returns a client in session with the server on l.
func join(t *testing.T, l net.Listener) *Client {
	t.Helper()
	c, err := Handshake(t.Context(), dial(t, l), testClientOptions())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// pipeListener is a listener in memory, for tests on fake time.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "pipe"} }

func (l *pipeListener) dial() net.Conn {
	here, there := net.Pipe()
	l.conns <- there
	return here
}

const (
	testEstablish = `conn:establish;;{"id":"a","version":"0.1.0","type":"refinery"}<EOF>`
	testAuthStart = `auth:start;;{"cert":"PEM"}<EOF>`
	testGrant     = `auth:ack;;{"upstream":"up:1"}<EOF>`
	testAlive     = "conn:alive;;<EOF>"
)

// say writes and hear reads exactly that.
func say(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatalf("write %.200q: %v", s, err)
	}
}

func hear(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		k, err := c.Read(got[n:])
		n += k
		if err != nil || string(got[:n]) != want[:n] {
			t.Fatalf("read %q, %v; want %q", got[:n], err, want)
		}
	}
}

// enter goes through the whole opening over a raw connection.
func enter(t *testing.T, c net.Conn) {
	t.Helper()
	say(t, c, testEstablish)
	hear(t, c, "conn:startAuth;;<EOF>")
	say(t, c, testAuthStart)
	hear(t, c, testGrant)
	say(t, c, "auth:ack;;<EOF>")
}
