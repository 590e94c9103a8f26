package protocol

import (
	"fmt"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// State is the state of a session, on either side. The tables in spec.md, sections 4.1 and 4.2, say what may come in each.
type State uint8

// The states, in the order in which a session goes through them.
const (
	StateNew            State = iota // nothing was exchanged yet
	StateEstablishing                // conn:establish is with the master, which decides
	StateAuthenticating              // conn:startAuth was sent: the refinery's turn to send auth:start
	StateVerifying                   // auth:start is with the master, which decides
	StateAcknowledging               // auth:ack was sent: the refinery's turn to acknowledge it
	StateAuthenticated               // the refinery acknowledged: in session
	StateDenied                      // auth:dec was sent: the refinery's turn to send conn:close
	StateClosing                     // conn:close was sent: what still comes is discarded
	StateClosed                      // the socket is closed

	stateCount
)

var stateNames = [stateCount]string{
	"New", "Establishing", "Authenticating", "Verifying", "Acknowledging", "Authenticated", "Denied", "Closing", "Closed",
}

// String returns the name as spec.md has it.
func (s State) String() string {
	if s >= stateCount {
		return fmt.Sprintf("State(%d)", uint8(s))
	}
	return stateNames[s]
}

// expected is a table of the codes that a side takes in each state. Any other code is a violation; conn:close may
// come at any time.
type expected [stateCount]codeSet

type codeSet uint16

func codes(cs ...wire.Code) (set codeSet) {
	for _, c := range cs {
		set |= 1 << c
	}
	return set
}

func (set codeSet) has(c wire.Code) bool { return set&(1<<c) != 0 }

const anyCode = ^codeSet(0)

// masterTakes is the master's table, spec.md section 4.1.
var masterTakes = expected{
	StateNew:            codes(wire.CodeEstablish, wire.CodeClose),
	StateEstablishing:   codes(wire.CodeClose),
	StateAuthenticating: codes(wire.CodeAuthStart, wire.CodeClose),
	StateVerifying:      codes(wire.CodeClose),
	StateAcknowledging:  codes(wire.CodeAuthAck, wire.CodeClose),
	StateAuthenticated:  codes(wire.CodeAlive, wire.CodeAuthAck, wire.CodeClose),
	StateDenied:         codes(wire.CodeClose),
	StateClosing:        anyCode,
}

// refineryTakes is the refinery's table, spec.md section 4.2.
var refineryTakes = expected{
	StateNew:            codes(wire.CodeClose),
	StateEstablishing:   codes(wire.CodeStartAuth, wire.CodeClose),
	StateAuthenticating: codes(wire.CodeClose),
	StateVerifying:      codes(wire.CodeAuthAck, wire.CodeAuthDec, wire.CodeClose),
	StateAcknowledging:  codes(wire.CodeClose),
	StateAuthenticated:  codes(wire.CodeAlive, wire.CodeAuthAck, wire.CodeClose),
	StateDenied:         anyCode,
	StateClosing:        anyCode,
}

// check returns the violation that c is in state s, or nil.
func (e *expected) check(s State, c wire.Code) error {
	if e[s].has(c) {
		return nil
	}
	return &ProtocolError{State: s, Rule: ruleOrder, Detail: "unexpected " + c.String()}
}
