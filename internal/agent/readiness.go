package agent

import (
	"sync"
	"time"
)

// readiness is what the probes answer from. The zero value is alive only after the first expect.
type readiness struct {
	mu       sync.Mutex
	ready    bool
	since    time.Time // of the last change of ready
	detail   string
	deadline time.Time
	// until is when a node that has lost its session stops being ready; zero while it has one.
	until time.Time
}

// lock makes a node not ready whose grace is over. r.mu is to be unlocked.
func (r *readiness) lock() {
	r.mu.Lock()
	if r.ready && !r.until.IsZero() && !time.Now().Before(r.until) {
		r.ready, r.since, r.until = false, r.until, time.Time{}
	}
}

func (r *readiness) set(ready bool, detail string) {
	r.lock()
	defer r.mu.Unlock()
	r.change(ready, detail, time.Time{})
}

// lose is for a node that has lost its session. If it was ready, it stays so until the grace ends.
func (r *readiness) lose(detail string, until time.Time) {
	r.lock()
	defer r.mu.Unlock()
	r.change(r.ready && time.Now().Before(until), detail, until)
}

// fail is for an attempt to get a session that failed. It ends no grace.
func (r *readiness) fail(detail string) {
	r.lock()
	defer r.mu.Unlock()
	r.change(r.ready && !r.until.IsZero(), detail, r.until)
}

// inGrace reports whether the node is ready without a session, by the grace that ends at until.
func (r *readiness) inGrace(until time.Time) bool {
	r.lock()
	defer r.mu.Unlock()
	return r.ready && r.until.Equal(until)
}

// endGrace ends the grace that would end at until, unless the node has a session again.
func (r *readiness) endGrace(until time.Time, detail string) {
	r.lock()
	defer r.mu.Unlock()
	if r.ready && r.until.Equal(until) {
		r.change(false, detail, time.Time{})
	}
}

// change needs r.mu held.
func (r *readiness) change(ready bool, detail string, until time.Time) {
	if ready != r.ready || r.since.IsZero() {
		r.since = time.Now()
	}
	r.ready, r.detail, r.until = ready, detail, until
}

// get returns what /readyz answers: whether the node is ready, and why, since when.
func (r *readiness) get() (ready bool, detail string, since time.Time) {
	r.lock()
	defer r.mu.Unlock()
	switch {
	case !r.ready:
		return false, "not authenticated: " + r.detail, r.since
	case r.until.IsZero():
		return true, "authenticated: " + r.detail, r.since
	default:
		return true, "not authenticated, ready until " + r.until.UTC().Format(time.RFC3339) + " all the same: " + r.detail, r.since
	}
}

// stuckAfter is added to the time a step may take before the process counts as stuck.
const stuckAfter = 20 * time.Second

// expect says that the loop will be heard of again within the time its next step may take.
func (r *readiness) expect(step time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = time.Now().Add(step + stuckAfter)
}

func (r *readiness) alive() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.deadline)
}
