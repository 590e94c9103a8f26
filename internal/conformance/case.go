package conformance

import (
	"context"
	"errors"
	"net"
	"os"
	"regexp"
	"strings"
	"time"
)

// step is one move of a case. It returns a *failure when the peer does not do as it must.
type step func(x *exchange) error

// testCase checks one rule of the protocol's specification over a connection of its own.
type testCase struct {
	rule, words string
	via         via
	takes       time.Duration // how much longer than others it may take
	skip        string        // why it cannot run with these options; "" if it can
	steps       []step
}

// name is unique in a suite.
func (c *testCase) name() string { return c.rule + " " + c.words }

// via is how the connection of a case is made where it is not the usual way.
type via int

const (
	usual via = iota
	withoutCertificate
	withTLS12
	withDeniedCertificate
	withUnknownAuthority
	withoutTLS // the socket alone, whatever the transport
	withLongHello
	withLongChain
)

// refusable reports whether TLS may refuse such a connection: it is then one that has ended, and no failure.
func (how via) refusable() bool {
	return how == withoutCertificate || how == withTLS12 || how == withUnknownAuthority || how == withLongChain
}

// suite is all that can be tested on one kind of peer.
type suite struct {
	peer     side
	patience time.Duration
	secrets  []string
	cases    []*testCase
	// connect makes the connection of one case; an error fails the case. Where a case is about TLS a refused handshake is
	// no error but a connection that has ended.
	connect  func(ctx context.Context, how via) (net.Conn, error)
	listener net.Listener // of a refinery's suite
	gone     bool         // whether a refinery was waited for in vain
}

// Outcome of one case.
type Outcome string

// What a case can come to.
const (
	Pass Outcome = "pass"
	Fail Outcome = "fail"
	Skip Outcome = "skip"
)

// Result is what one case came to.
type Result struct {
	Name    string  `json:"name"`
	Rule    string  `json:"rule"`
	Outcome Outcome `json:"outcome"`
	Seconds float64 `json:"seconds"`
	// Messages are those of both sides in the order of time.
	Messages []Message `json:"messages,omitempty"`
	// Expected is the last thing that was expected of the peer; Came is what came instead in a case that failed.
	Expected string `json:"expected,omitempty"`
	Came     string `json:"came,omitempty"`
	// Late is by how many seconds the kit's own timers came late during a case that failed, if by more than the case tolerates:
	// it may have failed for that.
	Late float64 `json:"late,omitempty"`
	// Reason is why a case was skipped.
	Reason string `json:"reason,omitempty"`
}

// selected returns the cases whose names match; all of them for nil.
func (s *suite) selected(only *regexp.Regexp) (cases []*testCase) {
	for _, c := range s.cases {
		if only == nil || only.MatchString(c.name()) {
			cases = append(cases, c)
		}
	}
	return cases
}

// run plays the cases one after another and hands each result to report. It stops when ctx ends, and behind the first case
// for which no refinery came: the user has said how long to wait for it, and it would be as long for each case. It returns
// why it stopped, or "".
func (s *suite) run(ctx context.Context, cases []*testCase, report func(Result)) (stopped string) {
	for _, c := range cases {
		r := s.play(ctx, c)
		if ctx.Err() != nil {
			return interrupted
		}
		report(r)
		if s.gone {
			return notBack
		}
	}
	return ""
}

// Why a run stops before its end.
const (
	interrupted = "interrupted"
	notBack     = "the refinery did not come back"
)

// play runs one case. However the peer behaves, it ends: each step has its own bound, and all of them together have one.
func (s *suite) play(ctx context.Context, c *testCase) Result {
	r := Result{Name: c.name(), Rule: c.rule, Outcome: Pass}
	if c.skip != "" {
		r.Outcome, r.Reason = Skip, c.skip
		return r
	}
	start, lateBy := time.Now(), watchTimers()
	conn, err := s.connect(ctx, c.via)
	if err != nil {
		r.failed("a connection", err.Error(), lateBy(), s.patience/2)
		r.Seconds = time.Since(start).Seconds()
		return r
	}
	connected := start
	if w, ok := conn.(wrapped); ok && s.peer == refinery {
		connected = w.begun // Until then the kit waited for the refinery to come.
	}
	ctx, cancel := context.WithTimeout(ctx, c.takes+time.Duration(len(c.steps)+1)*(s.patience+quietTime))
	defer cancel()
	x := newExchange(ctx, conn, s.peer, s.patience, s.secrets...)
	defer x.close()
	x.begun, x.rule, x.connect = connected, c.rule, s.connect
	if s.peer == refinery {
		x.slack = lateness // A system accepts before the kit does.
	}
	err = x.play(c.steps)
	r.Expected = x.expected
	if late := lateBy(); err != nil {
		r.failed(x.expected, cameInstead(err), late, x.tolerance)
	}
	r.Seconds = time.Since(start).Seconds()
	r.Messages = x.transcript()
	return r
}

