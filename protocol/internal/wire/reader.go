package wire

import (
	"io"
	"net"
	"sync"
)

// WritePackets writes a message in packets of at most size bytes; the last, and only the last, holds <EOF> (R-2.3).
func WritePackets(w io.Writer, message []byte, size int) error {
	for len(message) > size {
		n := min(size, len(message)-len(EOF))
		if _, err := w.Write(message[:n]); err != nil {
			return err
		}
		message = message[n:]
	}
	_, err := w.Write(message)
	return err
}

const (
	// IdleBytes is what a session keeps to read into while nothing comes: enough for conn:alive with a report, in a TLS
	// record too.
	IdleBytes = 96
	// borrowedBytes holds any conn:establish and nearly every auth:start.
	borrowedBytes = 4096
)

var buffers = sync.Pool{New: func() any { return new([borrowedBytes]byte) }}

// Reader reads messages from a connection. Its own buffer has only IdleBytes. While a message needs more it borrows a
// bigger one, which grows only with bytes that came in, to the message's bound at most.
type Reader struct {
	Conn     net.Conn
	buf      []byte
	from, to int32 // buf[from:to] was read and not consumed
	scanned  int32 // bytes from there on that hold no <EOF>
	Borrows  bool  // start with a borrowed buffer: messages are long, or idle holds what TLS has not read yet
	borrowed bool  // buf is, whole
	idle     [IdleBytes]byte
	// message is the last one read. On the stack of a session that waits for the next it would cost a stack twice the size.
	message Message
}

// Next reads one message of at most limit bytes. It is valid until the next call.
func (r *Reader) Next(limit int) (*Message, error) {
	for {
		if m, err := r.Held(limit); m != nil || err != nil {
			return m, err
		}
		if err := r.Fill(limit); err != nil {
			return nil, err
		}
	}
}

// Held returns the next message if all of it is buffered, and nil if Fill has to read more first.
func (r *Reader) Held(limit int) (*Message, error) {
	if r.from == r.to {
		r.rewind()
		return nil, nil //nolint:nilnil // There is none yet.
	}
	b := r.buf[r.from:r.to]
	n, err := Decode(&r.message, b, int(r.scanned), limit)
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

// rewind prepares an empty reader for the next message: with its own small buffer, or with a borrowed one if Borrows is
// set.
func (r *Reader) rewind() {
	r.from, r.to, r.scanned = 0, 0, 0
	switch {
	case !r.Borrows:
		r.Release()
		r.buf = r.idle[:]
	case r.buf == nil:
		r.borrow()
	}
}

func (r *Reader) borrow() {
	r.buf = buffers.Get().(*[borrowedBytes]byte)[:]
	r.borrowed = true
}

// Release gives a borrowed buffer back. The reader must not be used after it but through rewind.
func (r *Reader) Release() {
	if r.borrowed {
		buffers.Put((*[borrowedBytes]byte)(r.buf))
		r.borrowed = false
	}
	r.buf = nil
}

// Rest gives a borrowed buffer back unless part of a message is in it.
func (r *Reader) Rest() {
	if r.from == r.to {
		r.from, r.to, r.scanned = 0, 0, 0
		r.Release()
	}
}

// Fill reads once, having made room, for a message of at most limit bytes.
func (r *Reader) Fill(limit int) error {
	if int(r.to) == len(r.buf) {
		r.grow(limit)
	}
	for range 100 {
		n, err := r.Conn.Read(r.buf[r.to:])
		r.to += int32(n)
		if n > 0 {
			return nil // An error that came with it comes again.
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// grow makes room in few steps, as each leaves its buffer behind, and never beyond the limit, which held has seen not to be
// reached.
func (r *Reader) grow(limit int) {
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
		r.Release()
		r.buf = bigger
	}
	r.from, r.to = 0, int32(len(rest))
}

// Buffered reports whether bytes were read beyond the last message.
func (r *Reader) Buffered() bool { return r.from < r.to }

// Look reads once, where nothing is buffered.
func (r *Reader) Look() (n int, err error) {
	r.rewind()
	n, err = r.Conn.Read(r.buf)
	r.to = int32(n)
	return n, err
}

// Begins reports whether what is buffered begins with a whole message of that code.
func (r *Reader) Begins(c Code) bool {
	n, err := Decode(&r.message, r.buf[r.from:r.to], 0, borrowedBytes)
	return n > 0 && err == nil && r.message.Code == c
}

// Idle gives a borrowed buffer back, as Rest, and returns the small one.
func (r *Reader) Idle() []byte {
	r.Rest()
	return r.idle[:]
}

// Drain discards what comes until the peer closes or the read deadline passes.
func (r *Reader) Drain() {
	r.rewind()
	for {
		if _, err := r.Conn.Read(r.buf); err != nil {
			return
		}
	}
}
