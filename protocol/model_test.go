package protocol

import (
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// The reference models follow the state tables of spec.md, cell by cell, as the tests read them from there. rapid draws
// scripts, each is run against the real side on fake time, over a connection in memory, and after every step the model
// and the real side must have said the same, told their programs the same, and stand in the same state.

// step is one thing that happens to the side that is tested, tick after the one before.
type step struct {
	verb     string // "say", "pass", "hang up", or what the program does: "close", "upstream"
	messages []string
	together bool // the messages arrive in one read
	upstream string
	pause    time.Duration
}

func (s step) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %v", s.verb, strings.Join(s.messages, " "), s.upstream, s.pause))
}

// tick keeps what happens at one time apart from timeouts, none of which falls within 50 ms after a multiple of it
// and the pauses.
const tick = 110 * time.Millisecond

// outcome is what a step led to.
type outcome struct {
	Step   string
	Passed string // said while time passed
	Said   string // said after that
	Told   []string
	State  string
	Closed bool
}

// course is what both models have in common.
type course struct {
	cells  map[string]map[wire.Code]string
	state  State
	said   []string
	told   []string
	cause  string        // why the session ends, once that is known
	now    time.Duration // since the connection was made
	seen   time.Duration // when the last message was read
	closes time.Duration // when a side that waits for the other to close no longer does
}

func (c *course) say(s ...string)              { c.said = append(c.said, s...) }
func (c *course) tell(format string, a ...any) { c.told = append(c.told, fmt.Sprintf(format, a...)) }

func (c *course) blame(rule, detail string) error {
	return &ProtocolError{State: c.state, Rule: rule, Detail: detail}
}

// ahead judges what arrived along with a message that is to be answered. It returns nil if nothing did.
func (c *course) ahead(rest []wire.Code) error {
	if len(rest) == 0 {
		return nil
	}
	if cell := c.cells[c.state.String()][rest[0]]; cell == "close; Closed" {
		return ErrPeerClosed
	}
	return c.blame("R-4.2", "bytes were sent ahead of their turn")
}

// answer says message and enters the next state, or ends the session if the peer sent more than it should have.
func (c *course) answer(rest []wire.Code, message string, next State, end func(error)) {
	if err := c.ahead(rest); err != nil {
		end(err)
		return
	}
	c.say(message)
	c.state = next
}

// goodbye is.
func (c *course) goodbye(next State, cause string) {
	if c.cause == "" {
		c.cause = cause
	}
	c.say("conn:close;;<EOF>")
	c.state, c.closes = next, c.now+time.Second
}

// outcome returns what happened since it was last called.
func (c *course) outcome(s step, passed string) outcome {
	o := outcome{s.String(), passed, strings.Join(c.said, ""), c.told, c.state.String(), c.state == StateClosed}
	c.said, c.told = nil, nil
	return o
}

// drawCode draws a message, mostly one that is expected.
func drawCode(t *rapid.T, cells map[wire.Code]string) wire.Code {
	all := []wire.Code{wire.CodeEstablish, wire.CodeStartAuth, wire.CodeAuthStart, wire.CodeAuthAck, wire.CodeAuthDec, wire.CodeClose, wire.CodeAlive}
	likely := slices.DeleteFunc(slices.Clone(all), func(c wire.Code) bool { return cells[c] == "V" || c == wire.CodeClose })
	if len(likely) > 0 && rapid.IntRange(0, 9).Draw(t, "surprise") > 0 {
		return rapid.SampledFrom(likely).Draw(t, "expected")
	}
	return rapid.SampledFrom(all).Draw(t, "any")
}

// listener writes down what the tested side says.
type listener struct {
	conn   net.Conn
	mu     sync.Mutex
	heard  strings.Builder
	closed bool
}

func listenTo(conn net.Conn) *listener {
	l := &listener{conn: conn}
	go func() {
		_, _ = io.Copy(l, conn)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.closed = true
	}()
	return l
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard.Write(p)
}

// take returns what was heard since it was last called, and whether the connection is closed.
func (l *listener) take() (string, bool) {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.heard.Reset()
	return l.heard.String(), l.closed
}

// tellPeer does what a step has the other side do.
func (l *listener) tellPeer(s step) {
	switch {
	case s.verb == "hang up":
		_ = l.conn.Close()
	case s.together:
		_, _ = l.conn.Write([]byte(strings.Join(s.messages, ""))) // It may be closed.
	default:
		for _, m := range s.messages {
			_, _ = l.conn.Write([]byte(m)) // It may be closed.
			synctest.Wait()
		}
	}
}

func drain[T any](c chan T) (all []T) {
	for {
		select {
		case v := <-c:
			all = append(all, v)
		default:
			return all
		}
	}
}

// drawMessages draws what a step says in a state.
func drawMessages(t *rapid.T, s *step, cells map[wire.Code]string, write func(wire.Code) string) {
	for range rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 2, 3}).Draw(t, "messages") {
		s.messages = append(s.messages, write(drawCode(t, cells)))
	}
	s.together = rapid.Bool().Draw(t, "together")
}

// drawOpening draws how much of the opening goes as it should before anything else happens: mostly all of it.
func drawOpening(t *rapid.T, messages ...string) (steps []step) {
	n := len(messages)
	if rapid.IntRange(0, 3).Draw(t, "opening") == 0 {
		n = rapid.IntRange(0, n-1).Draw(t, "until")
	}
	for _, m := range messages[:n] {
		steps = append(steps, step{verb: "say", messages: []string{m}})
	}
	return steps
}

// drawPause draws how long a step waits: not much, or longer than one timeout or another.
func drawPause(t *rapid.T) time.Duration {
	return rapid.SampledFrom([]time.Duration{4 * time.Second, 17 * time.Second, 36 * time.Second}).Draw(t, "pause")
}

// codesOf returns the codes of a step's messages.
func codesOf(s step) (cs []wire.Code) {
	for _, m := range s.messages {
		name, _, _ := strings.Cut(m, wire.Separator)
		cs = append(cs, wire.ParseCode([]byte(name)))
	}
	return cs
}

// manyScripts runs check with 1,000 scripts, or as many as -rapid.checks says.
func manyScripts(t *testing.T, check func(*rapid.T)) {
	t.Helper()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("1000"); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, check)
}
