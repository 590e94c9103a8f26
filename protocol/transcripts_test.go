package protocol

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The format of testdata/*.txt is described in testdata/README.md.

type transcript struct {
	name  string
	lines []line
}

type line struct {
	number int
	verb   string
	text   string
}

// transcripts reads one file.
func transcripts(t *testing.T, path string) (all []transcript) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range strings.Split(string(content), "\n") {
		if name, ok := strings.CutPrefix(text, "=== "); ok {
			all = append(all, transcript{name: name})
			continue
		}
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		verb, rest, ok := strings.Cut(text, ": ")
		if !ok || len(all) == 0 {
			t.Fatalf("%s:%d: not a line of a transcript: %q", path, i+1, text)
		}
		last := &all[len(all)-1]
		last.lines = append(last.lines, line{number: i + 1, verb: verb, text: rest})
	}
	return all
}

// take removes the lines with the verb and returns their texts.
func (tr *transcript) take(verb string) (texts []string) {
	tr.lines = slices.DeleteFunc(tr.lines, func(l line) bool {
		if l.verb == verb {
			texts = append(texts, l.text)
		}
		return l.verb == verb
	})
	return texts
}

// pieces returns what a line has the script write, write by write.
func (l line) pieces(t *testing.T, side string, byByte bool) [][]byte {
	t.Helper()
	b := []byte(l.text)
	switch strings.TrimPrefix(l.verb, side) {
	case "/":
		return slices.Collect(func(yield func([]byte) bool) {
			for p := range strings.SplitSeq(l.text, "|") {
				if !yield([]byte(p)) {
					return
				}
			}
		})
	case "quoted":
		s, err := strconv.Unquote(l.text)
		if err != nil {
			t.Fatalf("line %d: %v", l.number, err)
		}
		b = []byte(s)
	case "repeat":
		count, s, _ := strings.Cut(l.text, " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			t.Fatalf("line %d: %v", l.number, err)
		}
		b = []byte(strings.Repeat(s, n))
	}
	if byByte {
		return slices.Collect(slices.Chunk(b, 1))
	}
	return [][]byte{b}
}

// play is the script's side: lines of verb own are written, lines of verb other are read. A side that ends the session
// may do so while the script still writes.
func (tr *transcript) play(t *testing.T, conn net.Conn, own, other string, byByte bool, do func(line)) {
	t.Helper()
	for _, l := range tr.lines {
		switch {
		case strings.HasPrefix(l.verb, own):
			for _, p := range l.pieces(t, own, byByte) {
				if _, err := conn.Write(p); err != nil && !closedByPeer(err) {
					t.Fatalf("line %d: %v", l.number, err)
				}
			}
		case l.verb == other:
			hear(t, conn, l.text)
		case l.verb == "hang up":
			_ = conn.Close()
		case l.verb == "end":
			rest, err := io.ReadAll(conn)
			if len(rest) > 0 || (err != nil && !closedByPeer(err)) {
				t.Fatalf("line %d: read %q, %v; want the connection closed and nothing more", l.number, rest, err)
			}
			_ = conn.Close()
		default:
			do(l)
		}
	}
}

func closedByPeer(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
}

func eachTranscript(t *testing.T, pattern string, run func(t *testing.T, tr transcript, byByte bool)) {
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts %s: %v", pattern, err)
	}
	for _, path := range files {
		for _, tr := range transcripts(t, path) {
			modes := map[string]bool{"whole": false, "byte by byte": true}
			if len(tr.take("writes as they are")) > 0 {
				delete(modes, "byte by byte")
			}
			for mode, byByte := range modes {
				t.Run(fmt.Sprintf("%s/%s/%s", filepath.Base(path), tr.name, mode), func(t *testing.T) {
					t.Parallel()
					run(t, transcript{tr.name, slices.Clone(tr.lines)}, byByte)
				})
			}
		}
	}
}

// insert replaces CERTIFICATE in what is told, and in what is said, where a line break is escaped.
func (tr *transcript) insert(certificate string, told []string) {
	for i := range told {
		told[i] = strings.ReplaceAll(told[i], "CERTIFICATE", certificate)
	}
	for i := range tr.lines {
		tr.lines[i].text = strings.ReplaceAll(tr.lines[i].text, "CERTIFICATE", strings.ReplaceAll(certificate, "\n", `\n`))
	}
}

// decide makes the Handler decide as a transcript says.
func (r *recorder) decide(t *testing.T, text string) {
	t.Helper()
	switch text {
	case "establish refused":
		r.establish = func(context.Context, *Session) error { return errors.New("refused by the handler") }
	case "authenticate refused":
		r.authenticate = func(context.Context, *Session, string) (string, error) {
			return "", errors.New("refused by the handler")
		}
	case "authenticate compares with TLS":
		r.authenticate = func(_ context.Context, s *Session, certificate string) (string, error) {
			return "up:1", proven(s, certificate)
		}
	case "establish waits for bytes":
		r.establish = func(_ context.Context, s *Session) error { return slow(s) }
	case "authenticate waits for bytes":
		r.authenticate = func(_ context.Context, s *Session, _ string) (string, error) { return "up:1", slow(s) }
	default:
		t.Fatalf("unknown decision %q", text)
	}
}

// TestMasterTranscripts plays refineries against a Server over a socket.
func TestMasterTranscripts(t *testing.T) {
	eachTranscript(t, "master-*.txt", func(t *testing.T, tr transcript, byByte bool) {
		h := newRecorder()
		refused := make(chan error, 1)
		o := DefaultServerOptions()
		o.OnRefused = func(_ net.Addr, reason error) { refused <- reason }
		o.OnReport = func(s *Session, r Report) { h.note(s, "report %q %q, %d ignored", r.Status, r.Load, r.Ignored) }
		for _, text := range tr.take("option") {
			setField(t, &o, text)
		}
		for _, text := range tr.take("decision") {
			h.decide(t, text)
		}
		session := make(chan *Session, 1)
		h.onEvent = func(event string, s *Session) {
			if strings.HasPrefix(event, "authenticated") {
				session <- s
			}
		}
		l, conn, certificate := transport(t, &o, strings.Join(tr.take("transport"), ""))
		wanted := tr.take("told")
		tr.insert(certificate, wanted)
		serve(t, l, h, o)
		var s *Session
		tr.play(t, conn(), "C", "S", byByte, func(l line) {
			if s == nil {
				s = <-session
			}
			switch l.verb {
			case "upstream":
				if err := s.SetUpstream(l.text); err != nil {
					t.Fatal(err)
				}
			case "close":
				s.Close(errors.New(l.text))
			case "load":
				if status, load := s.Load(); status+" "+load != l.text {
					t.Fatalf("line %d: load %q %q", l.number, status, load)
				}
			default:
				t.Fatalf("line %d: unknown verb %q", l.number, l.verb)
			}
		})
		for _, want := range wanted {
			if reason, ok := strings.CutPrefix(want, "refused: "); ok {
				if got := <-refused; got.Error() != reason {
					t.Fatalf("refused: %v, want %s", got, reason)
				}
				continue
			}
			h.expect(t, want)
		}
		select {
		case e := <-h.events:
			t.Fatalf("the Handler was also told %q", e)
		default:
		}
	})
}

// proven is how a program keeps: the certificate is the one whose key TLS has proven, and the id the name in it.
func proven(s *Session, certificate string) error {
	shown := s.PeerCertificates()[0]
	if block, _ := pem.Decode([]byte(certificate)); block == nil || !bytes.Equal(block.Bytes, shown.Raw) {
		return errors.New("not the certificate that TLS has proven")
	}
	if s.ID() != shown.Subject.CommonName {
		return errors.New("not the name in the certificate")
	}
	return nil
}

// transport returns a listener, what dials it, and the refinery's certificate for TLS, if it has one: TCP unless the
// transcript says otherwise.
func transport(t *testing.T, o *ServerOptions, name string) (l net.Listener, conn func() net.Conn, certificate string) {
	t.Helper()
	if name == "unix" {
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		return l, func() net.Conn {
			conn, err := net.Dial("unix", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			return conn
		}, ""
	}
	l = listen(t)
	if name == "" || name == "tcp" {
		return l, func() net.Conn { return dial(t, l) }, ""
	}
	server, client := mutual(t)
	switch name {
	case "bytes for TLS":
		o.TLSConfig = server
		return l, func() net.Conn { return dial(t, l) }, ""
	case "TLS":
		server.ClientAuth, client.Certificates = tls.NoClientCert, nil
	case "mutual TLS":
		block := &pem.Block{Type: "CERTIFICATE", Bytes: client.Certificates[0].Certificate[0]}
		certificate = string(pem.EncodeToMemory(block))
	default:
		t.Fatalf("unknown transport %q", name)
	}
	o.TLSConfig = server
	return l, func() net.Conn { return tls.Client(dial(t, l), client) }, certificate
}

// slow decides only when something that the peer sent ahead of its turn, or the end of the stream, has arrived: along
// with what was read, or in the kernel.
func slow(s *Session) error {
	if s.in.Buffered() {
		return nil
	}
	raw, err := s.socket.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return err != syscall.EAGAIN
	})
}

// TestRefineryTranscripts plays masters against a Client over a socket.
func TestRefineryTranscripts(t *testing.T) {
	eachTranscript(t, "refinery-*.txt", func(t *testing.T, tr transcript, byByte bool) {
		l := listen(t)
		defer l.Close()
		events := make(chan string, 100)
		o := testClientOptions()
		o.OnUpstream = func(upstream string) error {
			events <- "upstream " + upstream
			if upstream == "bad" {
				return errors.New("refused by the node")
			}
			return nil
		}
		wanted := tr.take("told")
		ctx, cancel := context.WithCancelCause(context.Background())
		defer cancel(nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				events <- err.Error()
				return
			}
			c, err := Handshake(ctx, conn, o)
			if err != nil {
				events <- "handshake: " + err.Error()
				return
			}
			events <- "in session"
			events <- "run: " + c.Run(ctx).Error()
		}()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		tr.play(t, conn, "S", "C", byByte, func(l line) {
			if l.verb != "cancel" {
				t.Fatalf("line %d: unknown verb %q", l.number, l.verb)
			}
			cancel(errors.New(l.text))
		})
		<-done
		close(events)
		if got := slices.Collect(all(events)); !slices.Equal(got, wanted) {
			t.Fatalf("the refinery was told %q, want %q", got, wanted)
		}
	})
}

func all[T any](c <-chan T) func(func(T) bool) {
	return func(yield func(T) bool) {
		for v := range c {
			if !yield(v) {
				return
			}
		}
	}
}
