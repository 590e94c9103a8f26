package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// quietTime is how long a peer is watched that is to say nothing.
	quietTime = 300 * time.Millisecond
	// lateness is what the network and a busy machine may add to a timer of the peer's.
	lateness = 500 * time.Millisecond
	// maxUnread bounds what is kept of a peer that sends without end.
	maxUnread = 256 << 10
	// shownBytes is how much of a message a report shows.
	shownBytes = 200
	// shownMessages is how many messages of the peer's a report shows.
	shownMessages = 50
)

// failure is why a case fails: what was expected, and what came instead.
type failure struct{ expected, came string }

func (f *failure) Error() string { return "expected " + f.expected + "; came " + f.came }

// exchange is the kit's side of one connection.
type exchange struct {
	ctx      context.Context
	conn     net.Conn
	peer     side
	patience time.Duration
	secrets  []string // never shown: the certificate may be a bearer secret

	// connect makes a connection more, to the same peer.
	connect func(ctx context.Context, how via) (net.Conn, error)
	// rule is that of the case. Rules of judgedApart are judged in their own cases only.
	rule string

	begun time.Time     // of the connection, or of what a timer of the peer's counts from
	slack time.Duration // by which the peer may have begun to count earlier
	// tolerance is by how much this machine may be late before the step that is taken may fail for that.
	tolerance time.Duration
	arrivals  chan piece // closed when the peer has closed
	done      chan struct{}
	buf       []byte
	ended     bool
	endError  error       // that of the last read, once ended
	others    []*exchange // made by another

	expected  string
	wire      []Message
	shown     int         // messages of the peer's, in wire or beyond what it shows
	completed []time.Time // when the messages in buf had come
}

func newExchange(ctx context.Context, conn net.Conn, peer side, patience time.Duration, secrets ...string) *exchange {
	x := &exchange{ctx: ctx, peer: peer, patience: patience, secrets: secrets, slack: lateness / 5, tolerance: patience / 2}
	x.begin(conn)
	return x
}

// begin makes conn the connection, and begins to read at once.
func (x *exchange) begin(conn net.Conn) {
	x.conn, x.arrivals, x.done = conn, make(chan piece), make(chan struct{})
	x.buf, x.completed, x.ended, x.endError = nil, nil, false, nil
	go x.read(x.done)
}

// read is at most one read ahead of the steps: a peer finds that nothing is read when they do nothing.
func (x *exchange) read(done <-chan struct{}) {
	defer close(x.arrivals)
	for {
		b := make([]byte, 4096)
		n, err := x.conn.Read(b)
		if n > 0 {
			select {
			case x.arrivals <- piece{b[:n], time.Now()}:
			case <-done:
				return
			}
		}
		if err != nil {
			x.endError = err // Read only behind the close of arrivals.
			return
		}
	}
}

// reconnect goes on over another connection, once the peer is back.
func (x *exchange) reconnect() error {
	x.close()
	x.expecting("another connection")
	conn, err := x.connect(x.ctx, usual)
	if err != nil {
		return x.fails("%v", err)
	}
	x.sends(anotherConnection)
	x.begin(conn)
	return nil
}

// another begins an exchange over a connection more, which ends with this one.
func (x *exchange) another(how via) (*exchange, error) {
	conn, err := x.connect(x.ctx, how)
	if err != nil {
		return nil, err
	}
	y := newExchange(x.ctx, conn, x.peer, x.patience, x.secrets...)
	y.sends(anotherConnection)
	x.others = append(x.others, y)
	return y, nil
}

// close ends the connection, and those beside it, and waits for the readers. Once more does nothing.
func (x *exchange) close() {
	for _, y := range x.others {
		y.close()
	}
	if len(x.others) > 0 {
		x.pause(quietTime) // So that the peer has places again before the next case.
	}
	if x.done == nil {
		return
	}
	close(x.done)
	x.done = nil
	_ = x.conn.Close() // It may be closed already.
	for range x.arrivals {
		continue
	}
}

// write sends pieces, a write each. A peer that closes meanwhile shows when it is read from, so errors say nothing here.
func (x *exchange) write(pieces ...string) {
	text := strings.Join(pieces, "")
	if len(pieces) > 1 {
		x.sends(fmt.Sprintf("%s in %d writes", x.show(text), len(pieces)))
	} else {
		x.sends(x.show(text))
	}
	_ = x.conn.SetWriteDeadline(time.Now().Add(x.patience))
	for _, p := range pieces {
		if _, err := x.conn.Write([]byte(p)); err != nil {
			return
		}
	}
}

// more waits for bytes until the deadline; false if none came. ended says why.
func (x *exchange) more(deadline time.Time) bool {
	if x.ended {
		return false
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case p, ok := <-x.arrivals:
		x.ended = !ok
		x.take(p)
		return ok && len(x.buf) <= maxUnread
	case <-timer.C:
	case <-x.ctx.Done():
	}
	return false
}

var (
	errEnded  = errors.New("the connection was closed")
	errSilent = errors.New("nothing")
)

