package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Every timer, on fake time over a connection in memory: not a millisecond early, and at the time.

// session begins an authenticated session with a raw peer.
func session(t *testing.T, o ServerOptions) (*recorder, *Server, net.Conn) {
	t.Helper()
	h := newRecorder()
	l := newPipeListener()
	srv := serve(t, l, h, o)
	c := l.dial()
	t.Cleanup(func() { _ = c.Close() })
	enter(t, c)
	h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "authenticated up:1")
	return h, srv, c
}

// after fails unless nothing happens for d less a millisecond, and then the session closes with want.
func (r *recorder) after(t *testing.T, d time.Duration, want error) {
	t.Helper()
	time.Sleep(d - time.Millisecond)
	synctest.Wait()
	select {
	case err := <-r.causes:
		t.Fatalf("closed too early: %v", err)
	default:
	}
	time.Sleep(2 * time.Millisecond)
	synctest.Wait()
	select {
	case err := <-r.causes:
		if !errors.Is(err, want) {
			t.Fatalf("closed with %v, want %v", err, want)
		}
	default:
		t.Fatalf("not closed after %v", d)
	}
}

//
func TestMasterClosesASilentSession(t *testing.T) {
	for _, tc := range []struct {
		name string
		talk func(t *testing.T, c net.Conn)
	}{
		{"never a word", func(*testing.T, net.Conn) {}},
		{"after heartbeats", func(t *testing.T, c net.Conn) {
			for range 20 {
				time.Sleep(34 * time.Second)
				say(t, c, "conn:alive;;<EOF>")
				hear(t, c, "conn:alive;;<EOF>")
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, _, c := session(t, DefaultServerOptions())
				tc.talk(t, c)
				h.after(t, DefaultAliveTimeout, ErrAliveTimeout)
			})
		})
	}
}

func TestBytesThatMakeNoMessageAreSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, c := session(t, DefaultServerOptions())
		var talking sync.WaitGroup
		talking.Go(func() {
			for _, err := c.Write([]byte("conn:alive;;{")); err == nil; _, err = c.Write([]byte(" ")) {
				time.Sleep(time.Second)
			}
		})
		h.after(t, DefaultAliveTimeout, ErrAliveTimeout)
		talking.Wait()
	})
}

func TestANewAliveTimeoutHoldsForLiveSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, srv, _ := session(t, DefaultServerOptions())
		o := DefaultServerOptions()
		o.AliveTimeout = 20 * time.Second
		if err := srv.Reconfigure(o); err != nil {
			t.Fatal(err)
		}
		h.after(t, 20*time.Second, ErrAliveTimeout)
	})
}

//
func TestAShorterAliveTimeoutWaitsForThoseThatDoNotKnowIt(t *testing.T) {
	const short, patience = 5 * time.Second, 35 * time.Second
	beats := func(t *testing.T, c net.Conn, n int, each time.Duration) {
		for range n {
			time.Sleep(each)
			say(t, c, "conn:alive;;<EOF>")
			hear(t, c, "conn:alive;;<EOF>")
		}
	}
	for name, tc := range map[string]struct {
		talk func(t *testing.T, c net.Conn)
		ends time.Duration // after the last word
	}{
		"one that has said nothing yet": {func(*testing.T, net.Conn) {}, patience},
		"one with its own times":        {func(t *testing.T, c net.Conn) { beats(t, c, 10, 10*time.Second) }, patience},
		"one that knows": {func(t *testing.T, c net.Conn) {
			beats(t, c, 5, 10*time.Second)
			beats(t, c, 1, 2*time.Second)
		}, short},
		"one at three quarters of it": {func(t *testing.T, c net.Conn) { beats(t, c, 3, 3*short/4) }, short},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, srv, c := session(t, DefaultServerOptions())
				o := DefaultServerOptions()
				o.AliveInterval, o.AliveTimeout, o.Patience = 2*time.Second, short, patience
				if err := srv.Reconfigure(o); err != nil {
					t.Fatal(err)
				}
				tc.talk(t, c)
				h.after(t, tc.ends, ErrAliveTimeout)
			})
		})
	}
}

