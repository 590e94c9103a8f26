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

	begun    time.Time   // of the connection, or of what a timer of the peer's counts from
	arrivals chan []byte // closed when the peer has closed
	done     chan struct{}
	buf      []byte
	ended    bool

	expected   string
	sent, came []string
}

// newExchange begins to read at once, so that a peer's writes never wait for the kit's.
func newExchange(ctx context.Context, conn net.Conn, peer side, patience time.Duration, secrets ...string) *exchange {
	x := &exchange{
		ctx: ctx, conn: conn, peer: peer, patience: patience, secrets: secrets,
		arrivals: make(chan []byte), done: make(chan struct{}),
	}
	go x.read()
	return x
}

func (x *exchange) read() {
	defer close(x.arrivals)
	for {
		b := make([]byte, 4096)
		n, err := x.conn.Read(b)
		if n > 0 {
			select {
			case x.arrivals <- b[:n]:
			case <-x.done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// close ends the connection and waits for the reader.
func (x *exchange) close() {
	close(x.done)
	_ = x.conn.Close() // It may be closed already.
	for range x.arrivals {
		continue
	}
}

// write sends pieces, a write each. A peer that closes meanwhile shows when it is read from, so errors say nothing here.
func (x *exchange) write(pieces ...string) {
	text := strings.Join(pieces, "")
	if len(pieces) > 1 {
		x.sent = append(x.sent, fmt.Sprintf("%s in %d writes", x.show(text), len(pieces)))
	} else {
		x.sent = append(x.sent, x.show(text))
	}
	_ = x.conn.SetWriteDeadline(time.Now().Add(x.patience))
	for _, p := range pieces {
		if _, err := x.conn.Write([]byte(p)); err != nil {
			return
		}
	}
}

// more waits for bytes until the deadline; false if none came. ended tells why.
func (x *exchange) more(deadline time.Time) bool {
	if x.ended {
		return false
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case b, ok := <-x.arrivals:
		x.ended = !ok
		x.buf = append(x.buf, b...)
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
			if len(x.came) < shownMessages {
				x.came = append(x.came, x.show(raw))
			}
			return &m, nil
		}
		if x.more(deadline) {
			continue
		}
		reason := errSilent
		if x.ended {
			reason = errEnded
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
	if faults := append(slices.Clone(m.broken), checkKeys(x.peer, m)...); len(faults) > 0 {
		return x.fails("%s, which breaks %v", x.show(m.raw), faults[0])
	}
	if !slices.Contains(wanted, m.code) {
		return x.fails("%s", x.show(m.raw))
	}
	if (m.code == closing || m.code == authDec) && len(m.values) > 0 {
		x.expecting("%s without a reason (R-7.2)", m.code)
		return x.fails("%s", x.show(m.raw))
	}
	return nil
}

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
	err := x.end(time.Until(start.Add(due+lateness)), tolerated...)
	x.expecting("the connection closed %v after it began to count, and nothing sent", due)
	if err != nil {
		if f, ok := errors.AsType[*failure](err); ok {
			return x.fails("%s", f.came)
		}
		return err
	}
	if took := time.Since(start); took < due-lateness/5 {
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
