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
}

func (r *readiness) set(ready bool, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ready != r.ready || r.since.IsZero() {
		r.since = time.Now()
	}
	r.ready, r.detail = ready, detail
}

func (r *readiness) get() (ready bool, detail string, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready, r.detail, r.since
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
