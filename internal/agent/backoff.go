package agent

import (
	"math/rand/v2"
	"time"
)

const (
	backoffBase = 500 * time.Millisecond
	backoffCap  = 30 * time.Second
	// orderlyJitter spreads the nodes that a master closed at the same moment.
	orderlyJitter = 100 * time.Millisecond
)

// ceiling is the longest wait after so many failures in a row: 500 ms, doubled with each further failure, at most 30 s.
func ceiling(failures int) time.Duration {
	d := backoffBase
	for range failures - 1 {
		d *= 2
		if d >= backoffCap {
			return backoffCap
		}
	}
	return d
}

// retry schedules attempts. The jitter is full and comes after the cap: a fleet whose members all reached the cap stays spread
// over all of it.
type retry struct {
	failures int
	// uniform draws from [0, limit]. It is never called with a limit of 0.
	uniform func(limit time.Duration) time.Duration
}

func newRetry() *retry {
	return &retry{uniform: func(limit time.Duration) time.Duration { return rand.N(limit + 1) }}
}

// failed counts a failure and returns how long to wait.
func (r *retry) failed() time.Duration {
	r.failures++
	return r.uniform(ceiling(r.failures))
}

// orderly is how long to wait when the master closed a session that had lived: hardly, for another master is ready.
func (r *retry) orderly() time.Duration {
	return r.uniform(orderlyJitter)
}

// reset forgets the failures: a session has lived, or the certificates are others.
func (r *retry) reset() { r.failures = 0 }
