package protocol

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// refusals is an OnRefused that can be waited for.
type refusals chan error

func (r refusals) hook(_ net.Addr, reason error) { r <- reason }

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
			"R-6.6 waiting for a turn", func(o *ServerOptions) { o.MaxHandshakes, o.MaxWaiting = 2, 1 },
			[]string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, "10.0.0.4", "", ErrTooManyHandshakes,
			Stats{Handshaking: 2, Waiting: 1, Accepted: 4, Refused: 1},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				refused := make(refusals, 10)
				o := DefaultServerOptions()
				o.OnRefused = refused.hook
				tc.change(&o)
				l := newPipeListener()
				srv := serve(t, l, newRecorder(), o)
				for _, ip := range tc.first {
					defer l.dialFrom(ip).Close()
				}
				over := l.dialFrom(tc.over)
				defer over.Close()
				if tc.other != "" {
					defer l.dialFrom(tc.other).Close()
				}
				refused.expect(t, tc.want)
				if _, err := over.Read(make([]byte, 1)); err != io.EOF {
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
		if _, err := third.Read(make([]byte, 1)); err != io.EOF {
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
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
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

func TestAPanicEndsItsSessionOnly(t *testing.T) {
	for _, event := range []string{"establish", "authenticate", "authenticated", "acknowledged", "closed"} {
		t.Run(event, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newRecorder()
				panics := make(chan *PanicError, 10)
				o := DefaultServerOptions()
				o.OnPanic = func(_ *Session, err *PanicError) { panics <- err }
				h.onEvent = func(e string, s *Session) {
					if strings.HasPrefix(e, event) && s.ID() == "a" {
						panic("trouble in " + event)
					}
				}
				l := newPipeListener()
				serve(t, l, h, o)
				bystander, c := l.dial(), l.dial()
				defer bystander.Close()
				defer c.Close()
				enterAs(t, bystander, "b")
				go func() {
					_, _ = c.Write([]byte(testEstablish))
					for _, answer := range []string{testAuthStart, "auth:ack;;<EOF>", "auth:ack;;<EOF>"} {
						if _, err := c.Read(make([]byte, 100)); err != nil {
							return
						}
						_, _ = c.Write([]byte(answer))
						synctest.Wait()
						if s := h.last.Load(); s != nil && s.ID() == "a" {
							_ = s.SetUpstream("up:2")
						}
					}
					_ = c.Close()
				}()
				err := <-panics
				if err.Error() != "panic: trouble in "+event || !strings.Contains(string(err.Stack), "server_test.go") {
					t.Errorf("panic %v with stack\n%s", err, err.Stack)
				}
				cause := h.cause(t)
				if _, ok := errors.AsType[*PanicError](cause); ok == (event == "closed") {
					t.Errorf("closed with %v", cause)
				}
				say(t, bystander, "conn:alive;;<EOF>")
				hear(t, bystander, "conn:alive;;<EOF>")
			})
		})
	}
}

func enterAs(t *testing.T, c net.Conn, id string) {
	t.Helper()
	say(t, c, string(appendEstablish(nil, id, "0.1.0", "refinery")))
	hear(t, c, "conn:startAuth;;<EOF>")
	say(t, c, testAuthStart)
	hear(t, c, testGrant)
	say(t, c, "auth:ack;;<EOF>")
}

func TestASessionCanBeClosedFromEveryCallback(t *testing.T) {
	for _, event := range []string{"establish", "authenticate", "authenticated", "acknowledged", "closed"} {
		t.Run(event, func(t *testing.T) {
			cause := errors.New("closed in " + event)
			h := newRecorder()
			h.onEvent = func(e string, s *Session) {
				if e == "authenticated up:1" {
					_ = s.SetUpstream("up:2")
				}
				if strings.HasPrefix(e, event) {
					s.Close(cause)
					s.Close(errors.New("too late"))
				}
			}
			l := listen(t)
			serve(t, l, h, DefaultServerOptions())
			o := DefaultClientOptions()
			o.ID, o.Version, o.Type = "a", "0.1.0", "refinery"
			c, err := Handshake(t.Context(), dial(t, l), o)
			if err == nil {
				ctx, cancel := context.WithCancel(t.Context())
				if event == "closed" {
					cancel()
				}
				err = c.Run(ctx)
				cancel()
			}
			if want := map[string]error{"establish": ErrVersionRefused, "closed": context.Canceled}[event]; want != nil {
				if !errors.Is(err, want) {
					t.Errorf("the refinery got %v, want %v", err, want)
				}
			} else if !errors.Is(err, ErrPeerClosed) {
				t.Errorf("the refinery got %v", err)
			}
			want := cause
			if event == "closed" {
				want = ErrPeerClosed
			}
			if got := h.cause(t); !errors.Is(got, want) {
				t.Errorf("closed with %v, want %v", got, want)
			}
		})
	}
}

func TestUpstreamsFromManyGoroutinesAllSettle(t *testing.T) {
	h := newRecorder()
	l := listen(t)
	serve(t, l, h, DefaultServerOptions())
	o := DefaultClientOptions()
	o.ID, o.Version, o.Type = "a", "0.1.0", "refinery"
	c, err := Handshake(t.Context(), dial(t, l), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	h.expect(t, "establish a 0.1.0 refinery", "authenticate ", "authenticated up:1")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if err := h.last.Load().SetUpstream("some"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := h.last.Load().SetUpstream("final"); err != nil {
		t.Fatal(err)
	}
	for e := h.wait(t); e != "acknowledged final"; e = h.wait(t) {
		if e != "acknowledged some" {
			t.Fatalf("event %q", e)
		}
	}
	if got := [2]string{h.last.Load().Upstream(), c.Upstream()}; got != [2]string{"final", "final"} {
		t.Errorf("upstreams %q", got)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
	h.expect(t, "closed: closed by the peer")
	if err := h.last.Load().SetUpstream("x"); !errors.Is(err, ErrNotAuthenticated) {
		t.Errorf("SetUpstream on a closed session returned %v", err)
	}
	if err := h.last.Load().SetUpstream("a\n"); !errors.Is(err, ErrInvalidUpstream) {
		t.Errorf("SetUpstream of what is not printable returned %v", err)
	}
}

func TestAnInvalidUpstreamOfTheHandlerIsNotSent(t *testing.T) {
	h := newRecorder()
	h.authenticate = func(context.Context, *Session, string) (string, error) { return "a\x00", nil }
	l := listen(t)
	serve(t, l, h, DefaultServerOptions())
	o := DefaultClientOptions()
	o.ID, o.Version, o.Type = "a", "0.1.0", "refinery"
	if _, err := Handshake(t.Context(), dial(t, l), o); !errors.Is(err, ErrDenied) {
		t.Errorf("the refinery got %v", err)
	}
	if err := h.cause(t); !errors.Is(err, ErrInvalidUpstream) {
		t.Errorf("closed with %v", err)
	}
}
