package protocol

import (
	"errors"
	"os"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// A session over TLS rests below TLS.
//
// A session waits nearly all of its life. One that waits inside a TLS read keeps crypto/tls on its stack, and with that
// a stack of twice the size: Go makes a stack small again only once little of it is used. A master of 20,000 sessions
// would hold all of these for nothing. So a session over TLS does this instead:
//
//  1. It waits on the socket itself, with a small stack and the small buffer of its reader (await).
//  2. What came is kept in socket.ahead, and TLS reads it from there. When TLS asks for more than came it is told that a
//     deadline has passed, which a tls.Conn takes for no failure: it keeps what it has and can read again later.
//  3. Once every message that came is handled, the goroutine, whose stack TLS grew, ends and starts a fresh one, which
//     waits as in 1 (run). While messages follow each other within about a second it stays instead, as to begin anew for
//     each would cost more than the stack (converseOverTLS).
//
// A session without TLS has none of this: it waits in the same read with the same small stack.

// brisk is how long a session over TLS waits on the stack that TLS grew: at least half of it, at most all of it.
const brisk = time.Second

// run is the life of an authenticated session. It has a goroutine of its own, so that the stack that the handshake grew
// is given back. waits is false where what was read during the handshake is handled first.
func (s *Session) run(waits bool) {
	var err error
	rested := false
	defer func() {
		if !rested {
			s.finish(err, recover())
		}
	}()
	if s.TLS() {
		rested, err = s.converseOverTLS(waits)
	} else {
		err = s.converse()
	}
	if rested {
		go s.run(true)
		return
	}
	s.lastWords()
}

// converseOverTLS waits below TLS, and handles what comes, until the session is to rest on a fresh stack: then it
// returns true.
func (s *Session) converseOverTLS(waits bool) (bool, error) {
	s.socket.wait = rests
	var until time.Duration // when waiting ends, on a stack that has grown; 0 on a fresh one, where it does not
	for ; ; waits = true {
		if waits {
			err := await(&s.in, &s.socket)
			if until != 0 && errors.Is(err, os.ErrDeadlineExceeded) {
				s.waitUntil(time.Time{}) // Where that fails, so does the next read.
				return true, nil
			}
			if err != nil {
				return false, err
			}
		}
		now := s.server.live.now()
		gap := now - s.seen // Only this goroutine ever writes it.
		if err := s.converse(); !errors.Is(err, os.ErrDeadlineExceeded) {
			return false, err
		}
		if until == 0 && (!waits || gap > brisk/2) {
			return true, nil
		}
		if until <= now+brisk/2 { // Or the next message could come as the time is up.
			if !s.waitUntil(time.Now().Add(brisk)) {
				return true, nil
			}
			until = now + brisk
		}
	}
}

// waitUntil sets the read deadline, unless farewell has set its own. It returns false if that fails, for example
// because the socket has no deadlines.
func (s *Session) waitUntil(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parting || s.socket.SetReadDeadline(t) == nil
}

// await waits on the socket for bytes and keeps them for TLS to read. It does not call TLS, so the stack stays small
// while it waits.
func await(in *wire.Reader, s *socket) error {
	s.wait = waits
	idle := in.Idle()
	n, err := s.Read(idle)
	s.ahead = idle[:n]
	s.wait = rests
	if n > 0 {
		return nil // An error that came with it comes again.
	}
	return err
}