// play takes the steps up to the first that fails.
func (x *exchange) play(steps []step) error {
	for _, do := range steps {
		if err := do(x); err != nil {
			return err
		}
	}
	return nil
}

// cameInstead is what came instead of what a step expected.
func cameInstead(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.came
	}
	return err.Error()
}

// Steps that both suites use.

func send(m string) step { return func(x *exchange) error { x.write(m); return nil } }

// sendBytewise sends each byte in a write of its own.
func sendBytewise(m string) step {
	pieces := make([]string, len(m))
	for i := range m {
		pieces[i] = m[i : i+1]
	}
	return sendPieces(pieces...)
}

func sendPieces(pieces ...string) step {
	return func(x *exchange) error { x.write(pieces...); return nil }
}

// sendRecords sends each piece in a TLS record of its own, all of them in one write.
func sendRecords(pieces ...string) step {
	return func(x *exchange) error {
		w, ok := x.conn.(wrapped)
		if !ok {
			return errors.New("this transport has no records")
		}
		w.tap.cork()
		x.write(pieces...)
		w.tap.uncork()
		return nil
	}
}

// expect reads one message, which must have one of the codes.
func expect(codes ...string) step {
	return func(x *exchange) error { _, err := x.message(codes...); return err }
}

// ended expects the peer to close, having sent nothing but messages of the tolerated codes.
func ended(tolerated ...string) step {
	return func(x *exchange) error { return x.end(x.patience, tolerated...) }
}

func quiet(x *exchange) error { return x.quiet() }

// hangUp closes the kit's direction of the stream.
func hangUp(x *exchange) error {
	x.sends("(end of the stream)")
	if c, ok := x.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.New("this transport cannot close one direction")
}

// mark sets the time from which overdue counts, which is else that of the connection. It stands before the send that the
// peer's timer counts from: the peer cannot have read it earlier.
func mark(x *exchange) error { x.begun, x.slack = time.Now(), lateness/5; return nil }

// overdue expects the peer's timer to end the connection when it is due.
func overdue(due time.Duration, tolerated ...string) step {
	return func(x *exchange) error { return x.endAfter(x.begun, due, tolerated...) }
}

// rest says nothing for a while; what comes meanwhile is looked at by the next step.
func rest(d time.Duration) step {
	return func(x *exchange) error {
		x.tolerance = timerTolerance
		for until := time.Now().Add(d); x.more(until); {
			continue
		}
		return nil
	}
}

// unread sends a message again and again and reads nothing, until the peer's write timeout ends the connection.
func unread(m string, due time.Duration) step {
	return func(x *exchange) error {
		x.tolerance = due / 2
		x.expecting("the socket closed %v after the peer could write no more", due)
		x.sends(x.show(m) + " again and again, reading nothing")
		flood := []byte(strings.Repeat(m, 100))
		for range maxUnanswered / len(flood) {
			begun := time.Now()
			_ = x.conn.SetWriteDeadline(begun.Add(due + x.patience))
			_, err := x.conn.Write(flood)
			switch took := time.Since(begun); {
			case errors.Is(err, os.ErrDeadlineExceeded):
				return x.fails("nothing: the socket is still open")
			case err != nil && took < due/2:
				return x.fails("the end after %v", took.Round(time.Millisecond))
			case err != nil || x.ctx.Err() != nil:
				return x.ctx.Err()
			}
		}
		return x.fails("nothing: the peer took %d MiB", maxUnanswered>>20)
	}
}

// maxUnanswered is more than systems hold of answers that nobody reads.
const maxUnanswered = 8 << 20

// trickle sends the first n bytes of a message, a pause behind each.
func trickle(m string, pause time.Duration, n int) step {
	return func(x *exchange) error {
		for i := range n {
			x.write(m[i : i+1])
			_ = rest(pause)(x)
			if x.ended {
				x.expecting("the connection open %v after byte %d", pause, i+1)
				return x.fails("%v", errEnded)
			}
		}
		return nil
	}
}

// then joins steps.
func then(groups ...any) (all []step) {
	for _, g := range groups {
		switch g := g.(type) {
		case step:
			all = append(all, g)
		case func(*exchange) error:
			all = append(all, g)
		case []step:
			all = append(all, g...)
		default:
			panic("not a step")
		}
	}
	return all
}
