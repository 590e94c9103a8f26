package protocol

import (
	"context"
	"net"
)

// Shutdown stops accepting, sends conn:close to every session, and waits until all of them have ended and Handler.Closed
// has returned for each. When ctx ends first, the sockets that are left are closed and ctx's error is returned. It must
// not be called from a Handler.
func (srv *Server) Shutdown(ctx context.Context) error {
	for _, s := range srv.beginShutdown() {
		s.Close(ErrServerClosed)
	}
	select {
	case <-srv.drained:
		srv.stop(ErrServerClosed)
		return nil
	case <-ctx.Done():
		srv.abortAll()
		return ctx.Err()
	}
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

// beginShutdown ends accepting, sends those away who wait for their turn, and returns the sessions there are.
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
		_ = l.Close() // Serve closes it again, and returns ErrServerClosed whatever this says.
	}
	for _, a := range srv.door.close() {
		_ = a.conn.Close() // It was promised nothing.
		srv.refuse(a.conn.RemoteAddr(), ErrServerClosed)
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