//
func TestAnAcknowledgementIsNoHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.AliveInterval, o.AliveTimeout, o.Patience = 2*time.Second, 5*time.Second, 35*time.Second
		h, _, c := session(t, o)
		time.Sleep(9 * time.Second)
		if err := h.last.Load().SetUpstream("up:2"); err != nil {
			t.Fatal(err)
		}
		hear(t, c, `auth:ack;;{"upstream":"up:2"}<EOF>`)
		say(t, c, "auth:ack;;<EOF>")
		h.expect(t, "acknowledged up:2")
		time.Sleep(time.Second)
		say(t, c, "conn:alive;;<EOF>") // ten seconds after the handshake: its interval is ten
		hear(t, c, "conn:alive;;<EOF>")
		h.after(t, 35*time.Second, ErrAliveTimeout)
	})
}

func TestANewWriteTimeoutHoldsForAWriteInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, srv, c := session(t, DefaultServerOptions())
		say(t, c, "conn:alive;;<EOF>") // The answer is never read.
		time.Sleep(time.Second)
		o := DefaultServerOptions()
		o.WriteTimeout = 2 * time.Second
		if err := srv.Reconfigure(o); err != nil {
			t.Fatal(err)
		}
		h.after(t, time.Second, ErrWriteTimeout)
	})
}

func TestMasterClosesASessionThatDoesNotAcknowledge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, c := session(t, DefaultServerOptions())
		go func() { _, _ = io.Copy(io.Discard, c) }()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-time.After(10 * time.Second):
					_, _ = c.Write([]byte("conn:alive;;<EOF>"))
				case <-stop:
					return
				}
			}
		}()
		if err := h.last.Load().SetUpstream("up:2"); err != nil {
			t.Fatal(err)
		}
		// The socket closes a moment after conn:close, as this peer does not close it.
		h.after(t, DefaultAliveTimeout+time.Second, ErrAckTimeout)
	})
}

//
func TestMasterClosesASessionThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, c := session(t, DefaultServerOptions())
		time.Sleep(3 * time.Second)
		say(t, c, "conn:alive;;<EOF>") // The answer is never read.
		h.after(t, DefaultWriteTimeout, ErrWriteTimeout)
	})
}

//
func TestCloseDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, _ := session(t, DefaultServerOptions())
		before := time.Now()
		cause := errors.New("suspended")
		if err := h.last.Load().SetUpstream("up:2"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // The upstream is being written, and hangs.
		h.last.Load().Close(cause)
		if waited := time.Since(before); waited != 0 {
			t.Fatalf("SetUpstream and Close took %v", waited)
		}
		h.after(t, DefaultWriteTimeout, cause)
	})
}

//
func TestHandshakeHasOneDeadline(t *testing.T) {
	for _, tc := range []struct {
		name string
		talk func(t *testing.T, c net.Conn)
	}{
		{"nothing", func(*testing.T, net.Conn) {}},
		{"one byte a second", func(t *testing.T, c net.Conn) {
			for _, b := range []byte(testEstablish)[:9] {
				say(t, c, string(b))
				time.Sleep(time.Second)
			}
		}},
		{"no auth:start", func(t *testing.T, c net.Conn) {
			time.Sleep(9 * time.Second)
			say(t, c, testEstablish)
			hear(t, c, "conn:startAuth;;<EOF>")
		}},
		{"no auth:ack", func(t *testing.T, c net.Conn) {
			time.Sleep(5 * time.Second)
			say(t, c, testEstablish)
			hear(t, c, "conn:startAuth;;<EOF>")
			time.Sleep(4 * time.Second)
			say(t, c, testAuthStart)
			hear(t, c, testGrant)
		}},
		{"answer not read", func(t *testing.T, c net.Conn) { say(t, c, testEstablish) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := DefaultServerOptions()
				h := newRecorder()
				o.OnRefused = func(_ net.Addr, reason error) { h.causes <- reason }
				l := newPipeListener()
				serve(t, l, h, o)
				begin := time.Now()
				c := l.dial()
				defer c.Close()
				tc.talk(t, c)
				h.after(t, time.Until(begin.Add(DefaultHandshakeTimeout)), ErrHandshakeTimeout)
			})
		})
	}
}

