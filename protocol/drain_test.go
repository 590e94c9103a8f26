package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// fleet is so many authenticated sessions of raw peers, and when each of them was sent conn:close.
type fleet struct {
	srv     *Server
	handler *recorder
	conns   []net.Conn
	closed  chan time.Duration // since begin
	begin   time.Time
}

// newFleet must be called in a synctest bubble. Its peers close as soon as they have read conn:close.
func newFleet(t *testing.T, size int, o ServerOptions) *fleet {
	t.Helper()
	f := &fleet{handler: newRecorder(), closed: make(chan time.Duration, size)}
	f.handler.events, f.handler.causes = make(chan string, 10*size), make(chan error, size)
	l := newPipeListener()
	f.srv = serve(t, l, f.handler, o)
	for i := range size {
		c := l.dial()
		enterAs(t, c, fmt.Sprint(i))
		f.conns = append(f.conns, c)
	}
	synctest.Wait()
	f.begin = time.Now()
	for _, c := range f.conns {
		go func() {
			defer c.Close()
			b := make([]byte, len(wire.Close))
			if n, _ := c.Read(b); string(b[:n]) == string(wire.Close) {
				f.closed <- time.Since(f.begin)
			}
		}()
	}
	return f
}

// shutdown returns what Shutdown does, how long it takes, and, in order, when sessions were sent conn:close.
func (f *fleet) shutdown(ctx context.Context) (closed []time.Duration, took time.Duration, err error) {
	err = f.srv.Shutdown(ctx)
	took = time.Since(f.begin)
	synctest.Wait()
	for range len(f.closed) {
		closed = append(closed, <-f.closed)
	}
	slices.Sort(closed)
	return closed, took, err
}

//
func TestShutdownSpreadsItsGoodbyes(t *testing.T) {
	for _, tc := range []struct {
		name     string
		size     int
		window   time.Duration
		deadline time.Duration // of the context; 0 is none
		step     time.Duration
	}{
		{"many sessions take the window", 2000, time.Second, 0, time.Second / 2000},
		{"few sessions do not wait for it", 100, DefaultDrainWindow, 0, 10 * time.Millisecond},
		{"as many as fit the window in full steps", 100, time.Second, 0, 10 * time.Millisecond},
		{"one more", 101, time.Second, 0, time.Second / 101},
		{"one session is sent away at once", 1, DefaultDrainWindow, 0, 10 * time.Millisecond},
		{"no window: at once", 100, 0, 0, 0},
		{"a deadline shortens the window", 1000, time.Second, 1500 * time.Millisecond, time.Second / 2 / 1000},
		{"a deadline that is near leaves none", 100, time.Second, closeLinger, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := DefaultServerOptions()
				o.DrainWindow = tc.window
				f := newFleet(t, tc.size, o)
				ctx := t.Context()
				if tc.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.deadline)
					defer cancel()
				}
				closed, took, err := f.shutdown(ctx)
				if last := time.Duration(tc.size-1) * tc.step; err != nil || took != last {
					t.Errorf("Shutdown returned %v after %v, want %v", err, took, last)
				}
				if len(closed) != tc.size {
					t.Fatalf("%d of %d sessions were sent conn:close", len(closed), tc.size)
				}
				for i, at := range closed {
					if want := time.Duration(i) * tc.step; at != want {
						t.Fatalf("session %d was sent conn:close after %v, want %v", i+1, at, want)
					}
				}
			})
		})
	}
}

//
func TestShutdownThatIsCalledOffSendsTheRestAwayAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 100, DefaultServerOptions())
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*drainStep+drainStep/2, cancel)
		closed, took, err := f.shutdown(ctx)
		// These peers close at once, so that all may be over before it comes to that error.
		if want := 50*drainStep + drainStep/2; (err != nil && !errors.Is(err, context.Canceled)) || took != want {
			t.Errorf("Shutdown returned %v after %v, want %v", err, took, want)
		}
		if len(closed) != 100 {
			t.Fatalf("%d sessions were sent conn:close", len(closed))
		}
		if closed[50] != 50*drainStep || closed[51] != took || closed[99] != took {
			t.Errorf("sessions 51, 52 and 100 were sent conn:close after %v, %v and %v", closed[50], closed[51], closed[99])
		}
	})
}

func TestShutdownThatIsCalledOffDoesNotWaitForPeersThatDoNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRecorder()
		l := newPipeListener()
		srv := serve(t, l, h, DefaultServerOptions())
		const size = 10
		for range size {
			c := l.dial()
			defer c.Close()
			enter(t, c)
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		if err := srv.Shutdown(ctx); !errors.Is(err, context.Canceled) || time.Since(begin) != lastCall {
			t.Errorf("Shutdown returned %v after %v", err, time.Since(begin))
		}
		for range size {
			if err := h.cause(t); !errors.Is(err, ErrServerClosed) {
				t.Errorf("closed with %v", err)
			}
		}
	})
}

