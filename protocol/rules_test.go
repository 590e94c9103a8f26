package protocol

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// Rules that no transcript can show, each by the behaviour that it asks for.

// roundTrip runs a whole session of a Client with a Server over l: in, one upstream, and out again.
func roundTrip(t *testing.T, l net.Listener, o ServerOptions, dial func() (net.Conn, error)) {
	t.Helper()
	h := newRecorder()
	serve(t, l, h, o)
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	co := testClientOptions()
	c, err := Handshake(t.Context(), conn, co)
	if err != nil {
		t.Fatal(err)
	}
	if c.Upstream() != "up:1" {
		t.Errorf("upstream %q", c.Upstream())
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "authenticated up:1", "closed: closed by the peer")
}

//
func TestAnyStreamCarriesTheProtocol(t *testing.T) {
	if DefaultPort != 34308 {
		t.Errorf("the default port is %d", DefaultPort)
	}
	t.Run("TCP", func(t *testing.T) {
		l := listen(t)
		roundTrip(t, l, DefaultServerOptions(), func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) })
	})
	t.Run("Unix socket", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, l, DefaultServerOptions(), func() (net.Conn, error) { return net.Dial("unix", path) })
	})
	t.Run("memory", func(t *testing.T) {
		// Nobody can half-close this one, so that each conn:close waits its second for the other side's closing.
		synctest.Test(t, func(t *testing.T) {
			l := newPipeListener()
			roundTrip(t, l, DefaultServerOptions(), func() (net.Conn, error) { return l.dial(), nil })
		})
	})
}

//
func TestEachSecurityOfTheTransport(t *testing.T) {
	mutualServer, mutualClient := mutual(t)
	server, client := mutualServer.Clone(), mutualClient.Clone()
	server.ClientAuth, client.Certificates = tls.NoClientCert, nil
	for name, sides := range map[string]struct {
		server, client *tls.Config
		plaintext      bool
	}{
		"mutual TLS":                           {mutualServer, mutualClient, false},
		"TLS":                                  {server, client, false},
		"plaintext":                            {nil, nil, false},
		"TLS, where plaintext is taken too":    {mutualServer, mutualClient, true},
		"plaintext, where TLS is taken too":    {mutualServer, nil, true},
		"plaintext, where there is no TLS yet": {nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t)
			o := DefaultServerOptions()
			o.TLSConfig, o.Plaintext = sides.server, sides.plaintext
			roundTrip(t, l, o, func() (net.Conn, error) {
				conn, err := net.Dial("tcp", l.Addr().String())
				if err == nil && sides.client != nil {
					conn = tls.Client(conn, sides.client)
				}
				return conn, err
			})
		})
	}
}

// countedConn counts what is read from it.
type countedConn struct {
	net.Conn
	reads *atomic.Int32
}

func (c countedConn) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

// of a connection that is refused, or waits for its turn, nothing is read, not even TLS.
func TestNothingIsReadBeforeAConnectionHasItsTurn(t *testing.T) {
	config, _ := mutual(t)
	for name, over := range map[string]func(*ServerOptions){
		"MaxSessions":            func(o *ServerOptions) { o.MaxSessions = 2 },
		"MaxHandshakesPerSource": func(o *ServerOptions) { o.MaxHandshakesPerSource = 2 },
		"MaxWaiting":             func(o *ServerOptions) { o.MaxHandshakes, o.MaxWaiting = 1, 1 },
		"waits":                  func(o *ServerOptions) { o.MaxHandshakes = 1 },
		"waits for too long":     func(o *ServerOptions) { o.MaxHandshakes, o.MaxSlowHandshakes = 1, 0 },
		"closed before its turn": func(o *ServerOptions) { o.MaxHandshakes = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := DefaultServerOptions()
				o.TLSConfig = config
				over(&o)
				l := newPipeListener()
				srv := serve(t, l, newRecorder(), o)
				for range 2 {
					c := l.dialFrom("10.0.0.1")
					defer c.Close()
					if name == "MaxHandshakesPerSource" { // One that says nothing would make room.
						say(t, c, "\x16")
						synctest.Wait()
					}
				}
				here, there := net.Pipe()
				defer here.Close()
				var reads atomic.Int32
				l.conns <- fromAddr{countedConn{there, &reads}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}}
				synctest.Wait()
				if strings.HasPrefix(name, "waits for") {
					time.Sleep(DefaultHandshakeTimeout)
					synctest.Wait()
				}
				if strings.HasPrefix(name, "closed") {
					_ = srv.Close()
					synctest.Wait()
				}
				if n := reads.Load(); n != 0 {
					t.Errorf("it was read %d times", n)
				}
			})
		})
	}
}

