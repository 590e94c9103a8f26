package conformance

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// bounds are tried at the bound and one byte beyond it.
func (m *masterCases) bounds() {
	for _, b := range [...]struct {
		code   string
		before []step
		size   int
		reply  step
	}{
		{establish, nil, m.o.EstablishBytes, expect(startAuth)},
		{authStart, m.authenticating(), m.o.AuthStartBytes, expect(authAck)},
		{alive, m.authenticated(), m.o.SessionBytes, m.answered(1)},
	} {
		members := m.members[b.code]
		m.add("R-2.5", fmt.Sprintf("%s of %d bytes", b.code, b.size), b.before, send(padded(b.code, members, b.size)), b.reply)
		m.add("R-2.5", fmt.Sprintf("%s of %d bytes", b.code, b.size+1), b.before, send(padded(b.code, members, b.size+1)), ended())
		m.add("R-2.5", fmt.Sprintf("%d bytes of %s without <EOF>", b.size, b.code), b.before,
			send(unfinished(b.code, members, b.size)), ended())
	}
}

// timed adds a case that waits for a timer of the master's.
func (m *masterCases) timed(flag string, due time.Duration, wanted bool, rule, words string, steps ...any) *testCase {
	c := m.add(rule, words, steps...)
	c.takes = due + lateness
	if !wanted {
		c.skip = fmt.Sprintf("waits for %v: needs --slow or %s", due, flag)
	}
	return c
}

func (m *masterCases) timers() {
	aliveDue, handshakeDue := m.o.AliveTimeout, m.o.HandshakeTimeout
	wanted := m.o.Slow || m.o.given["alive-timeout"]
	m.timed("--alive-timeout", aliveDue, wanted, "R-5.4", "a silent session is closed, without conn:close",
		m.authenticated(), mark, m.heartbeat(), overdue(aliveDue, alive))
	m.timed("--alive-timeout", aliveDue, wanted, "R-5.4", "half a message does not keep a session alive",
		m.authenticated(), mark, m.heartbeat(), trickle(m.message(alive), aliveDue/8, 4), overdue(aliveDue, alive))
	m.timed("--alive-timeout", 2*aliveDue, wanted, "R-6.7", "conn:alive just before the alive timeout is in time, twice",
		m.authenticated(), rest(aliveDue-lateness), m.heartbeat(), rest(aliveDue-lateness), m.heartbeat())
	m.timed("--write-timeout", m.o.WriteTimeout, m.o.Slow || m.o.given["write-timeout"], "R-6.3", "a session whose answers are not read is closed",
		m.authenticated(), unread(m.message(alive), m.o.WriteTimeout))
	wanted = m.o.Slow || m.o.given["handshake-timeout"]
	for _, c := range []struct {
		words  string
		before []step
	}{
		{"nothing is sent", nil},
		{"nothing is sent after conn:startAuth", m.authenticating()},
		{"nothing is sent after auth:ack", m.acknowledging()},
	} {
		m.timed("--handshake-timeout", handshakeDue, wanted, "R-6.2", c.words, c.before, overdue(handshakeDue))
	}
	m.timed("--handshake-timeout", handshakeDue, wanted, "R-6.2", "a byte now and then does not move the deadline",
		trickle(m.message(establish), handshakeDue/8, 4), overdue(handshakeDue))
	if m.o.Transport != Plaintext {
		m.timed("--handshake-timeout", handshakeDue, wanted, "R-6.2", "nothing is sent, not even TLS",
			overdue(handshakeDue)).via = withoutTLS
	}
}

func (m *masterCases) transport() {
	if m.o.Transport == Plaintext {
		m.add("R-1.2", "TLS gets no answer", func(x *exchange) error { x.write(clientHello()); return nil }, ended())
		return
	}
	m.add("R-1.2", "the protocol without TLS gets no answer", func(x *exchange) error {
		x.write(m.message(establish))
		return x.noMessage()
	}).via = withoutTLS
	m.add("R-6.8", "a hello of three quarters of TLSFlightBytes", m.authenticating()).via = withLongHello
	m.add("R-6.8", "a hello of more than TLSFlightBytes", func(x *exchange) error {
		x.write(endlessHello(m.o.TLSFlightBytes + 1))
		return x.noMessage()
	}).via = withoutTLS
	if m.o.Transport != MutualTLS {
		return
	}
	m.add("R-1.2", "no client certificate, no session", send(m.message(establish)), ended()).via = withoutCertificate
	m.add("R-1.2", "TLS 1.2, no session", send(m.message(establish)), ended()).via = withTLS12
	m.add("R-8.1", "a certificate that no authority has issued gets no session", m.stranger).via = withUnknownAuthority
	m.add("R-6.8", "certificates of more than TLSFlightBytes", send(m.message(establish)), ended()).via = withLongChain
	m.add("R-8.1", "cert that is not the one TLS has proven", m.authenticating(),
		send(compose(authStart, `{"cert":"another"}`)), expect(authDec), send(m.message(closing)), ended())
}

