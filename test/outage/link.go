package outage

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/test/loopback"
)

// link is a way through the network that can be cut. What is under way then waits, as it does with TCP, which sends again.
type link struct {
	mu   sync.Mutex
	open chan struct{} // closed while the link is whole
}

func newLink() *link {
	l := &link{open: make(chan struct{})}
	close(l.open)
	return l
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
		l.open = make(chan struct{})
	default:
	}
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
	default:
		close(l.open)
	}
}

// whole waits until the link is whole, and reports whether that was before done.
func (l *link) whole(done <-chan struct{}) bool {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	select {
	case <-done:
		return false
	case <-open:
		return true
	}
}

// forwarder carries connections to where route says when they are made, over a link. While nobody listens there it refuses
// connections, as if the client had connected there itself.
type forwarder struct {
	// Address is where it listens.
	Address string

	source  *net.TCPAddr // where its connections come from
	route   func() (target string, over *link)
	done    chan struct{}
	running sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while it refuses
}

// forward starts a forwarder that runs until the test ends. Its connections come from an address of their own, source.
func forward(t testing.TB, source net.IP, route func() (target string, over *link)) *forwarder {
	t.Helper()
	f := &forwarder{Address: loopback.Reserve(t), source: &net.TCPAddr{IP: source}, route: route, done: make(chan struct{})}
	if err := f.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(f.done)
		f.mu.Lock()
		if f.listener != nil {
			_ = f.listener.Close()
		}
		f.mu.Unlock()
		f.running.Wait()
	})
	return f
}

func (f *forwarder) listen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	listener, err := net.Listen("tcp", f.Address)
	if err != nil {
		return err
	}
	f.listener = listener
	f.running.Go(func() { f.serve(listener) })
	return nil
}

func (f *forwarder) serve(listener net.Listener) {
	for {
		near, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			f.running.Go(func() { f.carry(near.(*net.TCPConn)) })
		}
	}
}

// refuse stops listening until somebody listens at the target again.
func (f *forwarder) refuse() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener == nil {
		return
	}
	_ = f.listener.Close()
	f.listener = nil
	f.running.Go(func() {
		for ticks := time.Tick(20 * time.Millisecond); ; {
			select {
			case <-f.done:
				return
			case <-ticks:
			}
			if f.taken() && f.listen() == nil {
				return
			}
		}
	})
}

// taken reports whether connections are taken where they go to now.
func (f *forwarder) taken() bool {
	target, _ := f.route()
	conn, err := net.DialTimeout("tcp", target, dialTimeout)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// dialTimeout bounds how long a forwarder waits for a target that does not answer.
const dialTimeout = 10 * time.Second

func (f *forwarder) carry(near *net.TCPConn) {
	defer func() { _ = near.Close() }()
	_ = near.SetLinger(0) // until it goes through
	target, over := f.route()
	if !over.whole(f.done) {
		return
	}
	dialer := &net.Dialer{Timeout: dialTimeout, LocalAddr: f.source}
	conn, err := dialer.Dial("tcp", target)
	if err != nil {
		f.refuse()
		return
	}
	_ = near.SetLinger(-1)
	far := conn.(*net.TCPConn)
	defer func() { _ = far.Close() }()
	ended := make(chan struct{})
	defer close(ended)
	f.running.Go(func() {
		select {
		case <-f.done: // ends both copies
			_ = near.Close()
			_ = far.Close()
		case <-ended:
		}
	})
	var copies sync.WaitGroup
	copies.Go(func() { f.copy(far, near, over, func() {}) })
	copies.Go(func() {
		f.copy(near, far, over, func() { // the process at the other end may be gone
			if now, _ := f.route(); now == target && !f.taken() {
				f.refuse()
			}
		})
	})
	copies.Wait()
}

// copy carries bytes one way, and then how they ended. It calls ended before anybody is told.
func (f *forwarder) copy(to, from *net.TCPConn, over *link, ended func()) {
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		if !over.whole(f.done) {
			return
		}
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				_ = from.SetLinger(0)
				_ = from.Close()
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			ended()
			_ = to.CloseWrite()
			return
		default:
			ended()
			_ = to.SetLinger(0)
			_ = to.Close()
			return
		}
	}
}

// accepting listens at the address that it returns, until the test ends, and closes what it accepts.
func accepting(t testing.TB) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_ = conn.Close()
			}
		}
	})
	t.Cleanup(func() { _ = listener.Close(); running.Wait() })
	return listener.Addr().String()
}

// service is what stands for the master's Service: connections go to the master that is behind it when they are made. While
// nobody can say which one that is, it stays the one that it was.
type service struct {
	mu     sync.Mutex
	behind *masterProcess
	nodes  int
}

// enter returns the address of the Service for one more node. To the masters the node has an address of its own: they bound
// how many connections one may begin, and show it in status.
func (s *service) enter(t testing.TB) (address string) {
	t.Helper()
	s.nodes++
	return forward(t, net.IPv4(127, 0, byte(2+s.nodes/250), byte(1+s.nodes%250)), func() (string, *link) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.behind.Address, s.behind.Nodes
	}).Address
}

func (s *service) point(to *masterProcess) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind = to
}

// active is the master behind the Service.
func (s *service) active() *masterProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behind
}
