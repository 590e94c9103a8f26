package conformance

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// fakeMaster serves the connections of one run.
type fakeMaster struct {
	mutation
	o       *Options
	config  *tls.Config   // nil without TLS
	taken   chan struct{} // holds the connections that are not authenticated
	serving chan struct{} // holds the one of them that a master serves that serves one by one
}

func newFakeMaster(o *Options, m mutation, config *tls.Config) *fakeMaster {
	return &fakeMaster{mutation: m, o: o, config: config, taken: make(chan struct{}, o.MaxHandshakesPerSource+m.places),
		serving: make(chan struct{}, 1)}
}

// accept takes a place, in the order of the calls, and serves or refuses the connection.
func (a *fakeMaster) accept(conn net.Conn, gone <-chan struct{}) {
	select {
	case a.taken <- struct{}{}:
		go a.serve(conn, gone)
	default:
		go a.refuse(conn)
	}
}

// serve serves one connection.
func (a *fakeMaster) serve(conn net.Conn, gone <-chan struct{}) {
	defer conn.Close()
	f := &fakePeer{mutation: a.mutation, side: master, conn: conn, gone: gone, state: "New", writes: a.o.WriteTimeout}
	f.leave = sync.OnceFunc(func() {
		<-a.taken
		if a.oneByOne {
			<-a.serving
		}
	})
	defer f.leave()
	if a.oneByOne {
		a.serving <- struct{}{}
	}
	deadline := f.handshakeDeadline(a.o.HandshakeTimeout)
	if a.config != nil {
		if !a.slowTLS {
			_ = conn.SetDeadline(deadline())
		}
		secure, err := a.handshake(conn)
		if err != nil {
			return
		}
		_ = secure.SetDeadline(time.Time{})
		if f.conn = secure; a.slowTLS {
			deadline = f.handshakeDeadline(a.o.HandshakeTimeout)
		}
	}
	f.open(a.o, deadline)
}

// refuse closes a connection that there is no place for.
func (a *fakeMaster) refuse(conn net.Conn) {
	defer conn.Close()
	if !a.late && !a.curious {
		return
	}
	if a.curious {
		_ = conn.SetReadDeadline(time.Now().Add(quietTime))
	}
	if n, _ := conn.Read(make([]byte, 4096)); n > 0 && a.curious {
		_, _ = io.WriteString(conn, compose(closing, ""))
	}
}

func (f *fakePeer) open(o *Options, deadline func() time.Time) {
	hello, err := f.take(f.limit(establish, o.EstablishBytes), deadline, establish)
	if err != nil {
		if f.alerts && bytes.HasPrefix(f.buf, []byte("\x16\x03")) {
			_, _ = io.WriteString(f.conn, "\x15\x03\x01\x00\x02\x02\x0a")
		}
		return
	}
	if hello.text("version") == o.RefusedVersion {
		if !f.mute {
			f.farewell()
		}
		return
	}
	if f.ahead() {
		return
	}
	f.state = "Authenticating"
	f.send(startAuth, "")
	proof, err := f.take(f.limit(authStart, o.AuthStartBytes), deadline, authStart)
	if err != nil || f.ahead() {
		return
	}
	if cert := proof.text("cert"); cert == o.deniedCertificate || (!f.trusting && !f.proven(cert)) {
		f.state = "Denied"
		f.send(authDec, "")
		if f.retries {
			if _, err := f.take(o.AuthStartBytes, deadline, authStart); err == nil {
				f.send(authAck, object(upstreamMembers))
			}
			return
		}
		if !f.hasty {
			_, _ = f.take(o.SessionBytes, deadline)
		}
		return
	}
	f.state = "Acknowledging"
	f.send(authAck, object(upstreamMembers))
	if _, err := f.take(f.limit(alive, o.SessionBytes), deadline, authAck); err == nil {
		f.state = "Authenticated"
		f.leave()
		f.stand(o)
	}
}

// proven compares what auth:start says with what TLS has proven.
func (f *fakePeer) proven(cert string) bool {
	p := peerCertificate(f.conn)
	return p == nil || slices.Equal(derOf(cert), p.Raw)
}

// stand is the master's session.
func (f *fakePeer) stand(o *Options) {
	seen := time.Now()
	f.began = seen
	for {
		m, err := f.take(f.limit(alive, o.SessionBytes), func() time.Time { return f.aliveDeadline(o.AliveTimeout, &seen) }, alive)
		if errors.Is(err, os.ErrDeadlineExceeded) && f.lastWord {
			f.send(closing, "")
		}
		if err != nil || (f.picky && (m.text("load") == "37%" || m.text("load") == "1.5")) {
			return
		}
		seen = time.Now()
		if !f.plain || len(m.values) == 0 {
			f.send(alive, "")
		}
	}
}

// handshake runs TLS, and bounds each flight of the kit's.
func (a *fakeMaster) handshake(conn net.Conn) (net.Conn, error) {
	below := &flight{Conn: conn, most: a.o.TLSFlightBytes}
	switch {
	case a.unbounded:
		below.most = 1 << 30
	case a.narrow:
		below.most = 4 << 10
	}
	if a.alsoPlain {
		first := make([]byte, 1)
		if _, err := io.ReadFull(conn, first); err != nil {
			return nil, err
		}
		below.first = first
		if first[0] != 22 { // Of a TLS handshake's record.
			below.most = 1 << 30
			return below, nil
		}
	}
	config := a.config.Clone()
	if a.tls != nil {
		a.tls(config)
	}
	secure := tls.Server(below, config)
	if err := secure.Handshake(); err != nil {
		return nil, err
	}
	below.most = 1 << 30
	return secure, nil
}

// flight bounds what is read between two writes.
type flight struct {
	net.Conn
	most, count int
	first       []byte // read already
}

func (f *flight) Read(p []byte) (int, error) {
	if f.count >= f.most {
		return 0, errTooLong
	}
	n := copy(p, f.first)
	f.first = f.first[n:]
	if n > 0 {
		return n, nil
	}
	n, err := f.Conn.Read(p[:min(len(p), f.most-f.count)])
	f.count += n
	return n, err
}

func (f *flight) Write(p []byte) (int, error) {
	f.count = 0
	return f.Conn.Write(p)
}
