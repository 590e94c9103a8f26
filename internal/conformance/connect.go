package conformance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
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

// wrapped is a connection with what is below its TLS.
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
	return &suite{
		peer: refinery, patience: o.Patience, secrets: []string{o.authCertificate}, cases: newRefineryCases(o),
		connect: o.connect(accept, o.serverConfig, tls.Server),
	}
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
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, fmt.Errorf("no refinery connected to %v within %v", l.Addr(), o.ConnectTimeout)
		}
		return conn, err
	}
}

// probe goes through one opening, to tell a peer that cannot be tested from one that fails cases.
func (s *suite) probe(ctx context.Context, o *Options) error {
	conn, err := s.connect(ctx, usual)
	if err != nil {
		if w, ok := conn.(wrapped); ok && errors.Is(err, errNotTLS) {
			return fmt.Errorf("no TLS with %s: %w%s", o.Address, err, firstSeen(w.tap.seen()))
		}
		return fmt.Errorf("%s cannot be reached: %w", o.Address, err)
	}
	x := newExchange(ctx, conn, s.peer, s.patience, s.secrets...)
	defer x.close()
	if s.peer == refinery {
		_, err := x.next(time.Now().Add(s.patience))
		return x.foreign(o, err)
	}
	return x.probeMaster(o)
}

func (x *exchange) probeMaster(o *Options) error {
	m := &masterCases{o: o, members: membersOf(o)}
	x.write(m.message(establish))
	reply, err := x.next(time.Now().Add(x.patience))
	if errors.Is(err, errSilent) && len(x.buf) == 0 {
		x.write("\r\n\r\n") // Many protocols answer a line, if only with an error.
		reply, err = x.next(time.Now().Add(x.patience))
	}
	if err != nil || reply.code != startAuth {
		if err == nil && reply.code == closing {
			return fmt.Errorf("%s refuses id %q, version %q or type %q: give what it lets in", o.Address, o.ID, o.Version, o.Type)
		}
		return x.foreign(o, err)
	}
	x.write(m.message(authStart))
	if reply, err = x.next(time.Now().Add(x.patience)); err == nil && reply.code == authDec {
		return fmt.Errorf("%s denies the certificate: give one that it lets in, with --cert or --auth-cert, and an --id that goes with it", o.Address)
	}
	return nil
}

// foreign returns an error if what came first is not of the protocol, or nothing came. err is that of next.
func (x *exchange) foreign(o *Options, err error) error {
	came := string(x.buf)
	if len(x.came) > 0 {
		came = x.came[0]
	}
	code, _, _ := strings.Cut(came, separator)
	switch {
	case slices.Contains(codes, code):
		return nil
	case came == "" && errors.Is(err, errEnded):
		return fmt.Errorf("%s closed the connection without a word: see --transport, or it speaks something else", x.peerAddress(o))
	case came == "":
		return fmt.Errorf("%s was connected to and said nothing for %v", x.peerAddress(o), x.patience)
	}
	return fmt.Errorf("%s does not speak the Cluster Protocol%s", x.peerAddress(o), firstSeen(came))
}

// peerAddress is where the peer is.
func (x *exchange) peerAddress(o *Options) string {
	if x.peer == master {
		return o.Address
	}
	return x.conn.RemoteAddr().String()
}

// firstSeen says what a peer sent first, and what that looks like.
func firstSeen(first string) string {
	if first == "" {
		return ""
	}
	hint := ""
	switch {
	case strings.HasPrefix(first, "\x16\x03"), strings.HasPrefix(first, "\x15\x03"):
		hint = " (TLS: see --transport)"
	case slices.ContainsFunc(codes, func(code string) bool { return strings.HasPrefix(first, code) }):
		hint = " (the protocol without TLS: see --transport)"
	}
	return fmt.Sprintf("; the first bytes it sent: %q%s", first[:min(len(first), firstBytes)], hint)
}
