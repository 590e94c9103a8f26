package outage

import (
	"context"
	"net"
	"sync"

	"github.com/refinery-operator/refinery-operator/internal/agent"
)

// service is what stands for the master's Service: connections go to the master that is behind it when they are made. While
// nobody can say which one that is, it stays the one that it was.
type service struct {
	// address is what nodes are told.
	address string
	done    <-chan struct{}

	mu     sync.Mutex
	behind *masterProcess
}

// way returns how the node of a number dials. To the masters each node has an address of its own: they bound how many
// connections one may begin, and show it in status. Whatever is not the Service is dialed as it is.
func (s *service) way(number int) agent.DialFunc {
	own := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(2+number/250), byte(1+number%250))}}
	other := &net.Dialer{}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != s.address {
			return other.DialContext(ctx, network, address)
		}
		m := s.active()
		if !m.Nodes.whole(ctx.Done()) {
			return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
		}
		conn, err := own.DialContext(ctx, network, m.Address)
		if err != nil {
			return nil, err
		}
		return newCuttable(conn, m.Nodes, s.done), nil
	}
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
