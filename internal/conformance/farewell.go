package conformance

import (
	"errors"
	"io"
	"time"
)

// What asks of a peer that has sent conn:close.

// endInOrder is end, and fails if it comes by a reset: what was sent last may be lost to that.
func (x *exchange) endInOrder(within time.Duration) error {
	if err := x.end(within); err != nil {
		return err
	}
	x.expecting("the end of the stream within %v, and no reset", within)
	if !errors.Is(x.endError, io.EOF) {
		return x.fails("%v", x.endError)
	}
	return nil
}

// discarded sends a message again and again, for a time, to a peer that has sent conn:close and has to take it.
func (x *exchange) discarded(m string, during time.Duration) error {
	x.expecting("what is sent for %v behind %s taken and not answered", during, closing)
	begun := time.Now()
	for {
		if err := x.push(m); err != nil {
			return x.fails("after %v: %v", time.Since(begun).Round(time.Millisecond), err)
		}
		if time.Since(begun) >= during {
			break
		}
		switch m, err := x.next(time.Now().Add(during / 5)); {
		case err == nil:
			return x.fails("%s", x.show(m.raw))
		case x.ended && !errors.Is(x.endError, io.EOF):
			return x.fails("%v", x.endError)
		case x.ended:
			x.pause(during / 5)
		}
	}
	return nil
}

// refusedAfter sends a message again and again until the peer does not take it any more, which it must within a time.
func (x *exchange) refusedAfter(m string, within time.Duration) error {
	x.tolerance = timerTolerance
	x.expecting("the socket closed within %v, whatever is sent", within)
	for begun := time.Now(); time.Since(begun) < within; x.pause(within / 50) {
		if err := x.push(m); err != nil {
			return nil
		}
	}
	return x.fails("nothing: the socket is still open")
}

// push writes a message and reports whether the peer took it; a report shows the first one alone.
func (x *exchange) push(m string) error {
	if shown := x.show(m); x.lastSent() != shown {
		x.sends(shown)
	}
	_ = x.conn.SetWriteDeadline(time.Now().Add(x.patience)) // A connection that is closed fails at the write.
	_, err := x.conn.Write([]byte(m))
	return err
}

// pause waits for a time, or the end of the run.
func (x *exchange) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.ctx.Done():
	}
}

// endedInOrder expects the peer to end the stream, and not by a reset.
func endedInOrder(x *exchange) error { return x.endInOrder(x.patience) }

// discards expects the peer, which has sent conn:close, to take what comes for a while.
func discards(m string) step { return func(x *exchange) error { return x.discarded(m, quietTime) } }

// cutsOff expects the peer, which has sent conn:close, to close the socket after its second.
func cutsOff(m string) step {
	return func(x *exchange) error { return x.refusedAfter(m, time.Second+lateness) }
}

// farewells adds the cases of: steps bring the peer to send conn:close, and word is what it then discards.
func farewells(add func(rule, words string, steps ...any) *testCase, transport Transport, steps []step, word string) []*testCase {
	all := []*testCase{
		add("R-5.8", "behind conn:close nothing more is sent, and the stream ends without a reset", steps, endedInOrder),
		add("R-5.8", "what comes behind conn:close is discarded", steps, discards(word)),
		add("R-5.8", "who keeps sending behind conn:close is cut off after a second", steps, cutsOff(word)),
	}
	if transport == Plaintext { // With TLS not every implementation can.
		all = append(all, add("R-5.8", "behind conn:close its direction of the stream is closed", steps, func(x *exchange) error {
			x.tolerance = timerTolerance
			return x.endInOrder(lateness)
		}))
	}
	return all
}
