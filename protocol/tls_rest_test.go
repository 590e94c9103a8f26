package protocol

import (
	"bytes"
	"crypto/tls"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
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
	const alive = "conn:alive;;<EOF>"
	serverConfig, clientConfig := mutual(t)
	for _, split := range []int{1, 7, 40, idleBytes, 1 << 20} {
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
			{"a heartbeat at once behind the last of the opening", []string{"auth:ack;;<EOF>", alive}, 1},
			{"one", []string{alive}, 1},
			{"three in a record", []string{alive + alive + alive}, 3},
			{"three records", []string{alive, alive, alive}, 3},
			{"one over two records", []string{alive[:5], alive[5:] + alive}, 2},
			{"one larger than what a session keeps", []string{`conn:alive;;{"status":"` + strings.Repeat("s", 200) + `"}<EOF>`}, 1},
			{"one more", []string{alive}, 1},
		} {
			for _, record := range exchange.written {
				say(t, conn, record)
			}
			hear(t, conn, strings.Repeat(alive, exchange.answers))
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

	state := h.last.Load().in.conn.(*tls.Conn).ConnectionState()
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
	stacks := make([]byte, 1<<20)
	for stack := range bytes.SplitSeq(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
		if bytes.Contains(stack, []byte("protocol.(*Session).run(")) {
			return !bytes.Contains(stack, []byte("crypto/tls"))
		}
	}
	return false
}
