package protocol

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// closeLinger is how long the sender of conn:close waits for the receiver to close, so that the message is not lost to
// a reset.
const closeLinger = time.Second

// socket is the connection below TLS, or without TLS the connection itself. During a TLS handshake no more than flight
// bytes are read between two writes.
type socket struct {
	net.Conn
	wait         waiting
	flight, left int32 // flight is 0 outside of a TLS handshake
	// ahead was read before TLS asked for it.
	ahead []byte
}

// waiting is what a read does when nothing has come.
type waiting uint8

const (
	// waits is what sockets do.
	waits waiting = iota
	// looks reads what the kernel holds and never waits: between a peer's message and the answer to it, to see whether
	// anything came ahead of its turn.
	looks
	// rests reads what was read ahead and nothing else.
	rests
)

// errFlight ends a TLS handshake whose peer sends more than ServerOptions.TLSFlightBytes at a time.
var errFlight = errors.New("the peer sends more than TLSFlightBytes")

// Read reads, or fails with os.ErrDeadlineExceeded where it would have to wait and must not: TLS can go on after that.
func (s *socket) Read(p []byte) (int, error) {
	if len(s.ahead) > 0 {
		n := copy(p, s.ahead)
		s.ahead = s.ahead[n:]
		return n, nil
	}
	switch s.wait {
	case looks:
		return readNow(s.Conn, p)
	case rests:
		return 0, os.ErrDeadlineExceeded
	}
	if s.flight == 0 {
		return s.Conn.Read(p)
	}
	if s.left == 0 {
		return 0, errFlight
	}
	n, err := s.Conn.Read(p[:min(len(p), int(s.left))])
	s.left -= int32(n) //nolint:gosec // at most what was left
	return n, err
}

func (s *socket) Write(p []byte) (int, error) {
	if s.flight > 0 {
		s.left = s.flight
	}
	return s.Conn.Write(p)
}

// hangUp tells the peer that nothing more will come, where the transport can. Over TLS it closes the socket after closeLinger:
// TLS would wait for five seconds for a peer that does not read, and for as long as that likes if the peer asked for new keys,
// which are answered while reading.
func hangUp(conn net.Conn) {
	if s, ok := conn.(*socket); ok {
		conn = s.Conn
	}
	if over, ok := conn.(*tls.Conn); ok {
		below := over.NetConn() // Of over nothing is kept for so long.
		time.AfterFunc(closeLinger, func() { _ = below.Close() })
		go func() { _ = over.CloseWrite() }()
		return
	}
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // The socket is closed next in any case.
	}
}

// closeBelowTLS closes the socket without a word of TLS, which would wait as hangUp says.
func closeBelowTLS(conn net.Conn) error {
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	return conn.Close()
}

// writePackets writes a message in packets of at most size bytes; the last, and only the last, holds <EOF> (R-2.3).
func writePackets(w io.Writer, message []byte, size int) error {
	for len(message) > size {
		n := min(size, len(message)-len(eof))
		if _, err := w.Write(message[:n]); err != nil {
			return err
		}
		message = message[n:]
	}
	_, err := w.Write(message)
	return err
}

const (
	// idleBytes is what a session keeps to read into while nothing comes: enough for conn:alive with a report, in a TLS
	// record too.
	idleBytes = 96
	// borrowedBytes holds any conn:establish and nearly every auth:start.
	borrowedBytes = 4096
)

var buffers = sync.Pool{New: func() any { return new([borrowedBytes]byte) }}

// reader takes messages off a connection. It has no buffer of its own but idleBytes; a bigger one is borrowed while a
// message needs it, and grows only with bytes that came in, to the message's bound at most.
type reader struct {
	conn     net.Conn
	buf      []byte
	from, to int32 // buf[from:to] was read and not consumed
	scanned  int32 // bytes from there on that hold no <EOF>
	borrows  bool  // start with a borrowed buffer: messages are long, or idle holds what TLS has not read yet
	borrowed bool  // buf is, whole
	idle     [idleBytes]byte
	// message is the last one read. On the stack of a session that waits for the next it would cost a stack twice the size.
	message message
}