// next returns the next message that comes before the deadline, or errEnded or errSilent, with what came of a message.
func (x *exchange) next(deadline time.Time) (*message, error) {
	for {
		if raw, rest, ok := cut(x.buf); ok {
			x.buf = slices.Clone(rest)
			m := parse(raw)
			x.receives(raw, x.completed[0])
			x.completed = x.completed[1:]
			return &m, nil
		}
		if x.more(deadline) {
			continue
		}
		reason := errSilent
		if x.ended {
			reason = errEnded
			if alert := remoteAlert(x.endError); alert != nil {
				reason = fmt.Errorf("%w: %w", errEnded, alert)
			}
		}
		if len(x.buf) > 0 {
			return nil, fmt.Errorf("%s, then %w", x.show(string(x.buf)), reason)
		}
		return nil, reason
	}
}

func (x *exchange) expecting(format string, args ...any) { x.expected = fmt.Sprintf(format, args...) }

// fails returns a failure of what is expected now.
func (x *exchange) fails(format string, args ...any) error {
	return &failure{x.expected, fmt.Sprintf(format, args...)}
}

// message returns the next message if it has one of the codes and breaks no rule.
func (x *exchange) message(wanted ...string) (*message, error) {
	x.expecting("%s within %v", strings.Join(wanted, " or "), x.patience)
	m, err := x.next(time.Now().Add(x.patience))
	if err != nil {
		return nil, x.fails("%v", err)
	}
	return m, x.check(m, wanted...)
}

// check fails a message that has none of the codes or breaks a rule.
func (x *exchange) check(m *message, wanted ...string) error {
	faults := slices.Concat(m.broken, checkKeys(x.peer, m), checkReason(m))
	faults = slices.DeleteFunc(faults, func(b broken) bool { return slices.Contains(judgedApart, b.rule) && b.rule != x.rule })
	if len(faults) > 0 {
		return x.fails("%s, which breaks %v", x.show(m.raw), faults[0])
	}
	if !slices.Contains(wanted, m.code) {
		return x.fails("%s", x.show(m.raw))
	}
	return nil
}

// judgedApart are rules whose breach leaves a message that can be read, so that it fails the cases of the rule alone.
var judgedApart = []string{"R-3.8", "R-7.2"}

// end waits until the peer has closed, at most within; anything but messages of the tolerated codes fails.
func (x *exchange) end(within time.Duration, tolerated ...string) error {
	x.expecting("the connection closed within %v and nothing sent", within)
	deadline := time.Now().Add(within)
	for {
		m, err := x.next(deadline)
		switch {
		case errors.Is(err, errEnded) && len(x.buf) == 0:
			return nil
		case errors.Is(err, errSilent) && len(x.buf) == 0:
			return x.fails("nothing: the connection is still open")
		case err != nil:
			return x.fails("%v", err)
		}
		if !slices.Contains(tolerated, m.code) {
			return x.fails("%s", x.show(m.raw))
		}
	}
}

// endAfter waits until the peer's timer ends the connection: not before it is due, and not much later.
func (x *exchange) endAfter(start time.Time, due time.Duration, tolerated ...string) error {
	x.tolerance = timerTolerance
	err := x.end(time.Until(start.Add(due+lateness)), tolerated...)
	x.expecting("the connection closed %v after it began to count, and nothing sent", due)
	if err != nil {
		if f, ok := errors.AsType[*failure](err); ok {
			return x.fails("%s", f.came)
		}
		return err
	}
	if took := time.Since(start); took < due-x.slack {
		x.tolerance = x.slack
		return x.fails("the end after %v", took.Round(time.Millisecond))
	}
	return nil
}

// quiet fails if the peer sends anything, or closes, for a while.
func (x *exchange) quiet() error {
	x.expecting("nothing sent for %v, the connection open", quietTime)
	m, err := x.next(time.Now().Add(quietTime))
	switch {
	case err == nil:
		return x.fails("%s", x.show(m.raw))
	case errors.Is(err, errSilent) && len(x.buf) == 0:
		return nil
	}
	return x.fails("%v", err)
}

// noMessage waits for the peer to close and fails if a message of the protocol came; anything else may, such as an alert of TLS.
func (x *exchange) noMessage() error {
	x.expecting("the connection closed within %v and no message", x.patience)
	for deadline := time.Now().Add(x.patience); x.more(deadline); {
		continue
	}
	if code, _, ok := strings.Cut(string(x.buf), separator); ok && slices.Contains(codes, code) {
		return x.fails("%s", x.show(string(x.buf)))
	}
	if !x.ended {
		return x.fails("nothing: the connection is still open")
	}
	return nil
}

// show makes bytes readable, shortens them, and leaves out certificates, which may be secret.
func (x *exchange) show(s string) string {
	for _, secret := range x.secrets {
		if quoted := strings.Trim(quote(secret), `"`); len(secret) > 0 {
			s = strings.ReplaceAll(s, quoted, fmt.Sprintf("[certificate, %d bytes]", len(secret)))
		}
	}
	if x.peer == refinery && strings.HasPrefix(s, authStart+separator) {
		s = fmt.Sprintf("%s[%d bytes]", authStart+separator, len(s)-len(authStart+separator))
	}
	return readable(s)
}

func readable(s string) string {
	note := ""
	if len(s) > shownBytes {
		note = fmt.Sprintf(" … (%d bytes)", len(s))
		s = s[:shownBytes]
	}
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s + note
	}
	return strconv.QuoteToGraphic(s) + note
}