// timeouts that fall close together are noticed late by 50 ms at most, none early.
func TestTimeoutsAreNeverEarlyAndHardlyLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many, gap = 200, 800 * time.Microsecond // The second of each look's is noticed nearly as late as may be.
		h := newRecorder()
		closed := make(map[string]time.Time) // The queue's timer closes them one after the other.
		l := newPipeListener()
		serve(t, l, h, DefaultServerOptions())
		heard := make(map[string]time.Time)
		ends := make(chan string, many)
		h.onEvent = func(event string, s *Session) {
			if strings.HasPrefix(event, "closed") {
				ends <- s.ID()
			}
		}
		for i := range many {
			id := fmt.Sprint(i)
			c := l.dial()
			defer c.Close()
			enterAs(t, c, id)
			synctest.Wait()
			heard[id] = time.Now()
			time.Sleep(gap)
		}
		for range many {
			closed[<-ends] = time.Now()
		}
		for id, at := range heard {
			if late := closed[id].Sub(at) - DefaultAliveTimeout; late < 0 || late > 50*time.Millisecond {
				t.Errorf("the silence of %s was noticed %v late", id, late)
			}
		}
	})
}

// A server wakes to look at writes only for as long as there are any: sessions that do nothing cost nothing.
func TestNothingWakesAServerWhoseSessionsAreQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, srv, c := session(t, DefaultServerOptions())
		wakesIn := func() time.Duration {
			srv.live.mu.Lock()
			defer srv.live.mu.Unlock()
			return srv.live.wake - srv.live.now()
		}
		const look = DefaultWriteTimeout / 4
		for range 3 {
			time.Sleep(look) // After the last write it wakes once more.
			synctest.Wait()
			if in := wakesIn(); in < DefaultAliveTimeout/2 {
				t.Errorf("with nothing to look at the server wakes in %v", in)
			}
			say(t, c, "conn:alive;;<EOF>")
			synctest.Wait() // The answer is being written.
			if in := wakesIn(); in != look {
				t.Errorf("with a write in flight the server wakes in %v, want %v", in, look)
			}
			hear(t, c, "conn:alive;;<EOF>")
			synctest.Wait()
		}
	})
}

// a violation in session closes at once, says nothing, and takes back what was granted.
func TestAViolationClosesAtOnceAndSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, srv, c := session(t, DefaultServerOptions())
		begin := time.Now()
		say(t, c, "conn:alive;;{}x<EOF>")
		if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
			t.Errorf("read %q, %v", rest, err)
		}
		if err := h.cause(t); !errors.Is(err, ErrProtocol) || time.Since(begin) != 0 {
			t.Errorf("closed with %v after %v", err, time.Since(begin))
		}
		if got := h.last.Load().State(); got != StateClosed {
			t.Errorf("state %v", got)
		}
		synctest.Wait()
		if got := srv.Stats().Sessions; got != 0 {
			t.Errorf("%d sessions are left", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		_, master, ended := client(t, nil)
		begin := time.Now()
		say(t, master, "auth:dec;;<EOF>")
		if rest, err := io.ReadAll(master); len(rest) > 0 || err != nil {
			t.Errorf("read %q, %v", rest, err)
		}
		if err := <-ended; !errors.Is(err, ErrProtocol) || time.Since(begin) != 0 {
			t.Errorf("Run returned %v after %v", err, time.Since(begin))
		}
	})
}

// a refinery can tell the refusals that coming back does not mend from a connection that ended.
func TestRefusalsAreToldApart(t *testing.T) {
	for name, tc := range map[string]struct {
		answers []string
		want    error
	}{
		"version":             {[]string{"conn:close;;<EOF>"}, ErrVersionRefused},
		"certificate":         {[]string{"conn:startAuth;;<EOF>", "auth:dec;;<EOF>"}, ErrDenied},
		"closed, not refused": {[]string{"conn:startAuth;;<EOF>", "conn:close;;<EOF>"}, ErrPeerClosed},
		"hung up":             {nil, ErrPeerGone},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			go func() {
				defer there.Close()
				for _, answer := range tc.answers {
					_, _ = there.Read(make([]byte, 4096))
					_, _ = there.Write([]byte(answer))
				}
				_, _ = there.Read(make([]byte, 4096))
			}()
			o := DefaultClientOptions()
			o.ID, o.Version, o.Type = "a", "0.1.0", "refinery"
			_, err := Handshake(t.Context(), here, o)
			for _, other := range []error{ErrVersionRefused, ErrDenied, ErrPeerClosed} {
				if got, want := errors.Is(err, other), errors.Is(tc.want, other); got != want {
					t.Errorf("Handshake returned %v: is %q %v, want %v", err, other, got, want)
				}
			}
		})
	}
}

// whatever the program's error is, a network's included, the caller gets that and not what it would mean of the
// master's connection.
func TestTheProgramsErrorAboutAnUpstreamIsReturnedAsItIs(t *testing.T) {
	for _, cause := range []error{errors.New("no"), io.EOF, os.ErrDeadlineExceeded} {
		for _, first := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				l := newPipeListener()
				h := newRecorder()
				serve(t, l, h, DefaultServerOptions())
				o := DefaultClientOptions()
				o.ID, o.Version, o.Type = "a", "0.1.0", "refinery"
				o.OnUpstream = func(upstream string) error {
					if first || upstream == "up:2" {
						return cause
					}
					return nil
				}
				c, err := Handshake(t.Context(), l.dial(), o)
				if !first {
					if err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					if err := h.last.Load().SetUpstream("up:2"); err != nil {
						t.Fatal(err)
					}
					err = c.Run(t.Context())
				}
				if err != cause { //nolint:errorlint // The very error, not one that wraps it.
					t.Errorf("returned %v, want %v", err, cause)
				}
				if err := h.cause(t); !errors.Is(err, ErrPeerClosed) || errors.Is(err, ErrPeerGone) {
					t.Errorf("the master's session was closed with %v", err)
				}
			})
		}
	}
}

