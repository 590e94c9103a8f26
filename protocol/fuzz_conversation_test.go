package protocol

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// scripted is a connection in memory whose peer has a fixed script: each Read returns the next piece of it, or what
// there is room for, and then the end of the stream. It writes down what was written, and after how much of the script.
type scripted struct {
	mu      sync.Mutex
	pieces  [][]byte
	read    int // bytes of the script
	written []answer
	closed  bool
}

type answer struct {
	text  string
	after int // bytes of the script that were read before it
}

// newScripted divides b into pieces of the given lengths, and one of all the rest.
func newScripted(b, lengths []byte) *scripted {
	c := &scripted{}
	for _, n := range lengths {
		if n := min(int(n)+1, len(b)); n > 0 {
			c.pieces = append(c.pieces, b[:n])
			b = b[n:]
		}
	}
	if len(b) > 0 {
		c.pieces = append(c.pieces, b)
	}
	return c
}

func (c *scripted) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case len(c.pieces) == 0:
		return 0, io.EOF
	}
	n := copy(p, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	c.read += n
	return n, nil
}

func (c *scripted) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.written = append(c.written, answer{string(p), c.read})
	return len(p), nil
}

func (c *scripted) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *scripted) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "memory", Net: "pipe"} }
func (c *scripted) RemoteAddr() net.Addr             { return c.LocalAddr() }
func (c *scripted) SetDeadline(time.Time) error      { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }

// answers returns what was written, whole, and each write with how much was read before it.
func (c *scripted) answers() (whole string, each []answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.written {
		whole += a.text
	}
	return whole, c.written
}

// stringsOf returns the strings of a payload, as encoding/json reads it once the literal form is undone; nil if
// it does not read it.
func stringsOf(payload []byte) map[string]string {
	payload = bytes.Trim(payload, " \t\r\n")
	candidates := [][]byte{payload}
	if rest, literal := bytes.CutPrefix(payload, []byte(`"{`)); literal {
		for _, open := range []string{`{`, `{"`} {
			form := append([]byte(open), rest...)
			candidates = append(candidates, form, bytes.TrimSuffix(form, []byte(`"`)))
		}
	}
	for _, c := range candidates {
		var values map[string]any
		if json.Unmarshal(c, &values) != nil {
			continue
		}
		found := make(map[string]string)
		for key, v := range values {
			if s, ok := v.(string); ok {
				found[key] = s
			}
		}
		return found
	}
	return nil
}

// fuzzed is a Handler that lets in whoever has the certificate, and not version "bad".
type fuzzed struct {
	seen          []string // id, version, type and certificate
	authenticated bool
	ended         chan error
}

var errRefused = errors.New("refused by the program")

func (f *fuzzed) Establish(_ context.Context, s *Session) error {
	f.seen = []string{s.ID(), s.Version(), s.Type()}
	if s.Version() == "bad" {
		return errRefused
	}
	return nil
}

func (f *fuzzed) Authenticate(_ context.Context, _ *Session, certificate string) (string, error) {
	f.seen = append(f.seen, certificate)
	if certificate != "PEM" {
		return "", errRefused
	}
	return "up:1", nil
}

func (f *fuzzed) Authenticated(*Session)        { f.authenticated = true }
func (f *fuzzed) Acknowledged(*Session, string) {}
func (f *fuzzed) Closed(_ *Session, cause error) {
	f.ended <- cause
}

var (
	masterSays = regexp.MustCompile(`\A(conn:close;;<EOF>|conn:startAuth;;<EOF>` +
		`(auth:dec;;<EOF>|auth:ack;;\{"upstream":"up:1"\}<EOF>(conn:alive;;<EOF>)*)?)?\z`)
	refineryOpens = regexp.MustCompile(`(?s)\Aconn:establish;;(.*?)<EOF>auth:start;;(.*?)<EOF>auth:ack;;(.*?)<EOF>`)
)

// FuzzServerConversation: whatever a refinery sends, the session ends, nothing panics, the master says only what the
// tables allow, and a refinery is authenticated only if it sent exactly the opening, each message when it was its turn
// . What it sent is read by a second, independent reader.
//
//fuzz:floor 20/s
func FuzzServerConversation(f *testing.F) {
	for _, s := range []string{
		testEstablish + testAuthStart + "auth:ack;;<EOF>conn:alive;;<EOF>conn:alive;;{\"load\":\"0.5\"}<EOF>conn:close;;<EOF>",
		testEstablish + testAuthStart + "auth:ack;;<EOF>auth:ack;;<EOF>",
		testEstablish + testAuthStart + "conn:alive;;<EOF>auth:ack;;<EOF>",
		testEstablish + `auth:start;;{"cert":"other"}<EOF>conn:close;;<EOF>`,
		`conn:establish;;{"id":"a","version":"bad","type":"t"}<EOF>conn:close;;<EOF>`,
		`conn:establish;;"{id":"a","version":"1","type":"t"}"<EOF>conn:close;;<EOF>`,
	} {
		first := bytes.Index([]byte(s), []byte(wire.EOF)) + len(wire.EOF) - 1
		f.Add([]byte(s), []byte{byte(first), byte(len(testAuthStart) - 1)})
		f.Add([]byte(s), []byte{})
	}
	f.Fuzz(func(t *testing.T, script, lengths []byte) {
		synctest.Test(t, func(t *testing.T) { converseWithServer(t, script, lengths) })
	})
}

