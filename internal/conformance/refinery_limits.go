package conformance

import (
	"errors"
	"fmt"
	"time"
)

func (r *refineryCases) bounds() {
	size := r.o.MaxMessageBytes
	r.add("R-2.5", fmt.Sprintf("auth:ack of %d bytes", size), r.verifying(), send(padded(authAck, upstreamMembers, size)), expect(authAck))
	r.add("R-2.5", fmt.Sprintf("auth:ack of %d bytes", size+1), r.verifying(), send(padded(authAck, upstreamMembers, size+1)), ended())
	r.add("R-2.5", fmt.Sprintf("%d bytes without <EOF>", size), r.verifying(), send(unfinished(authAck, upstreamMembers, size)), ended())
}

func (r *refineryCases) timers() {
	for _, c := range []struct {
		flag, rule, words string
		due               time.Duration
		steps             []step
	}{
		{"alive-timeout", "R-5.4", "a silent master is given up, without conn:close", r.o.AliveTimeout,
			then(r.verifying(), mark, send(grant), expect(authAck), overdue(r.o.AliveTimeout, alive))},
		{"handshake-timeout", "R-6.2", "a master that does not answer conn:establish is given up", r.o.HandshakeTimeout,
			then(r.establishing(), overdue(r.o.HandshakeTimeout))},
		{"handshake-timeout", "R-6.2", "a master that does not answer auth:start is given up", r.o.HandshakeTimeout,
			then(r.verifying(), overdue(r.o.HandshakeTimeout))},
		{"alive-timeout", "R-6.7", "conn:alive just before the alive timeout is in time, twice", 2 * r.o.AliveTimeout,
			then(r.authenticated(), rest(r.o.AliveTimeout-lateness), send(fromMaster(alive)),
				rest(r.o.AliveTimeout-lateness), send(fromMaster(alive)), open)},
	} {
		tc := r.add(c.rule, c.words, c.steps)
		tc.takes += c.due + lateness
		if !r.o.Slow && !r.o.given[c.flag] {
			tc.skip = fmt.Sprintf("waits for %v: needs --slow or --%s", c.due, c.flag)
		}
	}
}

// open expects no end behind the heartbeats that came meanwhile.
func open(x *exchange) error {
	x.expecting("nothing but %s for %v, the connection open", alive, lateness)
	for deadline := time.Now().Add(lateness); ; {
		m, err := x.next(deadline)
		if errors.Is(err, errSilent) && len(x.buf) == 0 {
			return nil
		}
		if err != nil {
			return x.fails("%v", err)
		}
		if err := x.check(m, alive); err != nil {
			return err
		}
	}
}

func (r *refineryCases) transport() {
	if r.o.Transport == Plaintext {
		return
	}
	r.add("R-1.2", "a master whose certificate nobody trusts hears nothing", ended()).via = withUnknownAuthority
	stalled := r.add("R-6.2", "a master that stalls within TLS is given up", stalledUntil(r.o.HandshakeTimeout))
	stalled.via = withoutTLS
	stalled.takes += r.o.HandshakeTimeout + lateness
	if !r.o.Slow && !r.o.given["handshake-timeout"] {
		stalled.skip = fmt.Sprintf("waits for %v: needs --slow or --handshake-timeout", r.o.HandshakeTimeout)
	}
	if r.o.Transport == MutualTLS {
		r.add("R-1.2", "a master with TLS 1.2 alone hears nothing", ended()).via = withTLS12
	}
}

// stalledUntil reads whatever comes, answers nothing, and expects the end when it is due.
func stalledUntil(due time.Duration) step {
	return func(x *exchange) error {
		x.tolerance = timerTolerance
		for x.more(x.begun.Add(due + lateness)) {
			x.buf, x.completed = nil, nil // Of TLS, which is not looked at.
		}
		x.expecting("the connection closed %v after it began to count", due)
		if took := time.Since(x.begun); !x.ended {
			return x.fails("nothing: the connection is still open")
		} else if took < due-x.slack {
			x.tolerance = x.slack
			return x.fails("the end after %v", took.Round(time.Millisecond))
		}
		return nil
	}
}
