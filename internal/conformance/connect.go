package conformance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// certified is a connection that knows what TLS has proven.
type certified interface{ ConnectionState() tls.ConnectionState }

// firstBytes is how much of what a peer sends is kept to say what it speaks instead.
const firstBytes = 64

// tap is what is below TLS. It remembers the first bytes that come, and can hold what is written back, to write it at once.
type tap struct {
	net.Conn
	mu     sync.Mutex
	first  []byte
	corked bool
	held   []byte
}

func (t *tap) Write(p []byte) (int, error) {
	if t.hold(p) {
		return len(p), nil
	}
	return t.Conn.Write(p)
}

func (t *tap) hold(p []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.corked {
		t.held = append(t.held, p...)
	}
	return t.corked
}

func (t *tap) cork() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.corked = true
}

// uncork writes what was held back, in one write.
func (t *tap) uncork() {
	t.mu.Lock()
	held := t.held
	t.corked, t.held = false, nil
	t.mu.Unlock()
	_, _ = t.Conn.Write(held) // A peer that has closed is read as ended.
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first = append(t.first, p[:min(n, firstBytes-len(t.first))]...)
	return n, err
}

// CloseWrite closes the kit's direction of the stream, where the transport can.
func (t *tap) CloseWrite() error {
	if c, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.New("this transport cannot close one direction")
}

func (t *tap) seen() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.first)
}

// wrapped is a connection, with or without TLS, and the tap below it, which sees the raw bytes.
type wrapped struct {
	net.Conn
	tap   *tap
	begun time.Time // before TLS
}

// CloseWrite closes the kit's direction.
func (w wrapped) CloseWrite() error {
	if c, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return w.tap.CloseWrite()
}

// ConnectionState is that of TLS; empty without it.
func (w wrapped) ConnectionState() tls.ConnectionState {
	if c, ok := w.Conn.(certified); ok {
		return c.ConnectionState()
	}
	return tls.ConnectionState{}
}

// secured runs a TLS handshake, client's or server's. A peer that refuses it leaves a connection that has ended, which
// is what some cases want.
func secured(ctx context.Context, conn net.Conn, config *tls.Config, patience time.Duration,
	over func(net.Conn, *tls.Config) *tls.Conn) (wrapped, error) {
	t := &tap{Conn: conn}
	w := wrapped{t, t, time.Now()}
	if config == nil {
		return w, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	secure := over(t, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // TLS has closed it already.
		if ctx.Err() != nil {
			err = fmt.Errorf("nothing for %v", patience)
		}
		return w, fmt.Errorf("%w: %w", errNotTLS, err)
	}
	w.Conn = secure
	return w, nil
}

// raw makes the connection below TLS, or waits for the peer to make it.
type raw func(ctx context.Context) (net.Conn, error)

// connect returns how a suite gets a connection: raw, and then TLS over it, of a configuration that depends on the case.
func (o *Options) connect(below raw, configure func(via) (*tls.Config, error), over func(net.Conn, *tls.Config) *tls.Conn,
) func(context.Context, via) (net.Conn, error) {
	return func(ctx context.Context, how via) (net.Conn, error) {
		config, err := configure(how)
		if err != nil {
			return nil, err
		}
		conn, err := below(ctx)
		if err != nil {
			return nil, err
		}
		w, err := secured(ctx, conn, config, o.Patience, over)
		return w, tolerable(err, how)
	}
}

// masterSuite tests the master that dial reaches.
func masterSuite(o *Options, dial raw) *suite {
	return &suite{
		peer: master, patience: o.Patience, secrets: []string{o.authCertificate, o.deniedCertificate}, cases: newMasterCases(o),
		connect: o.connect(dial, o.clientConfig, tls.Client),
	}
}

// tolerable is an error of secured that a case does not want.
func tolerable(err error, how via) error {
	if errors.Is(err, errNotTLS) && how.refusable() {
		return nil
	}
	return err
}

func (o *Options) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: max(o.Patience, time.Second)}
	return d.DialContext(ctx, "tcp", o.Address)
}

// refinerySuite tests the refineries that accept waits for.
func refinerySuite(o *Options, accept raw) *suite {
	s := &suite{peer: refinery, patience: o.Patience, secrets: []string{o.authCertificate}, cases: newRefineryCases(o)}
	s.connect = o.connect(func(ctx context.Context) (net.Conn, error) {
		conn, err := accept(ctx)
		if _, ok := errors.AsType[*nobodyCame](err); ok {
			s.gone = true
		}
		return conn, err
	}, o.serverConfig, tls.Server)
	return s
}

// nobodyCame says that no refinery connected to the kit.
type nobodyCame struct {
	address string
	within  time.Duration
}

func (n *nobodyCame) Error() string {
	return fmt.Sprintf("no refinery connected to %s within %v", n.address, n.within)
}

// deadlined is a listener that can stop waiting.
type deadlined interface{ SetDeadline(time.Time) error }

// accept returns a function that waits for the refinery to connect to l.
func (o *Options) accept(l net.Listener) raw {
	return func(ctx context.Context) (net.Conn, error) {
		if d, ok := l.(deadlined); ok {
			if err := d.SetDeadline(time.Now().Add(o.ConnectTimeout)); err != nil {
				return nil, err
			}
			stop := context.AfterFunc(ctx, func() { _ = d.SetDeadline(time.Unix(1, 0)) }) // Wakes Accept.
			defer stop()
		}
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, &nobodyCame{l.Addr().String(), o.ConnectTimeout}
		}
		return conn, err
	}
}
