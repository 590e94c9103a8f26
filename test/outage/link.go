package outage

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
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

// opened returns what is closed while the link is whole.
func (l *link) opened() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

func (l *link) isWhole() bool {
	select {
	case <-l.opened():
		return true
	default:
		return false
	}
}

// whole waits until the link is whole, and reports whether that was before done.
func (l *link) whole(done <-chan struct{}) bool {
	select {
	case <-done:
		return false
	case <-l.opened():
		return true
	}
}

// upstreams returns some that take connections. There are several since many nodes may connect at once.
func upstreams(t testing.TB) (all []v1alpha1.Upstream) {
	t.Helper()
	for i := range 10 {
		all = append(all, v1alpha1.Upstream{Name: fmt.Sprintf("target-%d", i), Address: accepting(t)})
	}
	return all
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
