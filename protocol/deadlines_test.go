package protocol

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// moment is how long before a timer ends what it waits for is still in time.
const moment = time.Millisecond

// inTime runs each conversation, which must not end by itself, on virtual time.
func inTime(t *testing.T, conversations map[string]func(*testing.T)) {
	t.Helper()
	for name, talk := range conversations {
		t.Run(name, func(t *testing.T) { synctest.Test(t, talk) })
	}
}

func TestAHandshakeAMomentBeforeItsDeadlineIsInTime(t *testing.T) {
	inTime(t, map[string]func(*testing.T){
		"R-6.2 conn:establish": func(t *testing.T) {
			_, c := arrived(t)
			time.Sleep(DefaultHandshakeTimeout - moment)
			say(t, c, testEstablish)
			hear(t, c, "conn:startAuth;;<EOF>")
		},
		"R-6.2 auth:ack": func(t *testing.T) {
			h, c := arrived(t)
			say(t, c, testEstablish)
			hear(t, c, "conn:startAuth;;<EOF>")
			say(t, c, testAuthStart)
			hear(t, c, testGrant)
			time.Sleep(DefaultHandshakeTimeout - moment)
			say(t, c, "auth:ack;;<EOF>")
			h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "authenticated up:1")
			time.Sleep(DefaultHandshakeTimeout) // Its deadline is over with it.
			say(t, c, "conn:alive;;<EOF>")
			hear(t, c, "conn:alive;;<EOF>")
		},
		"R-6.2 the master's auth:ack": func(t *testing.T) {
			o := testClientOptions()
			here, there := net.Pipe()
			defer there.Close()
			in := make(chan error, 1)
			go func() {
				c, err := Handshake(t.Context(), here, o)
				if err == nil {
					_ = c.socket.Close()
				}
				in <- err
			}()
			hear(t, there, testEstablish)
			say(t, there, "conn:startAuth;;<EOF>")
			hear(t, there, testAuthStart)
			time.Sleep(DefaultHandshakeTimeout - moment)
			say(t, there, testGrant)
			hear(t, there, "auth:ack;;<EOF>")
			if err := <-in; err != nil {
				t.Errorf("Handshake returned %v", err)
			}
		},
	})
}

func TestAMessageAMomentBeforeATimeoutIsInTime(t *testing.T) {
	inTime(t, map[string]func(*testing.T){
		"R-5.4 conn:alive": func(t *testing.T) {
			_, _, c := session(t, DefaultServerOptions())
			for range 3 {
				time.Sleep(DefaultAliveTimeout - moment)
				say(t, c, "conn:alive;;<EOF>")
				hear(t, c, "conn:alive;;<EOF>")
			}
		},
		"R-5.6 auth:ack of a new upstream": func(t *testing.T) {
			h, _, c := session(t, DefaultServerOptions())
			if err := h.last.Load().SetUpstream("up:2"); err != nil {
				t.Fatal(err)
			}
			hear(t, c, `auth:ack;;{"upstream":"up:2"}<EOF>`)
			time.Sleep(DefaultAliveTimeout / 2)
			say(t, c, "conn:alive;;<EOF>")
			hear(t, c, "conn:alive;;<EOF>")
			time.Sleep(DefaultAliveTimeout/2 - moment)
			say(t, c, "auth:ack;;<EOF>")
			h.expect(t, "acknowledged up:2")
		},
		"R-6.3 reading": func(t *testing.T) {
			_, _, c := session(t, DefaultServerOptions())
			say(t, c, "conn:alive;;<EOF>")
			time.Sleep(DefaultWriteTimeout - moment)
			hear(t, c, "conn:alive;;<EOF>")
		},
		"R-5.8 closing": func(t *testing.T) {
			h, _, c := session(t, DefaultServerOptions())
			h.last.Load().Close(nil)
			hear(t, c, "conn:close;;<EOF>")
			time.Sleep(time.Second - moment)
			say(t, c, "conn:alive;;<EOF>") // It is discarded, so the socket is still read.
		},
		"R-5.4 conn:alive of the master": func(t *testing.T) {
			_, master, _ := client(t, nil)
			go func() { _, _ = io.Copy(io.Discard, master) }()
			for range 3 {
				time.Sleep(DefaultAliveTimeout - moment)
				say(t, master, "conn:alive;;<EOF>")
			}
		},
	})
}