// nothing that could forge a line of a log or steer a terminal gets past the reader.
func TestWhatAPeerAnnouncesIsSafeToPrint(t *testing.T) {
	for _, hostile := range []string{
		"\n", "\r", "\t", "\x00", "\x1b[2J", "\x7f", "\u0085", "\u009b2J", "\u00a0", "\u00ad", "\u200b", "\u2028", "\u202e", "\u2066", "\ufeff",
		"\U000e0001",
	} {
		value := "a" + hostile + "b"
		for i, establish := range [][]byte{
			wire.AppendEstablish(nil, value, "1", "t"), wire.AppendEstablish(nil, "a", value, "t"), wire.AppendEstablish(nil, "a", "1", value),
		} {
			var m wire.Message
			if _, err := wire.Decode(&m, establish, 0, 4096); err != nil {
				t.Fatal(err)
			}
			p, ok := errors.AsType[*wire.Violation](m.CheckEstablish())
			if !ok || p.Rule != "R-3.9" {
				t.Errorf("key %d: %q is taken", i+1, value)
			}
		}
		if wire.ValidStatus(value) {
			t.Errorf("status %q is taken", value)
		}
	}
	if s := "é 漢字 😀 ünïcode; <b>"; !wire.Printable(s) {
		t.Errorf("%q is refused", s)
	}
}

// optional keys of a later version are ignored in every message.
func TestOptionalKeysOfALaterVersionAreIgnored(t *testing.T) {
	const length = 200
	synctest.Test(t, func(t *testing.T) {
		h := newRecorder()
		l := newPipeListener()
		serve(t, l, h, DefaultServerOptions())
		c := l.dial()
		say(t, c, padded(testEstablish, length))
		hear(t, c, "conn:startAuth;;<EOF>")
		say(t, c, padded(testAuthStart, length))
		hear(t, c, testGrant)
		say(t, c, padded("auth:ack;;<EOF>", length))
		say(t, c, padded("conn:alive;;<EOF>", length))
		hear(t, c, "conn:alive;;<EOF>")
		say(t, c, padded("conn:close;;<EOF>", length))
		h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "authenticated up:1", "closed: closed by the peer")
	})
	synctest.Test(t, func(t *testing.T) {
		_, master, ended := client(t, nil)
		say(t, master, padded(testGrant, length))
		hear(t, master, "auth:ack;;<EOF>")
		say(t, master, padded("conn:alive;;<EOF>", length))
		hear(t, master, "conn:alive;;<EOF>")
		say(t, master, padded("conn:close;;<EOF>", length))
		if err := <-ended; !errors.Is(err, ErrPeerClosed) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// the library judges no version; what the node announces reaches the master's program as it is.
func TestVersionsAreTheProgramsToJudge(t *testing.T) {
	for _, version := range []string{"0", "1.0", "v999.9.9-rc.1+build", "not a version"} {
		synctest.Test(t, func(t *testing.T) {
			h := newRecorder()
			l := newPipeListener()
			serve(t, l, h, DefaultServerOptions())
			c := l.dial()
			defer c.Close()
			say(t, c, string(wire.AppendEstablish(nil, "a", version, "t")))
			hear(t, c, "conn:startAuth;;<EOF>")
			h.expect(t, "establish a "+version+" t")
		})
	}
}

// what lies in the socket and was not read yet is ahead of its turn too.
func TestTheMasterLooksIntoTheSocketForWhatIsAheadOfItsTurn(t *testing.T) {
	h := newRecorder()
	h.establish = func(_ context.Context, s *Session) error { return slow(s) }
	l := listen(t)
	serve(t, l, h, DefaultServerOptions())
	c := dial(t, l)
	say(t, c, testEstablish)
	h.expect(t, "establish a 0.1.0 refinery") // That was read, alone.
	say(t, c, testAuthStart)
	if err := h.cause(t); !errors.Is(err, ErrProtocol) {
		t.Errorf("closed with %v", err)
	}
}

//
func TestErrorsNeverQuoteThePeer(t *testing.T) {
	secret := "very-secret"
	for _, text := range []string{
		`auth:start;;{"cert":"` + secret + `"}x<EOF>`, `auth:start;;{"cert":"` + secret + `\x"}<EOF>`,
		`auth:start;;{"` + secret + `":1}<EOF>`, secret + ";;<EOF>", `auth:start;;{"cert":["` + secret + `"]}<EOF>`,
	} {
		var m wire.Message
		_, err := wire.Decode(&m, []byte(text), 0, 4096)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q gives error %v", text, err)
		}
	}
}
