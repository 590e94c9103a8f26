package outage

import (
	"net"
	"os"
	"sync"
	"time"
)

// cuttable is a node's connection over a link that can be cut. While it is, nothing can be read, and what is written waits, and
// so does the end of the connection: the other side hears of it when the link is whole again. It has no descriptor but its
// socket's, so that one process can have many.
type cuttable struct {
	net.Conn
	over  *link
	done  <-chan struct{} // nobody waits for the link any more
	reads deadline

	closing sync.Once
	closed  chan struct{}

	reading sync.Mutex
	held    []byte // read from the socket after the link was cut
	heldErr error

	writing sync.Mutex
	waiting bool // for the link, to send what was not sent
	unsent  []byte
}

func newCuttable(conn net.Conn, over *link, done <-chan struct{}) *cuttable {
	return &cuttable{Conn: conn, over: over, done: done, closed: make(chan struct{}), reads: deadline{moved: make(chan struct{})}}
}

// Read implements net.Conn.
func (c *cuttable) Read(b []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.held == nil && c.heldErr == nil {
		n, err := c.Conn.Read(b)
		if c.over.isWhole() {
			return n, err
		}
		c.held, c.heldErr = append(c.held, b[:n]...), err
		if os.IsTimeout(err) {
			c.heldErr = nil // whoever set a deadline is told below
		}
	}
	if err := c.pass(); err != nil {
		return 0, err
	}
	n := copy(b, c.held)
	if c.held = c.held[n:]; len(c.held) > 0 {
		return n, nil
	}
	err := c.heldErr
	c.held, c.heldErr = nil, nil
	if n == 0 && err == nil {
		return c.Conn.Read(b)
	}
	return n, err
}

// pass waits until the link is whole, the deadline of reads is over, or the connection is closed.
func (c *cuttable) pass() error {
	for {
		at, moved := c.reads.get()
		var late <-chan time.Time
		if !at.IsZero() {
			late = time.After(time.Until(at))
		}
		select {
		case <-c.over.opened():
			return nil
		case <-c.closed:
			return net.ErrClosed
		case <-late:
			return os.ErrDeadlineExceeded
		case <-moved:
		}
	}
}

// Write implements net.Conn. What it could not send it sends when the link is whole.
func (c *cuttable) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.waiting && c.over.isWhole() {
		return c.Conn.Write(b)
	}
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	c.unsent = append(c.unsent, b...)
	if !c.waiting {
		c.waiting = true
		go func() {
			if c.over.whole(c.done) {
				c.send()
			}
		}()
	}
	return len(b), nil
}

// send sends what waits.
func (c *cuttable) send() {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.unsent != nil {
		_, _ = c.Conn.Write(c.unsent) // of an error the next read hears
	}
	c.unsent, c.waiting = nil, false
}

// Close implements net.Conn.
func (c *cuttable) Close() error {
	err := net.ErrClosed
	c.closing.Do(func() {
		close(c.closed)
		if c.over.isWhole() {
			err = c.Conn.Close()
			return
		}
		err = c.Conn.SetReadDeadline(time.Unix(1, 0)) // ends a read
		go func() {
			if c.over.whole(c.done) {
				c.send()
			}
			_ = c.Conn.Close()
		}()
	})
	return err
}

// SetDeadline implements net.Conn.
func (c *cuttable) SetDeadline(t time.Time) error {
	c.reads.set(t)
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *cuttable) SetReadDeadline(t time.Time) error {
	c.reads.set(t)
	return c.Conn.SetReadDeadline(t)
}

// deadline is a point in time that may be moved while somebody waits for it. The zero time is never.
type deadline struct {
	mu    sync.Mutex
	at    time.Time
	moved chan struct{} // closed when it is
}

func (d *deadline) set(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = at
	close(d.moved)
	d.moved = make(chan struct{})
}

func (d *deadline) get() (at time.Time, moved <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at, d.moved
}
