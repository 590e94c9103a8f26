package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/admission"
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
			expectStats(t, srv, tc.want)
		}
		enter(t, next)
		enter(t, stalling)
		synctest.Wait()
		expectStats(t, srv, Stats{Accepted: 2, Sessions: 2, Authenticated: 2})
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

// one more than may wait is refused, or displaces one of a source that has at least two more.
func TestASourceWithManyConnectionsMakesRoomForOthers(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first []string // the first two have the turn, the other two wait
		more  string
		gone  int // which of them is displaced; -1: the new one is refused
	}{
		{"everyone has one", []string{"a", "b", "c", "d"}, "e", -1},
		{"the newcomer's source has as many", []string{"a", "b", "a", "b"}, "a", -1},
		{"one more is not enough", []string{"b", "c", "a", "a"}, "a", -1},
		{"one more than the newcomer will have is not enough", []string{"a", "b", "a", "c"}, "b", -1},
		{"two more are", []string{"a", "b", "a", "a"}, "b", 3},
		{"the one that waits and came last", []string{"b", "c", "a", "a"}, "d", 3},
		{"the only one that waits", []string{"a", "b", "a", "c"}, "d", 2},
		{"those that have their turn stay", []string{"a", "a", "b", "c"}, "d", -1},
		{"an IPv6 network is one source", []string{"a", "2001:db8::1", "2001:db8::8000:0:0:1", "b"}, "2001:db8:0:1::1", 2},
		{"and so is one of unique local addresses", []string{"a", "fd00::1", "fd00::8000:0:0:1", "b"}, "fd00:0:0:1::1", 2},
		{"a link-local one is not", []string{"fe80::1", "fe80::1", "fe80::1", "fe80::2"}, "fe80::3", 2},
		{"and its newcomers are of it", []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"}, "2001:db8::5", -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := DefaultServerOptions()
				o.MaxHandshakes, o.MaxWaiting = 2, 2
				l, srv, refused := serveRefusing(t, o)
				conns := arriveFrom(t, l, append(tc.first, tc.more)...)
				refused.expect(t, ErrTooManyHandshakes)
				gone := tc.gone
				if gone < 0 {
					gone = len(tc.first)
				}
				expectGone(t, conns, gone)
				expectStats(t, srv, Stats{Accepted: 5, Handshaking: 2, Waiting: 2, Refused: 1})
			})
		})
	}
}

// arriveFrom connects one after the other from addresses, some of them named by a letter each.
func arriveFrom(t *testing.T, l *pipeListener, names ...string) (conns []net.Conn) {
	t.Helper()
	for _, name := range names {
		if len(name) == 1 {
			name = fmt.Sprint("10.0.0.", name[0])
		}
		c := l.dialFrom(name)
		t.Cleanup(func() { _ = c.Close() })
		conns = append(conns, c)
		synctest.Wait()
	}
	return conns
}

// expectGone fails unless that one of the connections is closed, and no other; -1 is none.
func expectGone(t *testing.T, conns []net.Conn, gone int) {
	t.Helper()
	for i, c := range conns {
		_ = c.SetReadDeadline(time.Now())
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, io.EOF) != (i == gone) {
			t.Errorf("connection %d reads %v; number %d has to go", i, err, gone)
		}
		_ = c.SetReadDeadline(time.Time{})
	}
}

// where there is no place for one more slow handshake, turns go on, unless a source has two more of them.
func TestASourceWithManySlowHandshakesMakesRoomForOthers(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first []string // of these, the first two are slow once the last two have had their turn
		next  string
		gone  int // which of them is closed for it; -1: it waits
	}{
		{"everyone has one", []string{"a", "b", "c", "d"}, "e", -1},
		{"one more is not enough", []string{"a", "b", "a", "c"}, "b", -1},
		{"two more are", []string{"b", "a", "a", "c"}, "d", 1},
		{"of all whose turn is over the first", []string{"b", "c", "a", "a"}, "d", 2},
		{"of the source that has most", []string{"b", "b", "a", "a"}, "d", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := DefaultServerOptions()
				o.MaxHandshakes, o.MaxSlowHandshakes = 2, 2
				l := newPipeListener()
				srv := serve(t, l, newRecorder(), o)
				conns := arriveFrom(t, l, tc.first...)
				time.Sleep(2*DefaultHandshakeTurn - time.Millisecond)
				conns = append(conns, arriveFrom(t, l, tc.next)...)
				expectGone(t, conns, -1)
				time.Sleep(time.Millisecond)
				synctest.Wait()
				expectGone(t, conns, tc.gone)
				want := Stats{Accepted: 5, Handshaking: 4}
				if tc.gone < 0 {
					want.Waiting = 1
				} else {
					want.Refused = 1
				}
				expectStats(t, srv, want)
			})
		})
	}
}

