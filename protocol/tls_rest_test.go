package protocol

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// splitting writes so many bytes at a time.
type splitting struct {
	net.Conn
	bytes int
}

func (s splitting) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		var k int
		k, err = s.Conn.Write(p[:min(s.bytes, len(p))])
		n, p = n+k, p[k:]
	}
	return n, err
}

// With TLS a session waits below TLS, whose records and the protocol's messages come in any pieces and in any number.
func TestASessionOverTLSLosesNothingWhileItRests(t *testing.T) {
	serverConfig, clientConfig := mutual(t)
	for _, split := range []int{1, 7, 40, wire.IdleBytes, 1 << 20} {
		h := newRecorder()
		o := DefaultServerOptions()
		o.TLSConfig = serverConfig
		l := listen(t)
		serve(t, l, h, o)
		conn := tls.Client(splitting{dial(t, l), split}, clientConfig)
		say(t, conn, testEstablish)
		hear(t, conn, "conn:startAuth;;<EOF>")
		say(t, conn, testAuthStart)
		hear(t, conn, testGrant)
		for _, exchange := range []struct {
			name    string
			written []string // a record each
			answers int
		}{
			{"a heartbeat at once behind the last of the opening", []string{"auth:ack;;<EOF>", testAlive}, 1},
			{"one", []string{testAlive}, 1},
			{"three in a record", []string{testAlive + testAlive + testAlive}, 3},
			{"three records", []string{testAlive, testAlive, testAlive}, 3},
			{"one over two records", []string{testAlive[:5], testAlive[5:] + testAlive}, 2},
			{"one larger than what a session keeps", []string{`conn:alive;;{"status":"` + strings.Repeat("s", 200) + `"}<EOF>`}, 1},
			{"one more", []string{testAlive}, 1},
		} {
			for _, record := range exchange.written {
				say(t, conn, record)
			}
			hear(t, conn, strings.Repeat(testAlive, exchange.answers))
			if t.Failed() {
				t.Fatalf("%s, %d bytes at a time", exchange.name, split)
			}
		}
		if status, _ := h.last.Load().Load(); len(status) != 200 {
			t.Errorf("%d bytes at a time: a status of %d bytes", split, len(status))
		}
		say(t, conn, "conn:close;;<EOF>")
		if err := h.cause(t); err != ErrPeerClosed { //nolint:errorlint // Not the one without conn:close.
			t.Errorf("%d bytes at a time: closed with %v", split, err)
		}
	}
}

func TestASessionOverTLSRestsBelowTLSAndKeepsNoCertificate(t *testing.T) {
	serverConfig, clientConfig := mutual(t)
	h := newRecorder()
	o := DefaultServerOptions()
	o.TLSConfig = serverConfig
	l := listen(t)
	serve(t, l, h, o)
	conn := tls.Client(dial(t, l), clientConfig)
	enter(t, conn)
	say(t, conn, "conn:alive;;<EOF>")
	hear(t, conn, "conn:alive;;<EOF>")
	h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "authenticated up:1")

	state := h.last.Load().in.Conn.(*tls.Conn).ConnectionState()
	for _, certificate := range state.PeerCertificates {
		if certificate != nil {
			t.Error("the TLS connection keeps the peer's certificate")
		}
	}
	for end := time.Now().Add(patience); !restsBelowTLS(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("no session waits below TLS")
		}
	}
}

// restsBelowTLS reports whether there is a goroutine of a session, and TLS not on its stack.
func restsBelowTLS() bool {
	stack := sessionStack()
	return stack != "" && !strings.Contains(stack, "crypto/tls")
}

// sessionStack returns the stack of a session's goroutine, with the goroutine's number in its first line.
func sessionStack() string {
	stacks := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "protocol.(*Session).run(") {
			return stack
		}
	}
	return ""
}