// clientHello is the whole hello of a TLS client.
func clientHello() string {
	var r recorder
	_ = tls.Client(&r, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "conformance.invalid"}).Handshake() // Nobody answers.
	return r.String()
}

// recorder is a connection that keeps what is written, and ends.
type recorder struct {
	net.Conn
	strings.Builder
}

func (r *recorder) Write(p []byte) (int, error)    { return r.Builder.Write(p) }
func (*recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (*recorder) SetWriteDeadline(time.Time) error { return nil }
func (*recorder) Close() error                     { return nil }

// stranger goes as far as the master lets it; TLS may refuse it, or auth:dec.
func (m *masterCases) stranger(x *exchange) error {
	x.write(m.message(establish))
	x.expecting("%s, or the connection closed, within %v", authDec, x.patience)
	for deadline := time.Now().Add(x.patience); ; {
		reply, err := x.next(deadline)
		switch {
		case errors.Is(err, errEnded) && len(x.buf) == 0:
			return nil
		case err != nil:
			return x.fails("%v", err)
		case reply.code == startAuth:
			x.write(m.message(authStart))
			continue
		}
		return x.check(reply, authDec)
	}
}

// endlessHello is the beginning of a TLS hello that would be longer than any bound.
func endlessHello(size int) string {
	const most = 1 << 14 // of a record
	hello := append([]byte{1, 0xff, 0xff, 0xff, 3, 3}, make([]byte, size)...)
	var b []byte
	for part := range slices.Chunk(hello, most) {
		b = append(b, 22, 3, 1, most>>8, 0)
		b = append(b, part...)
	}
	return string(b[:size])
}

// places tries how many connections of one address a master takes that are not authenticated.
func (m *masterCases) places() {
	most := m.o.MaxHandshakesPerSource
	m.add("R-8.4", "peers that say nothing keep nobody out", settle, m.beside(most/2, withoutTLS, nil), m.one(usual, m.authenticated()))
	m.add("R-6.5", fmt.Sprintf("%d connections that are not authenticated are served", most), settle,
		m.authenticating(), m.beside(most-1, usual, m.authenticating()))
	m.add("R-6.5", "one connection more is refused, until there is a place", settle,
		m.authenticating(), m.beside(most-1, usual, m.authenticating()), m.one(withoutTLS, then(ended())), m.makesPlace)
	m.add("R-4.3", "what a connection says that there is no place for is not answered", settle,
		m.authenticating(), m.beside(most-1, usual, m.authenticating()), m.one(withoutTLS, then(send(m.message(establish)), ended())))
}

// settle lets the peer notice that the connections of former cases are closed.
func settle(x *exchange) error { x.pause(quietTime); return nil }

// one plays steps over a connection more.
func (m *masterCases) one(how via, steps []step) step { return m.beside(1, how, steps) }

// beside plays steps over each of n connections more, which stay open.
func (m *masterCases) beside(n int, how via, steps []step) step {
	return func(x *exchange) error {
		if n > 1 {
			x.sends(fmt.Sprintf("(%d connections more)", n))
		}
		for i := range n {
			x.expecting("connection %d of %d more", i+1, n)
			y, err := x.another(how)
			if err != nil {
				return x.fails("%v", err)
			}
			err = y.play(steps)
			if n == 1 || err != nil { // A report of many would be long.
				x.wire = append(x.wire, y.wire...)
			}
			if err != nil {
				x.expecting("on connection %d of %d more: %s", i+1, n, y.expected)
				return x.fails("%s", cameInstead(err))
			}
		}
		return nil
	}
}

// makesPlace closes a connection, after which another is taken, if not at once.
func (m *masterCases) makesPlace(x *exchange) error {
	x.write(m.message(closing))
	if err := x.end(x.patience); err != nil {
		return err
	}
	for deadline := time.Now().Add(x.patience); ; x.pause(quietTime / 10) {
		err := m.one(usual, m.authenticating())(x)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
