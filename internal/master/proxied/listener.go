// Package proxied takes connections that load balancers forward with a header of the PROXY protocol, so that the master sees the address
// of the node and not theirs.
package proxied

import (
	"container/list"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// ErrRefused is why a connection ended before its header was taken. What wraps it says more.
var ErrRefused = errors.New("not forwarded by PROXY protocol")

const (
	// headerTimeout bounds how long a header takes to arrive: whoever forwards sends it first, at once.
	headerTimeout = 5 * time.Second
	// maxPending bounds the connections whose header has not arrived, or that Accept has not returned. For one more the oldest is closed.
	maxPending = 1024
)

// Options of a Listener. All are required.
type Options struct {
	// Trusted are the networks of those who may forward. It is asked for each connection.
	Trusted func() []netip.Prefix
	// Refused is told of every connection that ended before its header was taken. It must not block.
	Refused func(remote net.Addr, reason error)
}

// Listener returns connections whose remote address is the one that their header gives. Who is not in a listed network is closed before
// anything is read.
type Listener struct {
	inner    *net.TCPListener
	o        Options
	accepted chan accepted
	closed   chan struct{}
	close    func() error
	begin    func()

	mu      sync.Mutex
	pending list.List // of net.Conn that Accept has not returned, in the order in which they came
}

type accepted struct {
	conn net.Conn
	err  error
}

// Listen takes connections from inner until it is closed, from the first Accept on: before, the kernel holds them.
func Listen(inner *net.TCPListener, o Options) *Listener {
	l := &Listener{inner: inner, o: o, accepted: make(chan accepted), closed: make(chan struct{})}
	l.close = sync.OnceValue(func() error {
		close(l.closed)
		return inner.Close()
	})
	l.begin = sync.OnceFunc(func() { go l.run() })
	return l
}

// Accept returns the next connection whose header is taken, or what accepting failed with.
func (l *Listener) Accept() (net.Conn, error) {
	l.begin()
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close closes the listener, and the connections that Accept has not returned.
func (l *Listener) Close() error {
	err := l.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.pending.Front(); e != nil; e = e.Next() {
		_ = e.Value.(net.Conn).Close() // This ends its goroutine.
	}
	return err
}

// Addr is where it listens.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

func (l *Listener) run() {
	for {
		conn, err := l.inner.AcceptTCP()
		switch {
		case err != nil:
			if !l.hand(accepted{err: err}) {
				return
			}
		case !l.trusts(conn.RemoteAddr()):
			_ = conn.Close() // Nothing was said yet.
			l.o.Refused(conn.RemoteAddr(), fmt.Errorf("%w: it comes from an address that spec.service.proxyProtocol.trustedNetworks does not list", ErrRefused))
		default:
			place := l.wait(conn)
			go l.take(conn, place)
		}
	}
}

// hand gives a to Accept. It returns false if the listener is closed.
func (l *Listener) hand(a accepted) bool {
	select {
	case l.accepted <- a:
		return true
	case <-l.closed:
		return false
	}
}

func (l *Listener) trusts(remote net.Addr) bool {
	address := remote.(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
	for _, network := range l.o.Trusted() {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// wait adds a connection to those that are pending, and closes the oldest of them if there are too many.
func (l *Listener) wait(conn net.Conn) *list.Element {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending.Len() >= maxPending {
		_ = l.pending.Remove(l.pending.Front()).(net.Conn).Close() // This ends its goroutine.
	}
	select {
	case <-l.closed:
		_ = conn.Close()
	default:
	}
	return l.pending.PushBack(conn)
}

// take reads the header of a connection, and hands it on.
func (l *Listener) take(conn *net.TCPConn, place *list.Element) {
	remote, err := l.remote(conn)
	if err == nil && !l.hand(accepted{conn: &protocol.Forwarded{TCPConn: conn, Remote: remote}}) {
		err = net.ErrClosed
	}
	l.mu.Lock()
	l.pending.Remove(place)
	l.mu.Unlock()
	if err != nil {
		_ = conn.Close() // Nothing is answered.
		l.o.Refused(conn.RemoteAddr(), fmt.Errorf("%w: %w", ErrRefused, err))
	}
}

// remote reads the header of a connection, and returns whose connection it is.
func (l *Listener) remote(conn *net.TCPConn) (net.Addr, error) {
	err := errors.Join(conn.SetReadBuffer(protocol.DefaultSocketBytes), conn.SetWriteBuffer(protocol.DefaultSocketBytes),
		conn.SetReadDeadline(time.Now().Add(headerTimeout)))
	if err != nil {
		return nil, err
	}
	source, err := readHeader(conn)
	if err != nil {
		return nil, err
	}
	if !source.IsValid() {
		return conn.RemoteAddr(), conn.SetReadDeadline(time.Time{})
	}
	return net.TCPAddrFromAddrPort(source), conn.SetReadDeadline(time.Time{})
}
