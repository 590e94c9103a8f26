package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/refinery-operator/refinery-operator/protocol/internal/admission"
	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// Why a session or a connection ended. Errors of the network are passed on unchanged.
var (
	// ErrProtocol matches every *ProtocolError (errors.Is).
	ErrProtocol = errors.New("protocol violation")
	// ErrPeerClosed: the peer sent conn:close, or closed its socket.
	ErrPeerClosed = errors.New("closed by the peer")
	// ErrPeerGone: the peer closed its socket and did not send conn:close first. It is an ErrPeerClosed.
	ErrPeerGone = fmt.Errorf("%w without conn:close", ErrPeerClosed)
	// ErrHandshakeTimeout: TLS and protocol handshake together took longer than allowed.
	ErrHandshakeTimeout = errors.New("handshake not completed in time")
	// ErrAliveTimeout: the peer was silent for too long.
	ErrAliveTimeout = errors.New("nothing heard from the peer within the alive timeout")
	// ErrAckTimeout: a refinery did not acknowledge a new upstream within the alive timeout.
	ErrAckTimeout = errors.New("upstream not acknowledged within the alive timeout")
	// ErrWriteTimeout: the peer did not take what was sent to it.
	ErrWriteTimeout = errors.New("peer does not read: write not completed in time")
	// ErrSessionClosed: this side closed the session and gave no other reason.
	ErrSessionClosed = errors.New("session closed")
	// ErrServerClosed is returned by Serve after Shutdown or Close, and the cause of every session these ended.
	ErrServerClosed = admission.ErrClosed
	// ErrNotAuthenticated: the session is not, or no longer, authenticated.
	ErrNotAuthenticated = errors.New("session is not authenticated")
	// ErrInvalidUpstream: an upstream longer than 1024 bytes or with characters that are not printable.
	ErrInvalidUpstream = errors.New("upstream is longer than 1024 bytes or not printable")
	// ErrTLS: the TLS handshake failed. The error that wraps it wraps the reason too.
	ErrTLS = errors.New("TLS handshake failed")

	// ErrTooManySessions: MaxSessions connections are open already.
	ErrTooManySessions = admission.ErrTooManySessions
	// ErrTooManyHandshakes: MaxWaiting connections wait already; or this one waited for too long, or its place was given to
	// another, as its source has the most of them.
	ErrTooManyHandshakes = admission.ErrTooManyHandshakes
	// ErrTooManyFromSource: MaxHandshakesPerSource connections from this address wait for authentication already; or this one, from
	// which nothing had come, made room for another one of its address.
	ErrTooManyFromSource = admission.ErrTooManyFromSource

	// ErrVersionRefused is what a refinery gets when the master answers conn:establish with conn:close.
	ErrVersionRefused = errors.New("master refused the version, type or id of this node")
	// ErrDenied is what a refinery gets when the master answers auth:start with auth:dec.
	ErrDenied = errors.New("master denied authentication")
)

// Rules that errors cite, beside those of package wire; see spec.md.
const (
	ruleOrder = "R-4.1"
	ruleAhead = "R-4.2"
	ruleAck   = "R-5.6"
)

// ProtocolError says which rule of spec.md the peer broke, and where. It is for this side's program only, and never holds
// anything the peer sent.
//
//nolint:revive // protocol.Error would not say that it is about the protocol.
type ProtocolError struct {
	State  State  // of the side that noticed
	Rule   string // R-<section>.<number>
	Detail string
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("%v in state %v: %s (%s)", ErrProtocol, e.State, e.Detail, e.Rule)
}

// Is makes errors.Is(err, ErrProtocol) true.
func (e *ProtocolError) Is(target error) bool { return target == ErrProtocol }

// PanicError is the cause of a session that ended because a Handler, or a hook in the options, panicked.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // of the goroutine that panicked, as runtime/debug.Stack gives it
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value passed to panic if that was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// readFailure turns the error of a read into what callers are promised. The end of the stream, even within a message, means
// that the peer closed it. A violation becomes a *ProtocolError, with the state in which it was noticed.
func readFailure(err error, s State) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrPeerGone
	}
	if v, ok := errors.AsType[*wire.Violation](err); ok {
		return &ProtocolError{State: s, Rule: v.Rule, Detail: v.Detail}
	}
	return err
}

// openingFailure is readFailure during the handshake, whose deadline has its own error.
func openingFailure(err error, s State) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrHandshakeTimeout
	}
	return readFailure(err, s)
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