// next reads one message of at most limit bytes. It is valid until the next call.
func (r *reader) next(limit int) (*message, error) {
	for {
		if m, err := r.held(limit); m != nil || err != nil {
			return m, err
		}
		if err := r.fill(limit); err != nil {
			return nil, err
		}
	}
}

// held returns the next message if all of it was read already, and nil if fill has to read more of it first.
func (r *reader) held(limit int) (*message, error) {
	if r.from == r.to {
		r.rewind()
		return nil, nil //nolint:nilnil // There is none yet.
	}
	b := r.buf[r.from:r.to]
	n, err := decode(&r.message, b, int(r.scanned), limit)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		r.scanned = int32(len(b))
		return nil, nil //nolint:nilnil // There is none yet.
	}
	r.from += int32(n)
	r.scanned = 0
	return &r.message, nil
}

// rewind starts over with an empty buffer, the small one if that will do.
func (r *reader) rewind() {
	r.from, r.to, r.scanned = 0, 0, 0
	switch {
	case !r.borrows:
		r.release()
		r.buf = r.idle[:]
	case r.buf == nil:
		r.borrow()
	}
}

func (r *reader) borrow() {
	r.buf = buffers.Get().(*[borrowedBytes]byte)[:]
	r.borrowed = true
}

// release gives a borrowed buffer back. The reader must not be used after it but through rewind.
func (r *reader) release() {
	if r.borrowed {
		buffers.Put((*[borrowedBytes]byte)(r.buf))
		r.borrowed = false
	}
	r.buf = nil
}

// rest gives a borrowed buffer back unless part of a message is in it.
func (r *reader) rest() {
	if r.from == r.to {
		r.from, r.to, r.scanned = 0, 0, 0
		r.release()
	}
}

// fill reads once, having made room, for a message of at most limit bytes.
func (r *reader) fill(limit int) error {
	if int(r.to) == len(r.buf) {
		r.grow(limit)
	}
	for range 100 {
		n, err := r.conn.Read(r.buf[r.to:])
		r.to += int32(n)
		if n > 0 {
			return nil // An error that came along comes again.
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// grow makes room in few steps, as each leaves its buffer behind, and never beyond the limit, which held has seen not to be
// reached.
func (r *reader) grow(limit int) {
	rest := r.buf[r.from:r.to]
	switch {
	case r.from > 0:
		copy(r.buf, rest)
	case len(r.buf) < borrowedBytes:
		r.borrow()
		copy(r.buf, rest)
	default:
		bigger := make([]byte, min(4*len(r.buf), limit))
		copy(bigger, rest)
		r.release()
		r.buf = bigger
	}
	r.from, r.to = 0, int32(len(rest))
}

// ahead returns nil if the peer has sent nothing but what was read. It looks at what is buffered here, and, without
// waiting, at what the transport holds. Bytes ahead of their turn are a violation, unless they are conn:close.
func (r *reader) ahead(s *socket, state State) error {
	if r.from == r.to {
		r.rewind()
		s.wait = looks
		n, err := r.conn.Read(r.buf)
		s.wait = waits
		r.to = int32(n)
		if n == 0 {
			if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			return readFailure(err, state)
		}
	}
	n, err := decode(&r.message, r.buf[r.from:r.to], 0, borrowedBytes)
	if n > 0 && err == nil && r.message.code == codeClose {
		return ErrPeerClosed
	}
	return &ProtocolError{State: state, Rule: ruleAhead, Detail: "bytes were sent ahead of their turn"}
}

// await waits until something comes for TLS to read, on a stack that is small: TLS is not on it.
func (r *reader) await(s *socket) error {
	r.rest()
	s.wait = waits
	n, err := s.Read(r.idle[:])
	s.ahead = r.idle[:n]
	s.wait = rests
	if n > 0 {
		return nil // An error that came along comes again.
	}
	return err
}

// drain discards what comes until the peer closes or the read deadline passes.
func (r *reader) drain() {
	r.rewind()
	for {
		if _, err := r.conn.Read(r.buf); err != nil {
			return
		}
	}
}
