package relay

import (
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// halfOpenTimeout is for how long nothing may move on a link of which one side has ended, or reads no more: it may be gone
	// altogether, which no keep-alive would show.
	halfOpenTimeout = time.Hour
	// firstBytes are read without the kernel's help: see flow.pass.
	firstBytes = 1 << 10
)

// link is a connection of the workload, and the one to the upstream that belongs to it.
type link struct {
	client, upstream *net.TCPConn
	address          string // of the upstream
	flows            [2]flow
	left             atomic.Int32 // flows that have not ended
	end              sync.Once

	stopDrain func() bool // nil while it is to stay; under the relay's lock

	// What the last sweep saw.
	seen  sight
	quiet time.Duration
}

// sight is what a sweep sees of a link. Nothing has moved where it stays the same. The first sweep, which can come at once, never sees
// the same: left is not 0 before the end.
type sight struct {
	moved   uint64
	left    int32
	blocked bool // a flow has read something, and still waits for its reader to take it
}

// flow is one direction of a link.
type flow struct {
	src, dst *net.TCPConn
	total    *atomic.Uint64 // of the relay
	moved    atomic.Uint64
	// copying is true from the first byte on, until a sweep has found that no more came.
	copying atomic.Bool
	first   [firstBytes]byte
}

func newLink(client, upstream *net.TCPConn, address string, counters *Counters) *link {
	l := &link{client: client, upstream: upstream, address: address}
	l.left.Store(int32(len(l.flows)))
	out, back := &l.flows[0], &l.flows[1]
	out.src, out.dst, out.total = client, upstream, counters.Bytes[ToUpstream]
	back.src, back.dst, back.total = upstream, client, counters.Bytes[ToWorkload]
	return l
}

// run passes on one direction of a link until it ends, and reports whether the link ended with it. An end that is not orderly ends
// both directions.
func (l *link) run(f *flow) (ended bool) {
	if err := f.pass(); err != nil {
		l.cut(nil)
	}
	if l.left.Add(-1) > 0 {
		return false
	}
	l.end.Do(func() {
		_ = l.client.Close() // both have ended in order
		_ = l.upstream.Close()
	})
	return true
}

// cut ends a link at once, and counts it where the relay is the one to end it. Both peers see a reset, so that neither takes what it got
// for the whole.
func (l *link) cut(cause *atomic.Uint64) {
	l.end.Do(func() {
		if cause != nil {
			cause.Add(1)
		}
		abort(l.client)
		abort(l.upstream)
	})
}

func abort(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // an error means that the connection is over
	_ = conn.Close()
}

// pass hands on what comes from src until it ends, and then ends dst's side.
//
// The kernel copies, through a pipe that takes memory and two descriptors. So that a link that idles has none, it begins with a plain read,
// and a sweep brings it back to that.
func (f *flow) pass() error {
	for {
		n, err := f.src.Read(f.first[:])
		if n > 0 {
			f.copying.Store(true)
			err = f.copy(f.first[:n])
			f.copying.Store(false)
		}
		switch {
		case errors.Is(err, io.EOF):
			return f.dst.CloseWrite()
		case errors.Is(err, os.ErrDeadlineExceeded): // interrupt was here
			err = f.src.SetReadDeadline(time.Time{})
		}
		if err != nil {
			return err
		}
	}
}

// copy hands on what was read already, and then what follows, until an error, which is io.EOF at the end.
func (f *flow) copy(first []byte) error {
	n, err := f.dst.Write(first)
	f.count(int64(n))
	if err != nil {
		return err
	}
	more, err := f.dst.ReadFrom(f.src)
	f.count(more)
	if err == nil {
		return io.EOF
	}
	return err
}

func (f *flow) count(n int64) {
	f.moved.Add(uint64(n))
	f.total.Add(uint64(n))
}

// interrupt makes a copy return that waits for something to read, and so count. One that waits for its reader goes on, and loses nothing.
func (f *flow) interrupt() {
	_ = f.src.SetReadDeadline(time.Unix(1, 0)) // an error means that the connection is over
}

// quietFor is for how long, by the sweeps, nothing has moved.
func (l *link) quietFor() time.Duration {
	now := sight{left: l.left.Load()}
	for i := range l.flows {
		f := &l.flows[i]
		now.moved += f.moved.Load()
		if f.copying.Load() {
			now.blocked = true // unless it counts by the next sweep, which the interrupt has it do
			f.interrupt()
		}
	}
	if now != l.seen {
		l.seen, l.quiet = now, 0
	} else {
		l.quiet += sweepInterval
	}
	return l.quiet
}

// mayBeQuiet is for how long nothing may move, if idle is what is asked for; 0 asks for nothing. A link whose reader is slow is not idle,
// but a reader that never reads again may be a process that has stopped.
func (l *link) mayBeQuiet(idle time.Duration) time.Duration {
	switch halfOpen := int(l.left.Load()) < len(l.flows); {
	case l.seen.blocked:
		return halfOpenTimeout
	case idle > 0 && halfOpen:
		return min(idle, halfOpenTimeout)
	case idle > 0:
		return idle
	case halfOpen:
		return halfOpenTimeout
	}
	return math.MaxInt64
}
