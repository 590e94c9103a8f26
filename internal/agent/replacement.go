package agent

import (
	"context"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/agent/backoff"
)

// replacement moves a live session over to other credentials, or to another master if its own does not answer. It is used on the
// goroutine of loop.run only.
type replacement struct {
	loop     *loop
	retry    *backoff.Schedule
	failures failureLog
	pending  *attempt
	again    <-chan time.Time // fires when a refused attempt may be repeated
	late     bool             // the master of the session does not answer
}

// pursue starts an attempt if the session's credentials are no longer the current ones, or its master does not answer, and nothing
// is under way.
func (r *replacement) pursue(ctx context.Context, s *session) {
	creds, _ := r.loop.credentials.current()
	r.late = r.late && s.client.Waits()
	if r.pending != nil || r.again != nil || (creds == s.credentials && !r.late) {
		return
	}
	timeout := handshakeTimeout
	if r.late {
		timeout = lateTimeout
	}
	r.pending = r.loop.attempt(ctx, creds, timeout)
}

// outcome blocks while nothing is under way.
func (r *replacement) outcome() <-chan outcome {
	if r.pending == nil {
		return nil
	}
	return r.pending.outcome
}

// conclude returns the new session, or nil and tries again later.
func (r *replacement) conclude(ctx context.Context, o outcome) *session {
	a := r.pending
	r.pending = nil
	if o.err == nil {
		r.late = false
		r.reset()
		return r.loop.begin(ctx, a, o.client)
	}
	if ctx.Err() == nil {
		delay := pause(r.retry, o.err)
		r.again = time.After(delay)
		r.failures.failed(r.loop.explain(o.err), delay)
	}
	return nil
}

// inherit returns the new session after the old one ended, if an attempt was under way and succeeds. The master ends the old session
// as soon as the new one is authenticated; then the new one has been granted already, and the node was never without.
func (r *replacement) inherit(ctx context.Context, old *session, cause error) *session {
	if r.pending == nil {
		return nil
	}
	if !r.pending.granted.Load() && ctx.Err() == nil {
		r.loop.lose(ctx, old, cause)
	}
	return r.conclude(ctx, <-r.pending.outcome)
}

// reset allows an attempt at once.
func (r *replacement) reset() {
	r.again = nil
	r.retry.Reset()
	r.failures.recovered()
}
