package protocol

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// trail writes down what an OnMessage is told.
type trail struct {
	mu    sync.Mutex
	lines []string
}

func (r *trail) note(who string, m TracedMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	verb := "reads"
	if m.Sent {
		verb = "sends"
	}
	r.lines = append(r.lines, fmt.Sprintf("%s%s %s of %d bytes", who, verb, m.Code, m.Bytes))
}

func TestOnMessageIsToldOfEveryMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var master, refinery trail
		o := DefaultServerOptions()
		o.OnMessage = func(s *Session, m TracedMessage) { master.note(s.ID()+" ", m) }
		h := newRecorder()
		l := newPipeListener()
		serve(t, l, h, o)
		co := testClientOptions()
		co.PacketBytes = minPacketBytes // A message in many packets is one message.
		co.OnMessage = func(m TracedMessage) { refinery.note("", m) }
		c, err := Handshake(t.Context(), l.dial(), co)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Run(ctx) }()
		synctest.Wait()
		if err := h.last.Load().SetUpstream("up:2"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		<-ended
		synctest.Wait()
		want := []string{
			" reads conn:establish of 67 bytes", "a sends conn:startAuth of 21 bytes", "a reads auth:start of 31 bytes",
			"a sends auth:ack of 34 bytes", "a reads auth:ack of 15 bytes",
			"a sends auth:ack of 34 bytes", "a reads auth:ack of 15 bytes", "a reads conn:close of 17 bytes",
		}
		// Of what two goroutines do, one reading and one writing, either may be told first.
		if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(master.lines))); diff != "" {
			t.Errorf("the master, -want +got:\n%s", diff)
		}
		want = []string{
			"sends conn:establish of 67 bytes", "reads conn:startAuth of 21 bytes", "sends auth:start of 31 bytes",
			"reads auth:ack of 34 bytes", "sends auth:ack of 15 bytes",
			"reads auth:ack of 34 bytes", "sends auth:ack of 15 bytes", "sends conn:close of 17 bytes",
		}
		if diff := cmp.Diff(want, refinery.lines); diff != "" {
			t.Errorf("the refinery, -want +got:\n%s", diff)
		}
	})
}

func TestAPanicOfOnMessageEndsItsSessionOnly(t *testing.T) {
	cause := errors.New("as the test wants it")
	for _, at := range []TracedMessage{
		{Code: "conn:establish"}, {Code: "conn:startAuth", Sent: true}, {Code: "auth:ack"}, {Code: "conn:alive"},
		{Code: "conn:alive", Sent: true}, {Code: "conn:close", Sent: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			ends := make(chan error, 10)
			panics := 0
			var other *Session
			o := DefaultServerOptions()
			o.OnMessage = func(s *Session, m TracedMessage) {
				if m.Bytes = 0; m == at && other != nil && s != other {
					panic(cause)
				}
			}
			o.OnRefused = func(_ net.Addr, reason error) { ends <- reason }
			o.OnPanic = func(*Session, *PanicError) { panics++ }
			h := newRecorder()
			l := newPipeListener()
			serve(t, l, h, o)
			quiet := l.dial()
			defer quiet.Close()
			enter(t, quiet)
			synctest.Wait()
			other = h.last.Load()
			c := l.dial()
			defer c.Close()
			go func() {
				for {
					if _, err := c.Read(make([]byte, 100)); err != nil {
						return
					}
				}
			}()
			for _, m := range []string{testEstablish, testAuthStart, "auth:ack;;<EOF>", "conn:alive;;<EOF>"} {
				_, _ = c.Write([]byte(m))
				synctest.Wait()
			}
			h.last.Load().Close(nil) // In a goroutine that is not the session's.
			if other == h.last.Load() {
				quiet.Close()
			}
			synctest.Wait()
			select {
			case err := <-h.causes:
				ends <- err
			default:
			}
			err := <-ends
			if _, ok := errors.AsType[*PanicError](err); at.Code != "conn:close" && (!ok || !errors.Is(err, cause)) {
				t.Errorf("%+v: ended with %v", at, err)
			}
			if panics != 1 {
				t.Errorf("%+v: %d panics were told", at, panics)
			}
		})
	}
}

