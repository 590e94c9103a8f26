package protocol

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// masterModel is the master of spec.md.
type masterModel struct {
	course
	accepts, grants  bool // what the program decides
	established      bool // the program knows of the session
	offered, waiting string
	offeredAt        time.Duration
}

const refusal = "refused by the program"

func (m *masterModel) end(cause error) {
	if m.cause == "" {
		m.cause = cause.Error()
	}
	m.state = StateClosed
	if m.established {
		m.tell("closed: %s", m.cause)
	} else {
		m.tell("refused: %s", m.cause)
	}
}

// read takes messages that arrive in one read.
func (m *masterModel) read(cs []wire.Code) {
	for i, c := range cs {
		if m.state == StateClosed {
			return
		}
		m.seen = m.now
		switch cell := m.cells[m.state.String()][c]; cell {
		case "V":
			m.end(m.blame("R-4.1", "unexpected "+c.String()))
		case "close; Closed":
			m.end(ErrPeerClosed)
		case "discard", "discard, or close; Closed": // This library discards.
		case "check; Establishing":
			m.state, m.established = StateEstablishing, true
			m.tell("establish a 0.1.0 refinery")
			if !m.accepts {
				m.goodbye(StateClosing, refusal)
				continue
			}
			m.answer(cs[i+1:], "conn:startAuth;;<EOF>", StateAuthenticating, m.end)
		case "check; Verifying":
			m.state = StateVerifying
			m.tell("authenticate PEM")
			if !m.grants {
				m.say("auth:dec;;<EOF>")
				m.state, m.cause = StateDenied, refusal
				continue
			}
			m.answer(cs[i+1:], testGrant, StateAcknowledging, m.end)
		case "Authenticated":
			m.state = StateAuthenticated
			m.tell("authenticated up:1")
		case "answer `conn:alive`; Authenticated":
			m.say("conn:alive;;<EOF>")
		case "R-5.6; Authenticated":
			m.acknowledged()
		default:
			panic("the model does not know the cell " + cell)
		}
	}
}

func (m *masterModel) acknowledged() {
	if m.offered == "" {
		m.end(m.blame("R-5.6", "auth:ack acknowledges nothing"))
		return
	}
	m.tell("acknowledged %s", m.offered)
	m.offered = ""
	if m.waiting != "" {
		m.offer(m.waiting)
	}
}

func (m *masterModel) offer(upstream string) {
	if m.offered != "" {
		m.waiting = upstream
		return
	}
	m.offered, m.waiting, m.offeredAt = upstream, "", m.now
	m.say(string(wire.AppendGrant(nil, upstream)))
}

// pass lets time pass, and whatever falls due.
func (m *masterModel) pass(d time.Duration) {
	until := m.now + d
	if m.state == StateAuthenticated {
		silent, unacknowledged := m.seen+DefaultAliveTimeout, m.offeredAt+DefaultAliveTimeout
		switch {
		case m.offered != "" && unacknowledged <= min(silent, until):
			m.now = unacknowledged
			m.goodbye(StateClosing, ErrAckTimeout.Error())
		case silent <= until:
			m.end(ErrAliveTimeout)
		}
	}
	switch m.state {
	case StateClosing:
		if m.closes <= until {
			m.end(ErrSessionClosed)
		}
	case StateAuthenticated, StateClosed:
	default:
		if until >= DefaultHandshakeTimeout {
			m.end(ErrHandshakeTimeout)
		}
	}
	m.now = until
}

func (m *masterModel) apply(s step) outcome {
	m.pass(tick + s.pause)
	passed := strings.Join(m.said, "")
	m.said = nil
	switch cs := codesOf(s); {
	case m.state == StateClosed:
	case s.verb == "hang up":
		m.end(ErrPeerGone)
	case s.verb == "close" && m.established && m.state != StateClosing:
		if m.state == StateDenied {
			m.cause = "" // The session has not ended for it yet: the program's own reason comes first.
		}
		opening := m.state != StateAuthenticated
		m.goodbye(StateClosing, "closed by the program")
		if opening {
			m.closes = min(m.closes, DefaultHandshakeTimeout)
		}
	case s.verb == "upstream" && m.state == StateAuthenticated:
		m.offer(s.upstream)
	case s.together:
		m.read(cs)
	default:
		for _, c := range cs {
			m.read([]wire.Code{c})
		}
	}
	return m.outcome(s, passed)
}

