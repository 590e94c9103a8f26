package conformance

import (
	"bytes"
	"slices"
	"time"
)

// Message is what went over the wire at one time, one way: one of the two is empty. Certificates are left out, and what is
// long is shortened. Parentheses say what happened to a connection.
type Message struct {
	Sent     string `json:"sent,omitempty"`     // by the kit
	Received string `json:"received,omitempty"` // from the peer

	at time.Time
}

// anotherConnection stands before what goes over a connection more.
const anotherConnection = "(another connection)"

// piece is what one read returned, and when.
type piece struct {
	bytes []byte
	at    time.Time
}

// sends notes what is about to be sent.
func (x *exchange) sends(text string) { x.wire = append(x.wire, Message{Sent: text, at: time.Now()}) }

// receives notes a message of the peer's, which may have come before the kit sent what a step has sent since.
func (x *exchange) receives(raw string, at time.Time) {
	if x.shown++; x.shown <= shownMessages {
		x.wire = append(x.wire, Message{Received: x.show(raw), at: at})
	}
}

// take adds what came to the buffer and notes which messages it completed.
func (x *exchange) take(p piece) {
	x.buf = append(x.buf, p.bytes...)
	for n := bytes.Count(x.buf, []byte(eof)); len(x.completed) < n; {
		x.completed = append(x.completed, p.at)
	}
}

// transcript returns what was sent and received in the order of time.
func (x *exchange) transcript() []Message {
	return slices.SortedStableFunc(slices.Values(x.wire), func(a, b Message) int { return a.at.Compare(b.at) })
}

// firstReceived is the first message of the peer's; "" if it sent none.
func (x *exchange) firstReceived() string {
	for _, m := range x.wire {
		if m.Received != "" {
			return m.Received
		}
	}
	return ""
}

// lastSent is what the kit sent last; "" if it sent nothing.
func (x *exchange) lastSent() string {
	for _, m := range slices.Backward(x.wire) {
		if m.Sent != "" {
			return m.Sent
		}
	}
	return ""
}
