package protocol

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// a peer that stalls keeps its connection, but not its turn.
func TestAHandshakeThatStallsLosesItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.MaxHandshakes = 1
		h := newRecorder()
		l := newPipeListener()
		srv := serve(t, l, h, o)
		stalling, next := l.dialFrom("10.0.0.1"), l.dialFrom("10.0.0.2")
		defer stalling.Close()
		defer next.Close()
		for _, tc := range []struct {
			wait time.Duration
			want Stats
		}{
			{DefaultHandshakeTurn - time.Millisecond, Stats{Accepted: 2, Handshaking: 1, Waiting: 1}},
			{time.Millisecond, Stats{Accepted: 2, Handshaking: 2}},
		} {
			time.Sleep(tc.wait)
			synctest.Wait()
			if diff := cmp.Diff(tc.want, srv.Stats()); diff != "" {
				t.Errorf("stats -want +got:\n%s", diff)
			}
		}
		enter(t, next)
		enter(t, stalling)
		synctest.Wait()
		if diff := cmp.Diff(Stats{Accepted: 2, Sessions: 2, Authenticated: 2}, srv.Stats()); diff != "" {
			t.Errorf("stats -want +got:\n%s", diff)
		}
	})
}

// a source that has many connections keeps only itself waiting.
func TestTheNextTurnIsOfTheSourceWithTheFewestHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.MaxHandshakes = 2
		l := newPipeListener()
		serve(t, l, newRecorder(), o)
		for range 30 {
			defer l.dialFrom("10.0.0.1").Close()
		}
		var others []net.Conn
		for i := range 4 {
			c := l.dialFrom(fmt.Sprint("10.0.1.", i))
			defer c.Close()
			others = append(others, c)
		}
		for i, c := range others {
			begin := time.Now()
			enter(t, c)
			// The first two of them wait for the turns that were taken before they came; then each ends its own turn.
			if took := time.Since(begin); took > DefaultHandshakeTurn || (i > 0 && took > 0) {
				t.Errorf("connection %d from another source got in after %v", i+1, took)
			}
		}
	})
}

// one more than there is room for is refused, or displaces one of a source that has at least two more.
func TestASourceWithManyConnectionsMakesRoomForOthers(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first []string // who fills the room of four, of which two have the turn
		wait  time.Duration
		more  string
		gone  int // which of them is displaced; -1: the new one is refused
	}{
		{"everyone has one", []string{"a", "b", "c", "d"}, 0, "e", -1},
		{"the newcomer's source has as many", []string{"a", "a", "b", "b"}, 0, "a", -1},
		{"one more is not enough", []string{"a", "a", "a", "b"}, 0, "b", 2},
		{"those that have their turn stay", []string{"a", "a", "b", "c"}, 0, "d", -1},
		{"the one that waits and came last", []string{"b", "c", "a", "a"}, 0, "d", 3},
		{"the one that has been handshaking longest, once its turn is over", []string{"a", "a", "a", "b"}, DefaultHandshakeTurn + time.Millisecond, "d", 0},
		{"but not while it has its turn", []string{"a", "a", "a", "b"}, DefaultHandshakeTurn - time.Millisecond, "d", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := DefaultServerOptions()
				o.MaxHandshakes, o.MaxWaiting = 2, 2
				refused := make(refusals, 10)
				o.OnRefused = refused.hook
				l := newPipeListener()
				srv := serve(t, l, newRecorder(), o)
				var conns []net.Conn
				for _, name := range append(tc.first, tc.more) {
					if len(conns) == len(tc.first) {
						time.Sleep(tc.wait)
					}
					c := l.dialFrom(fmt.Sprint("10.0.0.", name[0]))
					defer c.Close()
					conns = append(conns, c)
					synctest.Wait()
				}
				gone := tc.gone
				if gone < 0 {
					gone = len(tc.first)
				}
				refused.expect(t, ErrTooManyHandshakes)
				for i, c := range conns {
					_ = c.SetReadDeadline(time.Now())
					if _, err := c.Read(make([]byte, 1)); errors.Is(err, io.EOF) != (i == gone) {
						t.Errorf("connection %d reads %v; number %d has to go", i, err, gone)
					}
				}
				if s := srv.Stats(); s.Handshaking+s.Waiting != 4 || s.Refused != 1 {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

// an authenticated session is displaced by nobody, however long the program takes to hear of it; and who is
// displaced just before that is not authenticated.
func TestOnlyWhoIsNotAuthenticatedIsDisplaced(t *testing.T) {
	for name, late := range map[string]bool{"before its auth:ack is taken": false, "once it is authenticated": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := DefaultServerOptions()
				o.MaxHandshakes, o.MaxWaiting = 1, 2
				h := newRecorder()
				l := newPipeListener()
				crowd := func() {
					time.Sleep(DefaultHandshakeTurn)
					for _, from := range []string{"10.0.0.1", "10.0.0.1", "10.0.0.2"} {
						c := l.dialFrom(from)
						t.Cleanup(func() { _ = c.Close() })
					}
					synctest.Wait()
				}
				o.OnMessage = func(_ *Session, m TracedMessage) {
					if !late && m.Code == "auth:ack" && !m.Sent {
						crowd()
					}
				}
				h.onEvent = func(event string, _ *Session) {
					if late && event == "authenticated up:1" {
						crowd()
					}
				}
				srv := serve(t, l, h, o)
				c := l.dialFrom("10.0.0.1")
				defer c.Close()
				enter(t, c)
				if !late {
					h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "closed: "+ErrTooManyHandshakes.Error())
					return
				}
				h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "authenticated up:1")
				say(t, c, "conn:alive;;<EOF>")
				hear(t, c, "conn:alive;;<EOF>")
				if diff := cmp.Diff(Stats{Sessions: 1, Handshaking: 1, Waiting: 2, Accepted: 4, Authenticated: 1}, srv.Stats()); diff != "" {
					t.Errorf("stats -want +got:\n%s", diff)
				}
			})
		})
	}
}