// enterOverTLS is session over mutual TLS, and the pipe below it. The refinery's side logs its keys.
func enterOverTLS(t *testing.T, keys io.Writer) (h *recorder, pipe net.Conn, conn *tls.Conn) {
	t.Helper()
	serverConfig, clientConfig := mutual(t)
	clientConfig.KeyLogWriter = keys
	h = newRecorder()
	o := DefaultServerOptions()
	o.TLSConfig = serverConfig
	l := newPipeListener()
	serve(t, l, h, o)
	pipe = l.dial()
	t.Cleanup(func() { _ = pipe.Close() })
	conn = tls.Client(pipe, clientConfig)
	enter(t, conn)
	return h, pipe, conn
}

// sessionOverTLS is enterOverTLS in a bubble, when the session has come to rest.
func sessionOverTLS(t *testing.T) (*recorder, net.Conn) {
	t.Helper()
	h, _, conn := enterOverTLS(t, nil)
	synctest.Wait()
	return h, conn
}

func TestASessionOverTLSKeepsItsStackWhileMessagesFollowBriskly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, conn := sessionOverTLS(t)
		goroutine := func() string {
			number, _, _ := strings.Cut(sessionStack(), "[")
			return number
		}
		beat := func(after time.Duration) (stays bool) {
			time.Sleep(after)
			before := goroutine()
			say(t, conn, "conn:alive;;<EOF>")
			hear(t, conn, "conn:alive;;<EOF>")
			synctest.Wait()
			return goroutine() == before
		}
		begun := goroutine()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if goroutine() != begun {
			t.Error("after the opening the session does not rest at once")
		}
		for _, gap := range []struct {
			after time.Duration
			stays bool
		}{
			{5 * time.Second, false},
			{501 * time.Millisecond, false},
			{500 * time.Millisecond, true},
			{500 * time.Millisecond, true}, {500 * time.Millisecond, true}, {500 * time.Millisecond, true},
			{20 * time.Second, false}, // It went to rest meanwhile, and goes again.
			{time.Millisecond, true},
		} {
			if stays := beat(gap.after); stays != gap.stays {
				t.Errorf("%v after the last message the stack is kept: %t", gap.after, stays)
			}
		}
		kept := goroutine()
		time.Sleep(time.Second - time.Millisecond)
		synctest.Wait()
		if goroutine() != kept {
			t.Error("the stack is not kept for a second after a message that followed briskly")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if goroutine() == kept {
			t.Error("the stack is kept for more than a second without a message")
		}
		say(t, conn, "conn:close;;<EOF>")
		synctest.Wait()
		if err := h.cause(t); !errors.Is(err, ErrPeerClosed) {
			t.Errorf("closed with %v", err)
		}
	})
}

//
func TestABriskSessionOverTLSEndsAsAnyOther(t *testing.T) {
	begin := func(t *testing.T) (*recorder, net.Conn, error) {
		h, conn := sessionOverTLS(t)
		say(t, conn, "conn:alive;;<EOF>")
		hear(t, conn, "conn:alive;;<EOF>")
		synctest.Wait()
		cause := errors.New("suspended")
		h.last.Load().Close(cause)
		return h, conn, cause
	}
	t.Run("the peer does not close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, conn, cause := begin(t)
			hear(t, conn, "conn:close;;<EOF>")
			_, _ = conn.Read(make([]byte, 1)) // close_notify
			h.after(t, closeLinger, cause)
		})
	})
	t.Run("the peer takes conn:close and nothing after it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, conn, cause := begin(t)
			hear(t, conn, "conn:close;;<EOF>")
			h.after(t, closeLinger, cause)
		})
	})
	t.Run("conn:close is taken when waiting on that stack has ended", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, conn, cause := begin(t)
			time.Sleep(brisk + time.Second)
			hear(t, conn, "conn:close;;<EOF>")
			_, _ = conn.Read(make([]byte, 1))
			h.after(t, closeLinger, cause)
		})
	})
}