// refineryWrites are messages as a refinery, or one that is mistaken, writes them.
func refineryWrites(c wire.Code) string {
	switch c {
	case wire.CodeEstablish:
		return testEstablish
	case wire.CodeAuthStart:
		return testAuthStart
	}
	return c.String() + wire.Separator + wire.EOF
}

func drawMasterStep(t *rapid.T, m *masterModel) (s step) {
	s.verb = rapid.SampledFrom([]string{
		"say", "say", "say", "say", "say", "say", "say", "pass", "pass", "upstream", "upstream", "close", "hang up",
	}).Draw(t, "verb")
	switch s.verb {
	case "say":
		drawMessages(t, &s, m.cells[m.state.String()], refineryWrites)
	case "upstream":
		s.upstream = rapid.SampledFrom([]string{"up:2", "up:3", "up:4"}).Draw(t, "upstream")
	case "pass":
		s.pause = drawPause(t)
	}
	return s
}

//
func TestMasterDoesAsItsModel(t *testing.T) {
	cells := stateTable(t, specification(t), "### 4.1 ")
	manyScripts(t, func(rt *rapid.T) {
		accepts := rapid.IntRange(0, 7).Draw(rt, "accepts") > 0
		grants := rapid.IntRange(0, 7).Draw(rt, "grants") > 0
		m := &masterModel{course: course{cells: cells}, accepts: accepts, grants: grants}
		steps := drawOpening(rt, testEstablish, testAuthStart, "auth:ack;;<EOF>")
		var want []outcome
		for _, s := range steps {
			want = append(want, m.apply(s))
		}
		for range rapid.IntRange(1, 14).Draw(rt, "steps") {
			s := drawMasterStep(rt, m)
			steps = append(steps, s)
			want = append(want, m.apply(s))
		}
		steps = append(steps, step{verb: "hang up"})
		want = append(want, m.apply(steps[len(steps)-1]))
		if diff := cmp.Diff(want, runMaster(t, accepts, grants, steps)); diff != "" {
			rt.Fatalf("-model +master:\n%s", diff)
		}
	})
}

// runMaster plays the steps against a Server.
func runMaster(t *testing.T, accepts, grants bool, steps []step) (outcomes []outcome) {
	synctest.Test(t, func(t *testing.T) {
		h := newRecorder()
		var s *Session
		h.establish = func(_ context.Context, session *Session) error {
			s = session
			if !accepts {
				return errors.New(refusal)
			}
			return nil
		}
		h.authenticate = func(context.Context, *Session, string) (string, error) {
			if !grants {
				return "", errors.New(refusal)
			}
			return "up:1", nil
		}
		o := DefaultServerOptions()
		o.OnRefused = func(_ net.Addr, reason error) { h.events <- "refused: " + reason.Error() }
		l := newPipeListener()
		serve(t, l, h, o)
		peer := listenTo(l.dial())
		defer peer.conn.Close()
		for _, step := range steps {
			time.Sleep(tick + step.pause)
			passed, _ := peer.take()
			switch {
			case step.verb == "close" && s != nil:
				s.Close(errors.New("closed by the program"))
			case step.verb == "upstream" && s != nil:
				was := s.State()
				if err := s.SetUpstream(step.upstream); (err == nil) != (was == StateAuthenticated) {
					t.Errorf("SetUpstream in state %v returned %v", was, err)
				}
			default:
				peer.tellPeer(step)
			}
			said, closed := peer.take()
			told := drain(h.events)
			state := "" // Before conn:establish the program has no session to ask.
			if s != nil {
				state = s.State().String()
			} else if state = "New"; slices.ContainsFunc(told, isRefusal) || closed {
				state = "Closed"
			}
			outcomes = append(outcomes, outcome{step.String(), passed, said, told, state, closed})
		}
	})
	return outcomes
}

func isRefusal(event string) bool { return strings.HasPrefix(event, "refused: ") }
