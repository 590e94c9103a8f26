package protocol

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Transcripts named timed-*.txt are played on fake time, over connections in memory: what they say happens at a time
// happens then, to the millisecond. Their lines are described in testdata/README.md.

// stage is where a timed transcript is played.
type stage struct {
	t     *testing.T
	own   string // the side that the script plays, C or S; the other one is tested
	line  line
	conns []net.Conn
	used  int           // the connection that lines are about
	limit time.Duration // how long what is expected next may take
	do    func(verb, text string) bool
}

func (s *stage) play(lines []line) {
	s.t.Helper()
	for _, s.line = range lines {
		other := map[string]string{"C": "S", "S": "C"}[s.own]
		switch verb, text := s.line.verb, s.line.text; verb {
		case other:
			s.hear(text)
		case other + "/":
			for packet := range strings.SplitSeq(text, "|") {
				s.hearPacket(packet)
			}
		case "end":
			if got, err := s.read(1); len(got) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				s.fail("read %q, %v; want the connection closed", got, err)
			}
		case "quiet":
			s.quiet(s.duration(text))
		case "pass":
			time.Sleep(s.duration(text))
		case "by":
			s.limit = s.duration(text)
		case "use":
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > len(s.conns) {
				s.fail("no connection %q", text)
			}
			s.used = n - 1
		default:
			switch {
			case strings.HasPrefix(verb, s.own):
				s.say()
			case !s.do(verb, text):
				s.fail("unknown verb")
			}
		}
		synctest.Wait()
	}
}

func (s *stage) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("line %d, %s: "+format, append([]any{s.line.number, s.line.verb}, args...)...)
}

func (s *stage) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.fail("%v", err)
	}
	return d
}

// say writes without waiting for the other side to read.
func (s *stage) say() {
	conn, pieces := s.conns[s.used], s.line.pieces(s.t, s.own, false)
	go func() {
		for _, p := range pieces {
			if _, err := conn.Write(p); err != nil {
				return // Closed: another line says whether it may be.
			}
		}
	}()
}

// read reads so many bytes, which have to come at once, or within what the line before allows.
func (s *stage) read(n int) ([]byte, error) {
	begin, limit := time.Now(), s.limit
	s.limit = 0
	conn := s.conns[s.used]
	_ = conn.SetReadDeadline(begin.Add(limit + time.Millisecond))
	b := make([]byte, n)
	got, err := io.ReadFull(conn, b)
	if took := time.Since(begin); took > limit && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.fail("it took %v", took)
	}
	return b[:got], err
}

func (s *stage) hear(want string) {
	s.t.Helper()
	if got, err := s.read(len(want)); string(got) != want {
		s.fail("read %q, %v; want %q", got, err, want)
	}
}

// hearPacket hears what was written in one piece: a connection in memory does not join two.
func (s *stage) hearPacket(want string) {
	s.t.Helper()
	conn := s.conns[s.used]
	_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	b := make([]byte, len(want)+1)
	if n, err := conn.Read(b); string(b[:n]) != want {
		s.fail("read %q, %v; want %q", b[:n], err, want)
	}
}

// quiet lets time pass in which nothing is said and nothing closed.
func (s *stage) quiet(d time.Duration) {
	s.t.Helper()
	conn := s.conns[s.used]
	_ = conn.SetReadDeadline(time.Now().Add(d))
	if n, err := conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		s.fail("read %d bytes, %v", n, err)
	}
}

// eachTimed runs every transcript of a file, each in a bubble of its own.
func eachTimed(t *testing.T, file string, run func(t *testing.T, tr transcript)) {
	t.Helper()
	for _, tr := range transcripts(t, filepath.Join("testdata", file)) {
		t.Run(tr.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { run(t, transcript{tr.name, slices.Clone(tr.lines)}) })
		})
	}
}

// setField sets an option by its name: a number, or a duration.
func setField(t *testing.T, options any, text string) {
	t.Helper()
	name, value, _ := strings.Cut(text, " ")
	field := reflect.ValueOf(options).Elem().FieldByName(name)
	switch field.Interface().(type) {
	case int:
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(err)
		}
		field.SetInt(int64(n))
	case time.Duration:
		d, err := time.ParseDuration(value)
		if err != nil {
			t.Fatal(err)
		}
		field.SetInt(int64(d))
	case string:
		field.SetString(value)
	default:
		t.Fatalf("unknown option %q", name)
	}
}

func TestTimedMasterTranscripts(t *testing.T) {
	eachTimed(t, "timed-master.txt", func(t *testing.T, tr transcript) {
		h := newRecorder()
		o := DefaultServerOptions()
		var mu sync.Mutex // Two connections may be refused at once.
		var refused []string
		o.OnRefused = func(_ net.Addr, reason error) {
			mu.Lock()
			defer mu.Unlock()
			refused = append(refused, "refused: "+reason.Error())
		}
		for _, text := range tr.take("option") {
			setField(t, &o, text)
		}
		if slices.Contains(tr.take("decision"), "authenticate refused") {
			h.authenticate = func(context.Context, *Session, string) (string, error) {
				return "", errors.New("refused by the handler")
			}
		}
		wanted := tr.take("told")
		l := newPipeListener()
		srv := serve(t, l, h, o)
		s := &stage{t: t, own: "C"}
		s.do = func(verb, text string) bool {
			switch verb {
			case "connect":
				conn := l.dialFrom(text)
				t.Cleanup(func() { _ = conn.Close() })
				s.used, s.conns = len(s.conns), append(s.conns, conn)
			case "enter":
				_ = s.conns[s.used].SetReadDeadline(time.Time{}) // Of what was expected before.
				enter(t, s.conns[s.used])
			case "upstream":
				if err := h.last.Load().SetUpstream(text); err != nil {
					t.Fatal(err)
				}
			case "shutdown":
				go func() { _ = srv.Shutdown(context.Background()) }()
			default:
				return false
			}
			return true
		}
		s.play(tr.lines)
		close(h.events)
		told := slices.Concat(refused, slices.Collect(all(h.events)))
		h.events = make(chan string, 100) // For what the end of the test brings.
		if wanted != nil && !slices.Equal(told, wanted) {
			t.Errorf("told %q, want %q", told, wanted)
		}
	})
}

func TestTimedRefineryTranscripts(t *testing.T) {
	eachTimed(t, "timed-refinery.txt", func(t *testing.T, tr transcript) {
		var told []string
		o := testClientOptions()
		for _, text := range tr.take("option") {
			setField(t, &o, text)
		}
		wanted := tr.take("told")
		here, there := net.Pipe()
		t.Cleanup(func() { _ = there.Close() })
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := Handshake(t.Context(), here, o)
			if err == nil {
				told = append(told, "in session")
				err = c.Run(t.Context())
			}
			told = append(told, err.Error())
		}()
		s := &stage{t: t, own: "S", conns: []net.Conn{there}}
		s.do = func(verb, _ string) bool {
			if verb != "enter" {
				return false
			}
			hear(t, there, testEstablish)
			say(t, there, "conn:startAuth;;<EOF>")
			hear(t, there, testAuthStart)
			say(t, there, testGrant)
			hear(t, there, "auth:ack;;<EOF>")
			return true
		}
		s.play(tr.lines)
		_ = there.Close()
		<-done
		if wanted != nil && !slices.Equal(told, wanted) {
			t.Errorf("told %q, want %q", told, wanted)
		}
	})
}