// arrived returns a connection to a server, to which nothing was said yet.
func arrived(t *testing.T) (*recorder, net.Conn) {
	t.Helper()
	h := newRecorder()
	l := newPipeListener()
	serve(t, l, h, DefaultServerOptions())
	c := l.dial()
	t.Cleanup(func() { _ = c.Close() })
	return h, c
}

// whoever sent conn:close waits one second for the other side to close, and no longer than the handshake may take.
func TestTheSenderOfCloseWaitsForASecond(t *testing.T) {
	t.Run("the master, in session", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, _, c := session(t, DefaultServerOptions())
			go func() { _, _ = io.Copy(io.Discard, c) }()
			cause := errors.New("suspended")
			h.last.Load().Close(cause)
			h.after(t, time.Second, cause)
		})
	})
	for _, tc := range []struct {
		name      string
		spent, in time.Duration
	}{
		{"the master, early in the handshake", 0, time.Second},
		{"the master, when the handshake's deadline is near", DefaultHandshakeTimeout - time.Second/2, time.Second / 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				refused := errors.New("refused")
				h := newRecorder()
				h.establish = func(context.Context, *Session) error { return refused }
				l := newPipeListener()
				serve(t, l, h, DefaultServerOptions())
				c := l.dial()
				defer c.Close()
				time.Sleep(tc.spent)
				say(t, c, testEstablish)
				hear(t, c, "conn:close;;<EOF>")
				h.after(t, tc.in, refused)
			})
		})
	}
	t.Run("the refinery", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, master, ended := client(t, nil)
			begin := time.Now()
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			hear(t, master, "conn:close;;<EOF>")
			if err := <-ended; !errors.Is(err, ErrSessionClosed) || time.Since(begin) != time.Second {
				t.Errorf("Run returned %v after %v", err, time.Since(begin))
			}
		})
	})
}

//
func TestRefineryClosesAMasterThatDoesNotReadAfterTheWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, master, ended := client(t, nil)
		begin := time.Now()
		say(t, master, `auth:ack;;{"upstream":"up:2"}<EOF>`) // Its answer is never read.
		if err := <-ended; !errors.Is(err, ErrWriteTimeout) || time.Since(begin) != DefaultWriteTimeout {
			t.Errorf("Run returned %v after %v", err, time.Since(begin))
		}
	})
}

// the deadline holds for TLS, and for what comes after it.
func TestTheHandshakesDeadlineHoldsForTLSToo(t *testing.T) {
	serverConfig, clientConfig := mutual(t)
	now := time.Now()
	clientConfig.Time = func() time.Time { return now } // The bubble's clock is not the certificate's.
	for name, talk := range map[string]func(t *testing.T, c net.Conn){
		"nothing":      func(*testing.T, net.Conn) {},
		"half a hello": func(t *testing.T, c net.Conn) { say(t, c, "\x16\x03\x01\x01\x00\x01\x00\x00") },
		"TLS, and nothing more": func(t *testing.T, c net.Conn) {
			time.Sleep(9 * time.Second)
			if err := tls.Client(c, clientConfig).HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newRecorder()
				o := DefaultServerOptions()
				o.TLSConfig = serverConfig
				o.OnRefused = func(_ net.Addr, reason error) { h.causes <- reason }
				l := newPipeListener()
				serve(t, l, h, o)
				begin := time.Now()
				c := l.dial()
				defer c.Close()
				talk(t, c)
				h.after(t, time.Until(begin.Add(DefaultHandshakeTimeout)), ErrHandshakeTimeout)
			})
		})
	}
}
