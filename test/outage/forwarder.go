package outage

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// forwarder carries connections to a target, over a link. While nobody listens there it refuses connections, as if the client had
// connected there itself. It runs until its process ends.
type forwarder struct {
	address, target string
	over            *link

	mu       sync.Mutex
	listener net.Listener // nil while it refuses
}

func (f *forwarder) listen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	listener, err := net.Listen("tcp", f.address)
	if err != nil {
		return err
	}
	f.listener = listener
	go f.serve(listener)
	return nil
}

func (f *forwarder) serve(listener net.Listener) {
	for {
		near, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go f.carry(near.(*net.TCPConn))
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
	go func() {
		for range time.Tick(20 * time.Millisecond) {
			if f.taken() && f.listen() == nil {
				return
			}
		}
	}()
}

// taken reports whether connections are taken where they go to now.
func (f *forwarder) taken() bool {
	conn, err := net.DialTimeout("tcp", f.target, dialTimeout)
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
	<-f.over.opened()
	conn, err := net.DialTimeout("tcp", f.target, dialTimeout)
	if err != nil {
		f.refuse()
		return
	}
	_ = near.SetLinger(-1)
	far := conn.(*net.TCPConn)
	defer func() { _ = far.Close() }()
	var copies sync.WaitGroup
	copies.Go(func() { f.copy(far, near, func() {}) })
	copies.Go(func() {
		f.copy(near, far, func() { // the process at the other end may be gone
			if !f.taken() {
				f.refuse()
			}
		})
	})
	copies.Wait()
}

// copy carries bytes one way, and then how they ended. It calls ended before anybody is told.
func (f *forwarder) copy(to, from *net.TCPConn, ended func()) {
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		<-f.over.opened()
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
