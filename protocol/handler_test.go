package protocol

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

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
				if err.Error() != "panic: trouble in "+event || !strings.Contains(string(err.Stack), "handler_test.go") {
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
	say(t, c, string(wire.AppendEstablish(nil, id, "0.1.0", "refinery")))
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
	c := join(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "authenticated up:1")
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

func TestTheStreamEndsWithConnClose(t *testing.T) {
	h := newRecorder()
	l := listen(t)
	serve(t, l, h, DefaultServerOptions())
	c := dial(t, l)
	enter(t, c)
	h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "authenticated up:1")
	h.last.Load().Close(nil)
	hear(t, c, "conn:close;;<EOF>")
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read %v, want EOF", err)
	}
	// the socket is still there, so that the refinery's own last words cannot reset it.
	if got := h.last.Load().State(); got != StateClosing {
		t.Errorf("state %v, want %v", got, StateClosing)
	}
	_ = c.Close()
	if err := h.cause(t); !errors.Is(err, ErrSessionClosed) {
		t.Errorf("closed with %v", err)
	}
}

// A Handler that decides need not wait for its deadline once nobody waits for the decision.
func TestTheContextOfADecisionEndsWithItsSession(t *testing.T) {
	for name, end := range map[string]func(*Session){
		"closed":  func(s *Session) { s.Close(nil) },
		"aborted": func(s *Session) { s.abort(ErrTooManyHandshakes) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				took := make(chan time.Duration, 1)
				h := newRecorder()
				h.establish = func(ctx context.Context, s *Session) error {
					begin := time.Now()
					go end(s)
					<-ctx.Done()
					took <- time.Since(begin)
					return nil
				}
				l := newPipeListener()
				serve(t, l, h, DefaultServerOptions())
				c := l.dial()
				defer c.Close()
				say(t, c, testEstablish)
				go func() { _, _ = io.Copy(io.Discard, c) }()
				if d := <-took; d != 0 {
					t.Errorf("after %v", d)
				}
			})
		})
	}
}

// As a Handler's test does that fails.
func TestAHandlerThatEndsTheGoroutineInClosedKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRecorder()
		h.onEvent = func(event string, _ *Session) {
			if strings.HasPrefix(event, "closed") {
				runtime.Goexit()
			}
		}
		l := newPipeListener()
		srv := serve(t, l, h, DefaultServerOptions()) // It drains, or the test fails.
		c := l.dial()
		enter(t, c)
		_ = c.Close()
		synctest.Wait()
		expectStats(t, srv, Stats{Accepted: 1, Authenticated: 1})
	})
}
