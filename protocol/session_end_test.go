package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

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

// whatever the turns are.
func TestTheWaitForATurnEndsBetweenTurnsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.MaxHandshakes, o.MaxSlowHandshakes, o.HandshakeTurn = 1, 0, 700*time.Millisecond
		l, _, refused := serveRefusing(t, o)
		defer l.dialFrom("10.0.0.1").Close()
		c := l.dialFrom("10.0.0.2")
		defer c.Close()
		begin := time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(begin) != DefaultHandshakeTimeout/2 {
			t.Errorf("read %v after %v", err, time.Since(begin))
		}
		refused.expect(t, ErrTooManyHandshakes)
	})
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

func TestWhoArrivesAfterTheServerClosedIsRefusedAtTheDoor(t *testing.T) {
	srv, err := NewServer(newRecorder(), DefaultServerOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := srv.door.admit(&arrival{conn: &come{}}); !errors.Is(err, ErrServerClosed) {
		t.Errorf("refused because of %v", err)
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
		if diff := cmp.Diff(Stats{Accepted: 1, Authenticated: 1}, srv.Stats()); diff != "" {
			t.Errorf("stats -want +got:\n%s", diff)
		}
	})
}

// Who lost its place is no session, however long its Handler takes to notice.
func TestStatsCountNoSessionThatWasNeverAuthenticated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		decide := make(chan struct{})
		h := newRecorder()
		h.establish = func(context.Context, *Session) error { <-decide; return nil }
		o := DefaultServerOptions()
		o.MaxHandshakes, o.MaxSlowHandshakes = 1, 1
		l := newPipeListener()
		srv := serve(t, l, h, o)
		for range 2 {
			c := l.dialFrom("10.0.0.1")
			defer c.Close()
			go func() { _, _ = c.Write([]byte(testEstablish)) }()
			time.Sleep(DefaultHandshakeTurn)
		}
		defer l.dialFrom("10.0.0.2").Close()
		time.Sleep(DefaultHandshakeTurn)
		synctest.Wait()
		if diff := cmp.Diff(Stats{Accepted: 3, Handshaking: 2}, srv.Stats()); diff != "" {
			t.Errorf("stats -want +got:\n%s", diff)
		}
		close(decide)
	})
}

// A new limit is one for those who wait already.
func TestWhoWaitsBeginsAsSoonAsTheLimitAllows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.MaxHandshakes = 1
		l := newPipeListener()
		srv := serve(t, l, newRecorder(), o)
		for _, ip := range []string{"10.0.0.1", "10.0.0.2"} {
			defer l.dialFrom(ip).Close()
		}
		synctest.Wait()
		o.MaxHandshakes = 2
		if err := srv.Reconfigure(o); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if diff := cmp.Diff(Stats{Accepted: 2, Handshaking: 2}, srv.Stats()); diff != "" {
			t.Errorf("stats -want +got:\n%s", diff)
		}
	})
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

func TestTimersHaveBoundsThatAddUp(t *testing.T) {
	for _, value := range []time.Duration{longestTimer, longestTimer + 1, math.MaxInt64} {
		o := DefaultServerOptions()
		o.HandshakeTimeout, o.HandshakeTurn, o.WriteTimeout, o.DrainWindow, o.AliveTimeout = value, value, value, value, value
		err := o.Validate()
		for _, name := range []string{"HandshakeTimeout", "HandshakeTurn", "WriteTimeout", "DrainWindow", "AliveTimeout"} {
			if said := err != nil && strings.Contains(err.Error(), name+" is "); said != (value > longestTimer) {
				t.Errorf("%s %v: %v", name, value, err)
			}
		}
		co := DefaultClientOptions()
		co.ID, co.Version, co.Type = "a", "1", "t"
		co.AliveInterval, co.AliveTimeout = value, value
		if err := co.Validate(); err == nil {
			t.Errorf("an AliveInterval of %v leaves room for an AliveTimeout of %v", value, value)
		}
	}
	synctest.Test(t, func(t *testing.T) { // The longest of them end nothing early.
		o := DefaultServerOptions()
		o.AliveTimeout, o.WriteTimeout = longestTimer, longestTimer
		h, _, _ := session(t, o)
		h.after(t, longestTimer, ErrAliveTimeout)
	})
}
