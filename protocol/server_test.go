package protocol

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// refusals is an OnRefused that can be waited for.
type refusals chan error

func (r refusals) hook(_ net.Addr, reason error) { r <- reason }

// serveRefusing runs a server in memory, and returns whom it refuses too.
func serveRefusing(t *testing.T, o ServerOptions) (*pipeListener, *Server, refusals) {
	t.Helper()
	refused := make(refusals, 10)
	o.OnRefused = refused.hook
	l := newPipeListener()
	return l, serve(t, l, newRecorder(), o), refused
}

func (r refusals) expect(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-r:
		if !errors.Is(err, want) {
			t.Fatalf("refused because of %v, want %v", err, want)
		}
	case <-time.After(patience):
		t.Fatalf("nothing was refused, want %v", want)
	}
}

// fromAddr is a connection that comes from any address a test likes.
type fromAddr struct {
	net.Conn
	addr net.Addr
}

func (c fromAddr) RemoteAddr() net.Addr { return c.addr }

func (l *pipeListener) dialFrom(ip string) net.Conn {
	here, there := net.Pipe()
	l.conns <- fromAddr{there, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 1))}
	return here
}

func TestLimitsRefuseWhatIsOverThem(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*ServerOptions)
		first  []string // addresses of the connections that fit
		over   string   // the one that does not
		other  string   // one that fits all the same, from elsewhere
		want   error
		stats  Stats
	}{
		{
			"R-6.4 sessions", func(o *ServerOptions) { o.MaxSessions = 2 },
			[]string{"10.0.0.1", "10.0.0.2"}, "10.0.0.3", "", ErrTooManySessions,
			Stats{Handshaking: 2, Accepted: 3, Refused: 1},
		},
		{
			"R-6.5 per source", func(o *ServerOptions) { o.MaxHandshakesPerSource = 2 },
			[]string{"10.0.0.1", "::ffff:10.0.0.1"}, "10.0.0.1", "10.0.0.2", ErrTooManyFromSource,
			Stats{Handshaking: 3, Accepted: 4, Refused: 1},
		},
		{
			"R-6.5 per source in an IPv6 network", func(o *ServerOptions) { o.MaxHandshakesPerSource = 2 },
			[]string{"2001:db8::1", "2001:db8::1", "2001:db8::2"}, "2001:db8::1", "2001:db8::2", ErrTooManyFromSource,
			Stats{Handshaking: 4, Accepted: 5, Refused: 1},
		},
		{
			"R-6.5 per source, by whichever interface", func(o *ServerOptions) { o.MaxHandshakesPerSource = 2 },
			[]string{"fe80::1%a", "fe80::1%b"}, "fe80::1%a", "fe80::2%a", ErrTooManyFromSource,
			Stats{Handshaking: 3, Accepted: 4, Refused: 1},
		},
		{
			"R-6.6 waiting for a turn", func(o *ServerOptions) { o.MaxHandshakes, o.MaxWaiting = 2, 1 },
			[]string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, "10.0.0.4", "", ErrTooManyHandshakes,
			Stats{Handshaking: 2, Waiting: 1, Accepted: 4, Refused: 1},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := DefaultServerOptions()
				tc.change(&o)
				l, srv, refused := serveRefusing(t, o)
				for _, ip := range tc.first {
					defer l.dialFrom(ip).Close()
				}
				synctest.Wait()
				if s := srv.Stats(); s.Refused != 0 || s.Handshaking+s.Waiting != len(tc.first) {
					t.Errorf("within the limit: stats %+v", s)
				}
				over := l.dialFrom(tc.over)
				defer over.Close()
				if tc.other != "" {
					defer l.dialFrom(tc.other).Close()
				}
				refused.expect(t, tc.want)
				if _, err := over.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("the refused connection reads %v, want EOF", err)
				}
				synctest.Wait()
				if diff := cmp.Diff(tc.stats, srv.Stats()); diff != "" {
					t.Errorf("stats -want +got:\n%s", diff)
				}
			})
		})
	}
}

func TestWaitingConnectionsGetTheirTurnInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.MaxHandshakes = 1
		h := newRecorder()
		l := newPipeListener()
		srv := serve(t, l, h, o)
		var conns []net.Conn
		for range 20 {
			conns = append(conns, l.dial())
		}
		synctest.Wait()
		if diff := cmp.Diff(Stats{Handshaking: 1, Waiting: 19, Accepted: 20}, srv.Stats()); diff != "" {
			t.Errorf("stats -want +got:\n%s", diff)
		}
		for _, c := range conns {
			enter(t, c)
		}
		synctest.Wait()
		if diff := cmp.Diff(Stats{Sessions: 20, Accepted: 20, Authenticated: 20}, srv.Stats()); diff != "" {
			t.Errorf("stats -want +got:\n%s", diff)
		}
		for _, c := range conns {
			_ = c.Close()
		}
		synctest.Wait()
		if diff := cmp.Diff(Stats{Accepted: 20, Authenticated: 20}, srv.Stats()); diff != "" {
			t.Errorf("stats -want +got:\n%s", diff)
		}
	})
}

func TestAPlaceIsGivenBackOnceAuthenticatedOrRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.MaxHandshakesPerSource = 1
		l, srv, refused := serveRefusing(t, o)
		for range 3 {
			c := l.dialFrom("10.0.0.1")
			defer c.Close()
			enter(t, c)
			synctest.Wait()
			bad := l.dialFrom("10.0.0.1")
			say(t, bad, "GET / HTTP/1.1\r\n")
			refused.expect(t, ErrProtocol)
		}
		synctest.Wait()
		want := Stats{Sessions: 3, Accepted: 6, Authenticated: 3, Refused: 3}
		if diff := cmp.Diff(want, srv.Stats()); diff != "" {
			t.Errorf("stats -want +got:\n%s", diff)
		}
	})
}

func TestConnectionsThatNeverSpeakDoNotKeepTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := make(refusals, 100)
		o := DefaultServerOptions()
		o.MaxHandshakes, o.OnRefused = 2, refused.hook
		h := newRecorder()
		l := newPipeListener()
		srv := serve(t, l, h, o)
		for range 10 {
			defer l.dial().Close()
		}
		time.Sleep(DefaultHandshakeTimeout)
		for range 10 {
			refused.expect(t, ErrHandshakeTimeout)
		}
		c := l.dial()
		defer c.Close()
		enter(t, c)
		synctest.Wait()
		if diff := cmp.Diff(Stats{Sessions: 1, Accepted: 11, Authenticated: 1, Refused: 10}, srv.Stats()); diff != "" {
			t.Errorf("stats -want +got:\n%s", diff)
		}
	})
}

func TestReconfigureHoldsForNewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.MaxHandshakes = 1
		h := newRecorder()
		l := newPipeListener()
		srv := serve(t, l, h, o)
		first, second := l.dial(), l.dial()
		defer first.Close()
		synctest.Wait()
		o.MaxHandshakes = 2
		if err := srv.Reconfigure(o); err != nil {
			t.Fatal(err)
		}
		enter(t, second) // It waited, and the new limit gave it its turn.
		o.MaxSessions = 0
		if err := srv.Reconfigure(o); err == nil || !strings.Contains(err.Error(), "MaxSessions is 0") {
			t.Fatalf("Reconfigure returned %v", err)
		}
		o.MaxSessions = 2
		if err := srv.Reconfigure(o); err != nil {
			t.Fatal(err)
		}
		third := l.dial()
		if _, err := third.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a connection over the new limit reads %v, want EOF", err)
		}
		say(t, second, "conn:alive;;<EOF>")
		hear(t, second, "conn:alive;;<EOF>")
	})
}

// flaky fails its first Accepts.
type flaky struct {
	net.Listener
	errs []error
}

func (l *flaky) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

func TestAcceptErrorsThatPassAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := make(refusals, 100)
		o := DefaultServerOptions()
		o.OnRefused = refused.hook
		memory := newPipeListener()
		full := &net.OpError{Op: "accept", Err: syscall.EMFILE}
		h := newRecorder()
		begin := time.Now()
		serve(t, &flaky{memory, []error{full, full, full, full, full, full, full, full, full, full}}, h, o)
		c := memory.dial()
		defer c.Close()
		// 5, 10, 20, 40, 80, 160, 320 and 640 ms, then a second each.
		if waited := time.Since(begin); waited != 3275*time.Millisecond {
			t.Errorf("the listener was left alone for %v", waited)
		}
		enter(t, c)
		for range 10 {
			refused.expect(t, syscall.EMFILE)
		}
	})
}

