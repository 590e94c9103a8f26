package protocol

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// refineryModel is the refinery of spec.md. It takes no upstream "bad".
type refineryModel struct {
	course
	inSession  bool // Handshake has returned
	unanswered int  // the conn:alive that it sent
}

func newRefineryModel(cells map[string]map[wire.Code]string) *refineryModel {
	m := &refineryModel{course: course{cells: cells, state: StateEstablishing}}
	m.say(testEstablish)
	return m
}

func (m *refineryModel) end(cause error) {
	if m.cause == "" {
		m.cause = cause.Error()
	}
	m.state = StateClosed
	m.tell("ended: %s", m.cause)
}

// read takes messages that arrive in one read.
func (m *refineryModel) read(messages []string) {
	cs := codesOf(step{messages: messages})
	for i, c := range cs {
		if m.state == StateClosed {
			return
		}
		m.seen = m.now
		bad := messages[i] == refusedGrant
		switch cell := m.cells[m.state.String()][c]; {
		case cell == "V":
			m.end(m.blame("R-4.1", "unexpected "+c.String()))
		case cell == "close; Closed":
			m.end(ErrPeerClosed)
		case cell == "close (refused, R-7.3); Closed":
			m.end(ErrVersionRefused)
		case cell == "discard", cell == "discard, or close; Closed": // This library discards.
		case cell == "send `conn:close`; Denied":
			m.goodbye(StateDenied, ErrDenied.Error())
		case strings.HasPrefix(cell, "take the upstream") && bad:
			m.goodbye(StateClosing, refusal)
		case cell == "take the upstream, send `auth:ack`; Authenticated":
			m.tell("upstream up:1")
			m.say("auth:ack;;<EOF>")
		case cell == "Authenticating":
			m.state = StateAuthenticating
			m.answer(cs[i+1:], testAuthStart, StateVerifying, m.end)
		case cell == "take the upstream; Acknowledging":
			m.tell("upstream up:1")
			m.state = StateAcknowledging
			if m.answer(cs[i+1:], "auth:ack;;<EOF>", StateAuthenticated, m.end); m.state == StateAuthenticated {
				m.tell("in session")
				m.inSession = true
			}
		case cell == "R-5.5; Authenticated":
			if m.unanswered > 0 {
				m.unanswered--
			} else {
				m.say("conn:alive;;<EOF>")
			}
		default:
			panic("the model does not know the cell " + cell)
		}
	}
}

// pass lets time pass, and whatever falls due. beats is how many conn:alive the refinery sent meanwhile: leaves
// the moment to it.
func (m *refineryModel) pass(d time.Duration, beats int) {
	until := m.now + d
	switch m.state {
	case StateClosed:
	case StateAuthenticated:
		for range beats {
			m.unanswered++
			m.say("conn:alive;;<EOF>")
		}
		if m.seen+DefaultAliveTimeout <= until {
			m.end(ErrAliveTimeout)
		}
	case StateDenied, StateClosing:
		if m.closes <= until {
			m.end(ErrSessionClosed)
		}
	default:
		if until >= DefaultHandshakeTimeout {
			m.end(ErrHandshakeTimeout)
		}
	}
	m.now = until
}

func (m *refineryModel) apply(s step, beats int) outcome {
	m.pass(tick+s.pause, beats)
	passed := strings.Join(m.said, "")
	m.said = nil
	switch {
	case m.state == StateClosed:
	case s.verb == "hang up":
		m.end(ErrPeerGone)
	case s.verb == "close" && m.state == StateAuthenticated:
		m.goodbye(StateClosing, "closed by the program")
	case s.verb == "close" && m.inSession: // It has been closing already.
	case s.verb == "close": // Handshake ends with its context, without a word, even while it waits to be closed.
		m.cause = ""
		m.end(errors.New("closed by the program"))
	case s.together:
		m.read(s.messages)
	default:
		for _, message := range s.messages {
			m.read([]string{message})
		}
	}
	o := m.outcome(s, passed)
	o.State = "" // A Client does not tell.
	return o
}

const refusedGrant = `auth:ack;;{"upstream":"bad"}<EOF>`

func drawRefineryStep(t *rapid.T, m *refineryModel) (s step) {
	s.verb = rapid.SampledFrom([]string{
		"say", "say", "say", "say", "say", "say", "pass", "pass", "close", "hang up",
	}).Draw(t, "verb")
	switch s.verb {
	case "say":
		drawMessages(t, &s, m.cells[m.state.String()], func(c wire.Code) string {
			if c != wire.CodeAuthAck {
				return refineryWrites(c)
			}
			return rapid.SampledFrom([]string{testGrant, testGrant, testGrant, testGrant, refusedGrant}).Draw(t, "grant")
		})
	case "pass":
		s.pause = drawPause(t)
	}
	return s
}

//
func TestRefineryDoesAsItsModel(t *testing.T) {
	cells := stateTable(t, specification(t), "### 4.2 ")
	manyScripts(t, func(rt *rapid.T) {
		m := newRefineryModel(cells)
		steps := append([]step{{verb: "pass"}}, drawOpening(rt, "conn:startAuth;;<EOF>", testGrant)...)
		for _, s := range steps {
			m.apply(s, 0)
		}
		for range rapid.IntRange(1, 14).Draw(rt, "steps") {
			s := drawRefineryStep(rt, m)
			steps = append(steps, s)
			m.apply(s, 0)
		}
		steps = append(steps, step{verb: "hang up"})
		got := runRefinery(t, steps)
		// Once more, now that it is known when the refinery sent conn:alive.
		m = newRefineryModel(cells)
		var want []outcome
		for i, s := range steps {
			want = append(want, m.apply(s, strings.Count(got[i].Passed, "conn:alive")))
		}
		want[0].Passed, want[0].Said = testEstablish, "" // It is said at once.
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("-model +refinery:\n%s", diff)
		}
	})
}

// runRefinery plays the steps against a Client.
func runRefinery(t *testing.T, steps []step) (outcomes []outcome) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan string, 1000)
		o := testClientOptions()
		o.OnUpstream = func(upstream string) error {
			if upstream == "bad" {
				return errors.New(refusal)
			}
			told <- "upstream " + upstream
			return nil
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		here, there := net.Pipe()
		peer := listenTo(there)
		defer there.Close()
		go func() {
			c, err := Handshake(ctx, here, o)
			if err == nil {
				told <- "in session"
				err = c.Run(ctx)
			}
			told <- "ended: " + err.Error()
		}()
		for _, step := range steps {
			time.Sleep(tick + step.pause)
			passed, _ := peer.take()
			if step.verb == "close" {
				cancel(errors.New("closed by the program"))
			} else {
				peer.tellPeer(step)
			}
			said, closed := peer.take()
			outcomes = append(outcomes, outcome{Step: step.String(), Passed: passed, Said: said, Told: drain(told), Closed: closed})
		}
		cancel(nil)
	})
	return outcomes
}