// a handshake that is slow because the master does not come to reading it keeps its turn.
func TestATurnGoesOnWhileTheMasterIsWhatIsSlow(t *testing.T) {
	for name, unread := range map[string]bool{"what the peer sent is unread": true, "the peer is silent": false} {
		t.Run(name, func(t *testing.T) {
			held, decide := make(chan struct{}, 1), make(chan struct{})
			var first atomic.Pointer[Session]
			h := newRecorder()
			h.establish = func(_ context.Context, s *Session) error {
				if unread && first.CompareAndSwap(nil, s) {
					_ = slow(s) // Until conn:close is there, and unread.
				}
				held <- struct{}{}
				<-decide
				return nil
			}
			o := DefaultServerOptions()
			o.MaxHandshakes = 1
			l := listen(t)
			looks := make(chan bool, 1000)
			serve(t, l, h, o, func(srv *Server) {
				srv.silent = func(c net.Conn) bool {
					is := silent(c)
					select {
					case looks <- is:
					default: // Nobody is asking any more.
					}
					return is
				}
			})
			c := dial(t, l)
			say(t, c, testEstablish)
			if unread {
				h.expect(t, "establish a 0.1.0 refinery")
				say(t, c, "conn:close;;<EOF>")
			}
			<-held
			second := dial(t, l)
			if unread {
				for range 4 { // Half of the eight, as some may pass before the second peer comes.
					if <-looks {
						t.Error("a peer whose message is unread is silent")
					}
				}
			} else if !<-looks {
				t.Error("a peer that waits for its answer is not silent")
			}
			say(t, second, testEstablish)
			<-held // It is not kept waiting for ever.
			close(decide)
		})
	}
}

// who waits in vain is sent away at half of the handshake timeout, to the millisecond, whatever it was before.
func TestNobodyWaitsForLongerThanHalfOfTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 4 * time.Second
		o := DefaultServerOptions()
		o.MaxHandshakes, o.MaxSlowHandshakes = 1, 0
		l, srv, refused := serveRefusing(t, o)
		conns := arriveFrom(t, l, "a", "b")
		time.Sleep(time.Second)
		conns = append(conns, arriveFrom(t, l, "c")...)
		o = *srv.options()
		o.HandshakeTimeout = timeout
		if err := srv.Reconfigure(o); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second - time.Millisecond)
		expectGone(t, conns, -1)
		time.Sleep(time.Millisecond)
		refused.expect(t, ErrTooManyHandshakes)
		expectGone(t, conns, 1)
		time.Sleep(time.Second - time.Millisecond)
		expectGone(t, conns[2:], -1)
		time.Sleep(time.Millisecond)
		refused.expect(t, ErrTooManyHandshakes)
		expectGone(t, conns[2:], 0)
		expectStats(t, srv, Stats{Accepted: 3, Handshaking: 1, Refused: 2})
	})
}

// an authenticated session is displaced by nobody, however long the program takes to hear of it; and who is
// displaced just before that is not authenticated.
func TestOnlyWhoIsNotAuthenticatedIsDisplaced(t *testing.T) {
	for name, late := range map[string]bool{"before its auth:ack is taken": false, "once it is authenticated": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := DefaultServerOptions()
				o.MaxHandshakes, o.MaxSlowHandshakes = 1, 1
				h := newRecorder()
				l := newPipeListener()
				crowd := func() {
					time.Sleep(DefaultHandshakeTurn)
					for _, from := range []string{"10.0.0.1", "10.0.0.1", "10.0.0.2"} {
						c := l.dialFrom(from)
						t.Cleanup(func() { _ = c.Close() })
					}
					time.Sleep(DefaultHandshakeTurn)
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
				expectStats(t, srv, Stats{Sessions: 1, Handshaking: 2, Waiting: 1, Accepted: 4, Authenticated: 1})
			})
		})
	}
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

func TestWhoArrivesAfterTheServerClosedIsRefusedAtTheDoor(t *testing.T) {
	srv, err := NewServer(newRecorder(), DefaultServerOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	if _, _, err := srv.door.Admit(&admission.Arrival{Peer: &arrival{Conn: here}}); !errors.Is(err, ErrServerClosed) {
		t.Errorf("refused because of %v", err)
	}
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
		expectStats(t, srv, Stats{Accepted: 2, Handshaking: 2})
	})
}