func TestServeReturnsAnAcceptErrorThatStays(t *testing.T) {
	srv, err := NewServer(newRecorder(), DefaultServerOptions())
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := srv.Serve(&flaky{newPipeListener(), []error{broken}}); !errors.Is(err, broken) {
		t.Errorf("Serve returned %v", err)
	}
}

// listening returns how many listeners are being served.
func (srv *Server) listening() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return len(srv.listeners)
}

func TestServeThatIsClosedAsItBeginsSaysSo(t *testing.T) {
	for range 200 {
		l := listen(t)
		srv, err := NewServer(newRecorder(), DefaultServerOptions())
		if err != nil {
			t.Fatal(err)
		}
		served, begun := make(chan error, 1), make(chan struct{})
		go func() {
			close(begun)
			served <- srv.Serve(l)
		}()
		<-begun
		for srv.listening() == 0 {
			continue
		}
		_ = srv.Close()
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Fatalf("Serve returned %v", err)
		}
	}
}

func TestShutdownSaysGoodbyeAndWaitsForHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRecorder()
		release := make(chan struct{})
		h.onEvent = func(event string, _ *Session) {
			if strings.HasPrefix(event, "closed") {
				<-release
			}
		}
		l := newPipeListener()
		refused := make(refusals, 10)
		o := DefaultServerOptions()
		o.OnRefused, o.MaxHandshakes = refused.hook, 1
		srv := serve(t, l, h, o)
		in := l.dial()
		enter(t, in)
		synctest.Wait()
		handshaking, waiting := l.dial(), l.dial()
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- srv.Shutdown(t.Context()) }()
		hear(t, in, "conn:close;;<EOF>")
		_ = in.Close()
		for _, c := range []net.Conn{handshaking, waiting} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("a connection that has said nothing reads %v, want EOF", err)
			}
		}
		refused.expect(t, ErrServerClosed)
		refused.expect(t, ErrServerClosed)
		synctest.Wait()
		select {
		case err := <-down:
			t.Fatalf("Shutdown returned %v while a Handler was still told", err)
		default:
		}
		close(release)
		if err := <-down; err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		if err := h.cause(t); !errors.Is(err, ErrServerClosed) {
			t.Errorf("closed with %v", err)
		}
		if err := srv.Serve(newPipeListener()); !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve after Shutdown returned %v", err)
		}
	})
}

func TestShutdownForcesWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, srv, _ := session(t, DefaultServerOptions())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		// The peer does not read, so conn:close hangs.
		if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown returned %v", err)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("Shutdown took %v", took)
		}
		if err := h.cause(t); !errors.Is(err, ErrServerClosed) {
			t.Errorf("closed with %v", err)
		}
	})
}

// Who lost its place is no session, however long its Handler takes to notice.
func TestStatsCountNoSessionThatWasNeverAuthenticated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		decide := make(chan struct{})
		h := newRecorder()
		h.establish = func(context.Context, *Session) error { <-decide; return nil }
		o := DefaultServerOptions()
		o.MaxHandshakes, o.MaxSlowHandshakes = 1, 1
		l := newPipeListener()
		srv := serve(t, l, h, o)
		for range 2 {
			c := l.dialFrom("10.0.0.1")
			defer c.Close()
			go func() { _, _ = c.Write([]byte(testEstablish)) }()
			time.Sleep(DefaultHandshakeTurn)
		}
		defer l.dialFrom("10.0.0.2").Close()
		time.Sleep(DefaultHandshakeTurn)
		synctest.Wait()
		if diff := cmp.Diff(Stats{Accepted: 3, Handshaking: 2}, srv.Stats()); diff != "" {
			t.Errorf("stats -want +got:\n%s", diff)
		}
		close(decide)
	})
}