// What is not asked for costs nothing, and what is asked for no memory.
func TestOnMessageAllocatesNothing(t *testing.T) {
	for _, traced := range []bool{false, true} {
		o := DefaultServerOptions()
		bytes := 0
		if traced {
			o.OnMessage = func(_ *Session, m TracedMessage) { bytes += m.Bytes }
		}
		h := newRecorder()
		l := newPipeListener()
		serve(t, l, h, o)
		c := l.dial()
		enter(t, c)
		answer := make([]byte, len(wire.Alive))
		beat := func() {
			if _, err := c.Write(wire.Alive); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(answer); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(1000, beat); n != 0 {
			t.Errorf("traced %v: a heartbeat allocates %v times", traced, n)
		}
		_ = c.Close()
		h.cause(t)
		if traced != (bytes > 1000*len(wire.Alive)) {
			t.Errorf("traced %v: %d bytes", traced, bytes)
		}
	}
}

// The hook sees what Load returns, and its panic ends the one session.
func TestAPanicOfOnReportEndsItsSessionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.OnReport = func(s *Session, r Report) {
			if status, load := s.Load(); status != r.Status || load != r.Load {
				t.Errorf("told %+v, Load returns %q, %q", r, status, load)
			}
			if r.Status == "panic" {
				panic("as the test wants it")
			}
		}
		h := newRecorder()
		l := newPipeListener()
		serve(t, l, h, o)
		well, other := l.dial(), l.dial()
		defer well.Close()
		defer other.Close()
		enterAs(t, well, "a")
		enterAs(t, other, "b")
		say(t, other, `conn:alive;;{"status":"panic","load":"1"}<EOF>`)
		if err, ok := errors.AsType[*PanicError](h.cause(t)); !ok || err.Value != "as the test wants it" {
			t.Errorf("closed with %v", err)
		}
		say(t, well, `conn:alive;;{"load":"1"}<EOF>`)
		hear(t, well, testAlive)
	})
}

// A report that says the same again is news to nobody: it costs what a heartbeat costs.
func TestAReportThatIsRepeatedIsNotTold(t *testing.T) {
	told := 0
	o := DefaultServerOptions()
	o.OnReport = func(*Session, Report) { told++ }
	h := newRecorder()
	l := newPipeListener()
	serve(t, l, h, o)
	c := l.dial()
	enter(t, c)
	message, answer := wire.AppendReport(nil, "hopper empty", "0.5"), make([]byte, len(wire.Alive))
	beat := func() {
		if _, err := c.Write(message); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(answer); err != nil {
			t.Fatal(err)
		}
	}
	beat()
	if n := testing.AllocsPerRun(1000, beat); n != 0 {
		t.Errorf("a heartbeat with a report allocates %v times", n)
	}
	_ = c.Close()
	h.cause(t)
	if told != 1 {
		t.Errorf("the hook was called %d times", told)
	}
}

// A hook that panics when a connection is refused ends nothing: whoever comes next is served.
func TestAPanicOfOnRefusedEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("as the test wants it")
		told := make(chan error, 10)
		o := DefaultServerOptions()
		o.MaxHandshakesPerSource = 1
		o.OnRefused = func(net.Addr, error) { panic(cause) }
		o.OnPanic = func(s *Session, err *PanicError) {
			if s != nil {
				t.Errorf("session %q is blamed", s.ID())
			}
			told <- err
		}
		l := newPipeListener()
		full := &net.OpError{Op: "accept", Err: syscall.EMFILE} // The first is told by Serve.
		serve(t, &flaky{l, []error{full}}, newRecorder(), o)
		first := l.dialFrom("10.0.0.1")
		say(t, first, "conn:") // Or it would make room.
		synctest.Wait()
		over := l.dialFrom("10.0.0.1") // The second as well.
		defer over.Close()
		say(t, first, "none;;<EOF>") // The third by the connection's own goroutine.
		for range 3 {
			if err := <-told; !errors.Is(err, cause) {
				t.Errorf("OnPanic was told %v", err)
			}
		}
		next := l.dialFrom("10.0.0.1")
		defer next.Close()
		enter(t, next)
	})
}

// A hook that panics when it is told of a panic ends nothing either: the log is told of both.
func TestAPanicOfOnPanicEndsNothing(t *testing.T) {
	var logged bytes.Buffer
	defer log.SetOutput(log.Writer())
	log.SetOutput(&logged)
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.OnPanic = func(*Session, *PanicError) { panic("the second") }
		h := newRecorder()
		h.establish = func(context.Context, *Session) error { panic("the first") }
		l := newPipeListener()
		serve(t, l, h, o)
		for range 2 {
			c := l.dial()
			defer c.Close()
			say(t, c, testEstablish)
			if err, ok := errors.AsType[*PanicError](h.cause(t)); !ok || err.Value != "the first" {
				t.Errorf("closed with %v", err)
			}
		}
	})
	for _, panicked := range []string{"the first", "the second"} {
		if n := strings.Count(logged.String(), panicked+"\n"); n != 2 {
			t.Errorf("%q is logged %d times, want 2:\n%s", panicked, n, &logged)
		}
	}
}

// Nobody could recover from it: the goroutine is a timer's.
func TestAPanicAtAHeartbeatOfAClientEndsItsSession(t *testing.T) {
	for name, change := range map[string]func(*ClientOptions){
		"Load": func(o *ClientOptions) { o.Load = func() (string, string, bool) { panic("as the test wants it") } },
		"OnMessage": func(o *ClientOptions) {
			o.OnMessage = func(m TracedMessage) {
				if m.Code == "conn:alive" {
					panic("as the test wants it")
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, master, ended := client(t, change)
				go func() { _, _ = io.Copy(io.Discard, master) }()
				err, ok := errors.AsType[*PanicError](<-ended)
				if !ok || err.Value != "as the test wants it" || !strings.Contains(string(err.Stack), "hooks_test.go") {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
}