func TestADeniedRefineryHasUntilTheDeadlineToClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denied := errors.New("denied")
		h := newRecorder()
		h.authenticate = func(context.Context, *Session, string) (string, error) { return "", denied }
		l := newPipeListener()
		serve(t, l, h, DefaultServerOptions())
		c := l.dial()
		defer c.Close()
		say(t, c, testEstablish)
		hear(t, c, "conn:startAuth;;<EOF>")
		say(t, c, testAuthStart)
		hear(t, c, "auth:dec;;<EOF>")
		h.after(t, DefaultHandshakeTimeout, denied)
	})
}

func TestAHandlerThatDecidesTooLateGrantsNothing(t *testing.T) {
	for name, late := range map[string]func(context.Context) error{
		"yes":                  func(context.Context) error { return nil },
		"its context's error":  context.Context.Err,
		"its context's reason": context.Cause,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newRecorder()
				h.authenticate = func(ctx context.Context, _ *Session, _ string) (string, error) {
					<-ctx.Done()
					return "up:1", late(ctx)
				}
				l := newPipeListener()
				serve(t, l, h, DefaultServerOptions())
				c := l.dial()
				defer c.Close()
				say(t, c, testEstablish)
				hear(t, c, "conn:startAuth;;<EOF>")
				say(t, c, testAuthStart)
				rest, err := io.ReadAll(c)
				if strings.Contains(string(rest), "auth:ack") || err != nil {
					t.Errorf("read %q, %v", rest, err)
				}
				if err := h.cause(t); !errors.Is(err, ErrHandshakeTimeout) {
					t.Errorf("closed with %v", err)
				}
			})
		})
	}
}

// client begins an authenticated session of a Client with a raw master.
func client(t *testing.T, change func(*ClientOptions)) (*Client, net.Conn, chan error) {
	t.Helper()
	o := testClientOptions()
	if change != nil {
		change(&o)
	}
	here, there := net.Pipe()
	t.Cleanup(func() { _ = there.Close() })
	begun := make(chan *Client)
	ended := make(chan error, 1)
	go func() {
		c, err := Handshake(t.Context(), here, o)
		begun <- c
		if err != nil {
			ended <- err
			return
		}
		ended <- c.Run(t.Context())
	}()
	hear(t, there, testEstablish)
	say(t, there, "conn:startAuth;;<EOF>")
	hear(t, there, testAuthStart)
	say(t, there, testGrant)
	hear(t, there, "auth:ack;;<EOF>")
	c := <-begun
	if c == nil {
		t.Fatal(<-ended)
	}
	synctest.Wait()
	return c, there, ended
}

//
func TestRefinerySendsAliveEachIntervalWithJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, master, ended := client(t, nil)
		least, most := time.Hour, time.Duration(0)
		for range 500 {
			begin := time.Now()
			hear(t, master, "conn:alive;;<EOF>")
			took := time.Since(begin)
			least, most = min(least, took), max(most, took)
			say(t, master, "conn:alive;;<EOF>")
		}
		if least < 9*time.Second || most > 11*time.Second || most-least < time.Second {
			t.Errorf("conn:alive came after %v to %v, want 10s ± 10 %%", least, most)
		}
		_ = master.Close()
		if err := <-ended; !errors.Is(err, ErrPeerClosed) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestRefineryClosesASilentMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, master, ended := client(t, nil)
		go func() { _, _ = io.Copy(io.Discard, master) }()
		begin := time.Now()
		say(t, master, "conn:alive;;<EOF>")
		if err := <-ended; !errors.Is(err, ErrAliveTimeout) {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begin); took != DefaultAliveTimeout {
			t.Errorf("it took %v, want %v", took, DefaultAliveTimeout)
		}
	})
}

func TestRefineryClosesAMasterThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ended := client(t, nil)
		begin := time.Now()
		if err := <-ended; !errors.Is(err, ErrWriteTimeout) {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begin) - DefaultWriteTimeout; took < 9*time.Second || took > 11*time.Second {
			t.Errorf("noticed %v after the first conn:alive was due", took)
		}
	})
}

func TestAnswersToAliveAreNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, master, ended := client(t, nil)
		hear(t, master, "conn:alive;;<EOF>")
		hear(t, master, "conn:alive;;<EOF>") // Neither is answered yet.
		say(t, master, "conn:alive;;<EOF>conn:alive;;<EOF>")
		synctest.Wait()
		begin := time.Now()
		say(t, master, "conn:alive;;<EOF>") // This one is the master's own.
		hear(t, master, "conn:alive;;<EOF>")
		if took := time.Since(begin); took != 0 {
			t.Errorf("the master's own conn:alive was answered after %v", took)
		}
		_ = master.Close()
		<-ended
	})
}

func TestRefineryReportsItsLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := []struct {
			status, load string
			ok           bool
			want         string
		}{
			{"ok", "0.5", true, `conn:alive;;{"status":"ok","load":"0.5"}<EOF>`},
			{"ok", "0.5", false, "conn:alive;;<EOF>"},
			{"hopper empty", "", true, `conn:alive;;{"status":"hopper empty","load":""}<EOF>`},
			{"ok", "50%", true, "conn:alive;;<EOF>"},
			{strings.Repeat("x", 256+1), "0.5", true, "conn:alive;;<EOF>"},
		}
		next := 0
		_, master, ended := client(t, func(o *ClientOptions) {
			o.Load = func() (string, string, bool) {
				r := reports[min(next, len(reports)-1)]
				next++
				return r.status, r.load, r.ok
			}
		})
		for _, r := range reports {
			hear(t, master, r.want)
			say(t, master, "conn:alive;;<EOF>")
		}
		_ = master.Close()
		<-ended
	})
}

//
func TestHandshakeOfARefineryEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultClientOptions()
		o.ID, o.Version, o.Type = "a", "0.1.0", "refinery"
		here, there := net.Pipe()
		defer there.Close()
		go func() { _, _ = io.Copy(io.Discard, there) }()
		begin := time.Now()
		_, err := Handshake(t.Context(), here, o)
		if took := time.Since(begin); !errors.Is(err, ErrHandshakeTimeout) || took != DefaultHandshakeTimeout {
			t.Errorf("Handshake returned %v after %v", err, took)
		}
	})
}

func TestHandshakeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultClientOptions()
		o.ID, o.Version, o.Type = "a", "0.1.0", "refinery"
		here, there := net.Pipe()
		defer there.Close()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("stopped"))
		defer cancel()
		if _, err := Handshake(ctx, here, o); err == nil || err.Error() != "stopped" {
			t.Errorf("Handshake returned %v", err)
		}
	})
}

// whichever session it is.
func TestAWriteThatHangsIsNoticedAmongManySessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRecorder()
		l := newPipeListener()
		serve(t, l, h, DefaultServerOptions())
		var last net.Conn
		for i := range 20 {
			last = l.dial()
			defer last.Close()
			enterAs(t, last, fmt.Sprint(i))
			time.Sleep(100 * time.Millisecond)
		}
		say(t, last, testAlive) // Its answer is not read.
		h.after(t, DefaultWriteTimeout, ErrWriteTimeout)
	})
}
