// Package backoff decides when a node that lost its session, or got none, tries again.
package backoff

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol"
)

const (
	// Base is the longest wait after the first failure.
	Base = 500 * time.Millisecond
	// DefaultMax is the longest wait there is, unless the node is told otherwise.
	DefaultMax = 30 * time.Second
	// UnreachedMax is the longest wait after a master could not be reached, unless DefaultMax, or what the node is told, is
	// shorter. Such an attempt costs no master anything, and when one is there again the nodes come back at once.
	UnreachedMax = 2 * time.Second
)

// Schedule schedules attempts. The jitter is full and comes after the cap: a fleet whose members all reached the cap stays
// spread over all of it. A master whose line is full refuses at once, so a fleet of any size finds the window that it needs.
type Schedule struct {
	// Failures in a row.
	Failures int
	// unreached are failures in a row to reach any master. They do not count as failures: what a master refuses when it is there
	// again has nothing to do with how long it was away.
	unreached int
	// Max is the longest wait.
	Max time.Duration
	// Uniform draws from [0, limit]. It is never called with a limit of 0.
	Uniform func(limit time.Duration) time.Duration
}

// New returns a Schedule without failures.
func New(longest time.Duration) *Schedule {
	return &Schedule{Max: longest, Uniform: func(limit time.Duration) time.Duration { return rand.N(limit + 1) }}
}

// Failed counts a failure and returns how long to wait.
func (s *Schedule) Failed() time.Duration {
	s.Failures++
	s.unreached = 0
	return s.Uniform(min(doubled(s.Failures), s.Max))
}

// Unreached counts a failure to reach any master and returns how long to wait.
func (s *Schedule) Unreached() time.Duration {
	s.unreached++
	return s.Uniform(min(doubled(s.unreached), UnreachedMax, s.Max))
}

// doubled is Base, doubled with each failure after the first, up to an hour.
func doubled(failures int) time.Duration {
	d := Base
	for i := 1; i < failures && d < time.Hour; i++ {
		d *= 2
	}
	return d
}

// Ended returns how long to wait after a session ended for the cause that protocol.Client.Run returned. Only a session that
// lived for a heartbeat makes up for the failures before it, so that two nodes of the same id, each of which drives the
// other out, do so ever more slowly. After conn:close there is no wait, for another master is ready, and the one that ended sends
// its nodes away one by one; a socket closed without it is a master that died, and all of its nodes come back.
func (s *Schedule) Ended(lived bool, cause error) time.Duration {
	if !lived {
		return s.Failed()
	}
	s.Reset()
	if errors.Is(cause, protocol.ErrPeerClosed) && !errors.Is(cause, protocol.ErrPeerGone) {
		return 0
	}
	return s.Failed()
}

// Reset forgets the failures: a session has lived, or the certificates are others.
func (s *Schedule) Reset() { s.Failures, s.unreached = 0, 0 }
