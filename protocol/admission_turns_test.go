package protocol

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// who waits for a slow master has up to eight turns in all, and keeps others waiting for no longer.
func TestASlowMasterGivesAHandshakeEightTurnsInAll(t *testing.T) {
	for _, tc := range []struct {
		name  string
		takes time.Duration // the decision about the first connection
		next  time.Duration // when the second one's handshake begins
	}{
		{"done within one", DefaultHandshakeTurn - moment, DefaultHandshakeTurn - moment},
		{"done within seven", 7*DefaultHandshakeTurn - moment, 7*DefaultHandshakeTurn - moment},
		{"done within eight", 8*DefaultHandshakeTurn - moment, 8*DefaultHandshakeTurn - moment},
		{"needs nine", 9*DefaultHandshakeTurn - moment, 8 * DefaultHandshakeTurn},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newRecorder()
				h.establish = func(_ context.Context, s *Session) error {
					if s.ID() == "slow" {
						time.Sleep(tc.takes)
					}
					return errors.New("refused")
				}
				o := DefaultServerOptions()
				o.MaxHandshakes = 1
				l := newPipeListener()
				serve(t, l, h, o, func(srv *Server) {
					srv.silent = func(net.Conn) bool { return false } // What the peer sent is not read yet.
				})
				first, second := l.dialFrom("10.0.0.1"), l.dialFrom("10.0.0.2")
				go func() { // Closes on conn:close, or whatever else comes.
					_, _ = first.Read(make([]byte, 100))
					_ = first.Close()
				}()
				say(t, first, string(wire.AppendEstablish(nil, "slow", "0.1.0", "refinery")))
				if got := beginsAfter(t, second); got != tc.next {
					t.Errorf("the next handshake began after %v, want %v", got, tc.next)
				}
			})
		})
	}
}

// a turn takes no longer than an eighth of the handshake timeout.
func TestATurnIsAnEighthOfTheHandshakeTimeoutAtMost(t *testing.T) {
	want := map[time.Duration]time.Duration{
		time.Second: 125 * time.Millisecond, 1992 * time.Millisecond: 249 * time.Millisecond,
		2 * time.Second: 250 * time.Millisecond, 2008 * time.Millisecond: 250 * time.Millisecond, 10 * time.Second: 250 * time.Millisecond,
	}
	turns := make(map[time.Duration]time.Duration)
	for timeout := range want {
		synctest.Test(t, func(t *testing.T) {
			o := DefaultServerOptions()
			o.MaxHandshakes, o.HandshakeTimeout, o.HandshakeTurn = 1, timeout, 250*time.Millisecond
			l := newPipeListener()
			serve(t, l, newRecorder(), o)
			turns[timeout] = turnOfAStall(t, l)
		})
	}
	if diff := cmp.Diff(want, turns); diff != "" {
		t.Errorf("turns by handshake timeout -want +got:\n%s", diff)
	}
}

// a turn is a fifth of a whole one while fewer handshakes are in flight than were completed within four whole ones.
func TestTurnsAreShortWhileTheMasterIsQuick(t *testing.T) {
	const short, lately = DefaultHandshakeTurn / 5, 4 * DefaultHandshakeTurn
	for _, tc := range []struct {
		name      string
		completed int
		ago       time.Duration // how long before the turn began
		want      time.Duration // how long it took
	}{
		{"none was completed", 0, 0, DefaultHandshakeTurn},
		{"as many as are in flight", 1, 0, DefaultHandshakeTurn},
		{"one more", 2, 0, short},
		{"one more, just lately enough", 2, lately - short - moment, short},
		{"one more, just too long ago", 2, lately - short, DefaultHandshakeTurn},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := DefaultServerOptions()
				o.MaxHandshakes = 1
				l := newPipeListener()
				serve(t, l, newRecorder(), o)
				for range tc.completed {
					c := l.dialFrom("10.0.0.1")
					defer c.Close()
					enter(t, c)
				}
				synctest.Wait()
				time.Sleep(tc.ago)
				if got := turnOfAStall(t, l); got != tc.want {
					t.Errorf("the turn took %v, want %v", got, tc.want)
				}
			})
		})
	}
}

// who went away shows nothing of how quick the master is.
func TestOnlyCompletedHandshakesMakeTurnsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.MaxHandshakes = 1
		l := newPipeListener()
		serve(t, l, newRecorder(), o)
		for range 5 {
			_ = beginsAfter(t, l.dialFrom("10.0.0.1"))
		}
		if got := turnOfAStall(t, l); got != DefaultHandshakeTurn {
			t.Errorf("the turn took %v, want a whole one", got)
		}
	})
}

// turnOfAStall returns how long a connection that says nothing keeps the next one waiting, where one may have the turn.
func turnOfAStall(t *testing.T, l *pipeListener) time.Duration {
	t.Helper()
	stalling, next := l.dialFrom("10.0.0.2"), l.dialFrom("10.0.0.3")
	defer stalling.Close()
	return beginsAfter(t, next)
}

// beginsAfter says conn:establish, and returns how long it takes until that is read: a connection in memory takes what
// is written when it is read.
func beginsAfter(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	begin := time.Now()
	say(t, c, testEstablish)
	took := time.Since(begin)
	_ = c.Close()
	return took
}
