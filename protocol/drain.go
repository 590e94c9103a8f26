package protocol

import (
	"context"
	"net"
	"sync"
	"time"
)

const (
	// drainStep is the most that Shutdown waits between two sessions, so that a few sessions are closed soon. It is several
	// times what a handshake costs, so that another master lets one in before the next one comes.
	drainStep = 10 * time.Millisecond
	// lastCall bounds the writing of conn:close to the sessions that are left when the context of Shutdown ends.
	lastCall = 100 * time.Millisecond
)

// Shutdown stops accepting, sends conn:close to every session, spread over DrainWindow, and waits until all of them have
// ended and Handler.Closed has returned for each. If ctx has a deadline, the window ends early enough for every
// session to take its conn:close before it. When ctx ends first, the sessions that are left are sent conn:close at once,
// their sockets are closed, and ctx's error is returned. It must not be called from a Handler.
func (srv *Server) Shutdown(ctx context.Context) error {
	srv.dismiss(ctx, srv.beginShutdown())
	select {
	case <-srv.drained:
		srv.stop(ErrServerClosed)
		return nil
	case <-ctx.Done():
		srv.abortAll()
		return ctx.Err()
	}
}

// dismiss sends conn:close: at once to sessions that are not authenticated, and paced to the others. When ctx ends, the
// sessions that are left are sent it at once, before dismiss returns.
func (srv *Server) dismiss(ctx context.Context, sessions []*Session) {
	var paced []*Session
	for _, s := range sessions {
		if s.State() == StateAuthenticated {
			paced = append(paced, s)
		} else {
			s.Close(ErrServerClosed)
		}
	}
	p := pace{begin: time.Now(), step: min(drainStep, srv.drainWindow(ctx)/time.Duration(max(1, len(paced))))}
	for len(paced) > 0 && p.wait(ctx.Done(), srv.drained) {
		// A session that ended meanwhile does not keep the next one waiting.
		for len(paced) > 0 && paced[0].State() != StateAuthenticated {
			paced = paced[1:]
		}
		if len(paced) > 0 {
			paced[0].Close(ErrServerClosed)
			paced = paced[1:]
		}
	}
	var leaving sync.WaitGroup
	for _, s := range paced {
		if s.beginClose(ErrServerClosed) {
			leaving.Go(func() {
				_ = s.socket.SetWriteDeadline(time.Now().Add(lastCall)) // If this fails, so does the write.
				s.flush()
			})
		}
	}
	leaving.Wait()
}

// drainWindow is DrainWindow, or less if the deadline of ctx leaves less: each session needs the time to take its conn:close.
func (srv *Server) drainWindow(ctx context.Context) time.Duration {
	window := srv.options().DrainWindow
	if deadline, ok := ctx.Deadline(); ok {
		window = min(window, max(0, time.Until(deadline)-closeLinger))
	}
	return window
}

// pace is a ticker that starts at begin. A tick that comes late does not delay those after it.
type pace struct {
	begin time.Time
	step  time.Duration
	ticks int
}

// wait waits for the next tick. It returns false if ended or over is closed first.
func (p *pace) wait(ended, over <-chan struct{}) bool {
	due := time.Until(p.begin.Add(time.Duration(p.ticks) * p.step))
	p.ticks++
	if due <= 0 {
		return true
	}
	select {
	case <-time.After(due):
		return true
	case <-ended:
	case <-over:
	}
	return false
}

// Close stops accepting and closes every socket, without conn:close. It does not wait: Handler.Closed follows for each
// session, and Shutdown may be called to wait for that.
func (srv *Server) Close() error {
	srv.beginShutdown()
	srv.abortAll()
	return nil
}

func (srv *Server) abortAll() {
	srv.stop(ErrServerClosed)
	for _, s := range srv.open() {
		s.abort(ErrServerClosed)
	}
}

// beginShutdown stops accepting, closes the connections that wait for their turn, and returns the sessions.
func (srv *Server) beginShutdown() []*Session {
	srv.mu.Lock()
	if !srv.isClosing() {
		close(srv.closing)
	}
	listeners := make([]net.Listener, 0, len(srv.listeners))
	for l := range srv.listeners {
		listeners = append(listeners, *l)
	}
	srv.checkDrained()
	srv.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close() // Serve closes it again, and returns ErrServerClosed in any case.
	}
	for _, waiting := range srv.door.Close() {
		srv.turnAway(waiting.Peer.(*arrival).Conn, ErrServerClosed)
	}
	return srv.open()
}

func (srv *Server) open() []*Session {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	sessions := make([]*Session, 0, len(srv.sessions))
	for s := range srv.sessions {
		sessions = append(sessions, s)
	}
	return sessions
}
