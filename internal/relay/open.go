package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

const (
	// openTimeout is how long a connection waits for the upstream: for one to be named, and to be reached.
	openTimeout = 15 * time.Second
	// dialTimeout bounds an attempt to reach it.
	dialTimeout = 3 * time.Second
)

var (
	errNoUpstream = errors.New("no upstream was granted in time")
	errLoop       = errors.New("the upstream is the relay itself")
)

func outcomeOf(err error) Outcome {
	switch {
	case errors.Is(err, errNoUpstream):
		return NoUpstream
	case errors.Is(err, errLoop):
		return Looped
	}
	return Unreachable
}

// open connects to the current upstream, and returns which that was. If the upstream changes meanwhile, a failure to reach the former one
// counts for nothing.
func (r *Relay) open(ctx context.Context) (conn *net.TCPConn, address string, err error) {
	ctx, cancel := r.within(ctx, openTimeout)
	defer cancel()
	for {
		address, changed := r.options.Upstream()
		if address == "" {
			select {
			case <-ctx.Done():
				return nil, "", errNoUpstream
			case <-changed:
				continue
			}
		}
		conn, err := r.dial(ctx, address)
		if err == nil {
			return conn, address, nil
		}
		if now, _ := r.options.Upstream(); now == address || ctx.Err() != nil {
			return nil, address, err
		}
	}
}

func (r *Relay) dial(ctx context.Context, address string) (*net.TCPConn, error) {
	ctx, cancel := r.within(ctx, dialTimeout)
	defer cancel()
	dialer := net.Dialer{KeepAliveConfig: keepAlive, ControlContext: r.notToItself}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// notToItself runs before a connection is begun, when the name has become an address. Afterwards would be too late: the relay would have
// accepted its own connection, and dialed the next.
func (r *Relay) notToItself(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip, own := to.Addr().Unmap(), r.self.Addr().Unmap(); to.Port() == r.self.Port() &&
		(ip == own || ip.IsUnspecified() || own.IsUnspecified() && (ip.IsLoopback() || ofThisMachine(ip))) {
		return errLoop
	}
	return nil
}

// ofThisMachine reports whether a network interface has the address.
func ofThisMachine(ip netip.Addr) bool {
	own, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(own, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap() == ip.WithZone("")
	})
}