//
func TestSessionsThatEndDuringShutdownKeepNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1000, DefaultServerOptions())
		time.AfterFunc(100*drainStep+drainStep/2, func() {
			for _, c := range f.conns[:900] {
				_ = c.Close()
			}
		})
		closed, took, err := f.shutdown(t.Context())
		if want := time.Duration(len(closed)-1) * drainStep; err != nil || took != want {
			t.Errorf("Shutdown returned %v after %v, want %v for %d goodbyes", err, took, want, len(closed))
		}
		if len(closed) < 100 || len(closed) > 201 {
			t.Errorf("%d sessions were sent conn:close", len(closed))
		}
	})
}

func TestShutdownReturnsWhenEverySessionEndedByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1000, DefaultServerOptions())
		time.AfterFunc(100*drainStep+drainStep/2, func() {
			for _, c := range f.conns {
				_ = c.Close()
			}
		})
		closed, took, err := f.shutdown(t.Context())
		if most := 101 * drainStep; err != nil || took > most || len(closed) != 101 {
			t.Errorf("Shutdown returned %v after %v and %d goodbyes", err, took, len(closed))
		}
	})
}

// until its turn comes a session goes on; who is not authenticated does not wait.
func TestSessionsGoOnUntilTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.AliveTimeout, o.AliveInterval = 50*time.Millisecond, 20*time.Millisecond
		h := newRecorder()
		h.events, h.causes = make(chan string, 10000), make(chan error, 1000)
		l := newPipeListener()
		srv := serve(t, l, h, o)
		const size = 200
		ends := make(chan bool, size) // of each session: whether it ended with conn:close
		for i := range size {
			c := l.dial()
			enterAs(t, c, fmt.Sprint(i))
			go func() { ends <- beatUntilClosed(c, 10*time.Millisecond) }()
		}
		synctest.Wait()
		asking := l.dial()
		say(t, asking, testEstablish)
		hear(t, asking, "conn:startAuth;;<EOF>")
		begin := time.Now()
		down := make(chan error, 1)
		go func() { down <- srv.Shutdown(t.Context()) }()
		hear(t, asking, "conn:close;;<EOF>")
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("a handshake in flight was ended after %v", waited)
		}
		_ = asking.Close()
		if err := <-down; err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		if took := time.Since(begin); took < (size-1)*drainStep {
			t.Errorf("Shutdown took %v", took)
		}
		for range size {
			if !<-ends {
				t.Error("a session ended without conn:close")
			}
		}
	})
}

// beatUntilClosed sends conn:alive each interval, and returns whether each was answered until conn:close came.
func beatUntilClosed(c net.Conn, interval time.Duration) bool {
	defer c.Close()
	b := make([]byte, len(wire.Alive))
	for {
		_ = c.SetReadDeadline(time.Now().Add(interval))
		if n, _ := c.Read(b); n > 0 {
			return string(b[:n]) == string(wire.Close)
		}
		_ = c.SetReadDeadline(time.Time{})
		if _, err := c.Write(wire.Alive); err != nil {
			return false
		}
		if n, _ := c.Read(b); string(b[:n]) != string(wire.Alive) {
			return string(b[:n]) == string(wire.Close)
		}
	}
}

func TestShutdownSaysGoodbyeAndWaitsForHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRecorder()
		release := make(chan struct{})
		h.onEvent = func(event string, _ *Session) {
			if strings.HasPrefix(event, "closed") {
				<-release
			}
		}
		l := newPipeListener()
		refused := make(refusals, 10)
		o := DefaultServerOptions()
		o.OnRefused, o.MaxHandshakes = refused.hook, 1
		srv := serve(t, l, h, o)
		in := l.dial()
		enter(t, in)
		synctest.Wait()
		handshaking, waiting := l.dial(), l.dial()
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- srv.Shutdown(t.Context()) }()
		hear(t, in, "conn:close;;<EOF>")
		_ = in.Close()
		for _, c := range []net.Conn{handshaking, waiting} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("a connection that has said nothing reads %v, want EOF", err)
			}
		}
		refused.expect(t, ErrServerClosed)
		refused.expect(t, ErrServerClosed)
		synctest.Wait()
		select {
		case err := <-down:
			t.Fatalf("Shutdown returned %v while a Handler was still told", err)
		default:
		}
		close(release)
		if err := <-down; err != nil {
			t.Errorf("Shutdown returned %v", err)
		}
		if err := h.cause(t); !errors.Is(err, ErrServerClosed) {
			t.Errorf("closed with %v", err)
		}
		if err := srv.Serve(newPipeListener()); !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve after Shutdown returned %v", err)
		}
	})
}

func TestShutdownForcesWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, srv, _ := session(t, DefaultServerOptions())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		// The peer does not read, so conn:close hangs.
		if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown returned %v", err)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("Shutdown took %v", took)
		}
		if err := h.cause(t); !errors.Is(err, ErrServerClosed) {
			t.Errorf("closed with %v", err)
		}
	})
}