func converseWithServer(t *testing.T, script, lengths []byte) {
	t.Helper()
	h := &fuzzed{ended: make(chan error, 2)}
	o := DefaultServerOptions()
	o.EstablishBytes, o.AuthStartBytes, o.SessionBytes = 256, 512, 128
	o.OnRefused = func(_ net.Addr, reason error) { h.ended <- reason }
	o.OnPanic = func(_ *Session, err *PanicError) { t.Errorf("%v\n%s", err, err.Stack) }
	srv, err := NewServer(h, o)
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	conn := newScripted(script, lengths)
	srv.arrive(conn)
	cause := <-h.ended
	if !errors.Is(cause, ErrPeerClosed) && !errors.Is(cause, ErrProtocol) && !errors.Is(cause, errRefused) {
		t.Errorf("closed with %v", cause)
	}
	said, each := conn.answers()
	if !masterSays.MatchString(said) {
		t.Errorf("the master said %q", said)
	}
	if answers, asked := strings.Count(said, "conn:alive"), bytes.Count(script, []byte("conn:alive;;")); answers > asked {
		t.Errorf("%d answers to %d conn:alive", answers, asked)
	}
	sent := refineryOpens.FindSubmatchIndex(script)
	if !h.authenticated {
		return
	}
	if sent == nil {
		t.Fatalf("authenticated by %q", script)
	}
	establish, start := stringsOf(script[sent[2]:sent[3]]), stringsOf(script[sent[4]:sent[5]])
	want := []string{establish["id"], establish["version"], establish["type"], start["cert"]}
	if strings.Join(h.seen, "\x00") != strings.Join(want, "\x00") || start["cert"] != "PEM" {
		t.Errorf("the program was told %q, sent was %q", h.seen, want)
	}
	for i, end := range []int{sent[3] + len(wire.EOF), sent[5] + len(wire.EOF)} {
		if each[i].after != end {
			t.Errorf("%q was sent after %d bytes were read, the message has %d", each[i].text, each[i].after, end)
		}
	}
}

var (
	refinerySays = regexp.MustCompile(`\A` + regexp.QuoteMeta(testEstablish) + `(` + regexp.QuoteMeta(testAuthStart) +
		`((auth:ack;;<EOF>(?:auth:ack;;<EOF>|conn:alive;;<EOF>)*)?(conn:close;;<EOF>)?))?\z`)
	masterOpens = regexp.MustCompile(`(?s)\Aconn:startAuth;;(.*?)<EOF>auth:ack;;(.*?)<EOF>`)
)

// FuzzClientConversation: whatever a master sends, Handshake and Run end, nothing panics, the refinery says only what
// the tables allow, acknowledges each upstream that it took and no other, and is in session only if the master sent
// exactly the opening, each message when it was its turn.
//
//fuzz:floor 20/s
func FuzzClientConversation(f *testing.F) {
	const start = "conn:startAuth;;<EOF>"
	for _, s := range []string{
		start + testGrant + `auth:ack;;{"upstream":"up:2"}<EOF>conn:alive;;<EOF>conn:close;;<EOF>`,
		start + testGrant + `auth:ack;;{"upstream":"bad"}<EOF>`,
		start + `auth:ack;;{"upstream":"bad"}<EOF>`, start + `auth:ack;;"{upstream":""}<EOF>`,
		start + "auth:dec;;<EOF>", "conn:close;;<EOF>", start + "conn:close;;<EOF>",
	} {
		f.Add([]byte(s), []byte{byte(len(start) - 1), byte(len(testGrant) - 1)})
		f.Add([]byte(s), []byte{})
	}
	f.Fuzz(func(t *testing.T, script, lengths []byte) {
		synctest.Test(t, func(t *testing.T) { converseWithClient(t, script, lengths) })
	})
}

func converseWithClient(t *testing.T, script, lengths []byte) {
	t.Helper()
	var taken []string
	o := DefaultClientOptions()
	o.ID, o.Version, o.Type, o.Certificate, o.MaxMessageBytes = "a", "0.1.0", "refinery", "PEM", 256
	o.OnUpstream = func(upstream string) error {
		if upstream == "bad" {
			return errRefused
		}
		taken = append(taken, upstream)
		return nil
	}
	conn := newScripted(script, lengths)
	client, cause := Handshake(t.Context(), conn, o)
	if cause == nil {
		cause = client.Run(t.Context())
	}
	known := false
	for _, err := range []error{ErrPeerClosed, ErrProtocol, ErrVersionRefused, ErrDenied, errRefused} {
		known = known || errors.Is(cause, err)
	}
	if !known {
		t.Errorf("ended with %v", cause)
	}
	said, each := conn.answers()
	parts := refinerySays.FindStringSubmatch(said)
	if parts == nil {
		t.Fatalf("the refinery said %q", said)
	}
	goodbye := errors.Is(cause, ErrDenied) || errors.Is(cause, errRefused)
	if (parts[4] != "") != goodbye {
		t.Errorf("the refinery said %q and ended with %v", said, cause)
	}
	if got := strings.Count(parts[3], "auth:ack"); client != nil && got != len(taken) {
		t.Errorf("%d upstreams were acknowledged, %q taken", got, taken)
	}
	sent := masterOpens.FindSubmatchIndex(script)
	if client == nil {
		return
	}
	if sent == nil {
		t.Fatalf("in session after %q", script)
	}
	if want := stringsOf(script[sent[4]:sent[5]])["upstream"]; taken[0] != want {
		t.Errorf("took upstream %q, sent was %q", taken[0], want)
	}
	for i, end := range []int{sent[3] + len(wire.EOF), sent[5] + len(wire.EOF)} {
		if each[i+1].after != end {
			t.Errorf("%q was sent after %d bytes were read, the message has %d", each[i+1].text, each[i+1].after, end)
		}
	}
}
