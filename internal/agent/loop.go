package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/agent/backoff"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// loop keeps one authenticated session. What it starts in goroutines only connects and keeps alive; every decision is made on
// the goroutine of run.
type loop struct {
	*connector
	credentials *credentialStore
	readiness   *readiness
	metrics     *metrics
	log         *slog.Logger

	retry    *backoff.Schedule
	failures failureLog
	attempts uint64
	running  sync.WaitGroup
	// proven are the credentials of the last session. When others take their place in the files, and the master refuses these,
	// fallBack has the next attempt made with proven.
	proven   *credentials
	fallBack bool
}

// session is an authenticated connection that is being kept alive.
type session struct {
	client      *protocol.Client
	credentials *credentials
	began       time.Time
	stop        context.CancelFunc // sends conn:close
	ended       chan error         // receives once
	lost        bool               // it ended and left the node without a session
	late        <-chan struct{}    // receives when the master does not answer
}

// attempt is a connect under way.
type attempt struct {
	number      uint64
	credentials *credentials
	timeout     time.Duration // of the handshake
	granted     atomic.Bool   // the master has let it in: its outcome follows at once
	late        chan struct{} // receives when the master does not answer in the session that came of it
	outcome     chan outcome
}

type outcome struct {
	client *protocol.Client
	err    error
}

// holdTick is how often a loop that has nothing to do shows that it is alive.
const holdTick = 30 * time.Second

// run returns when ctx is done and every session has sent its conn:close.
func (l *loop) run(ctx context.Context) {
	for ctx.Err() == nil {
		l.wait(ctx, l.once(ctx))
	}
	l.readiness.set(false, "the agent is stopping")
	l.running.Wait()
}

// once makes a session and keeps it until it ends. It returns how long to wait before the next.
func (l *loop) once(ctx context.Context) time.Duration {
	l.credentials.dropPending()
	creds, problem := l.credentials.current()
	if creds == nil {
		l.readiness.set(false, problem)
		return holdTick
	}
	if l.fallBack {
		creds = l.proven
	}
	l.readiness.expect(attemptTimeout)
	a := l.attempt(ctx, creds, handshakeTimeout)
	o := <-a.outcome
	if o.err != nil {
		return l.failed(ctx, creds, o.err)
	}
	s, cause := l.hold(ctx, l.begin(ctx, a, o.client))
	return l.ended(ctx, s, cause)
}

// wait waits for d. It ends early when the credentials change: the old ones may have been the problem.
func (l *loop) wait(ctx context.Context, d time.Duration) {
	l.readiness.expect(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-l.credentials.changes:
		l.retry.Reset()
	}
}

func (l *loop) attempt(ctx context.Context, creds *credentials, timeout time.Duration) *attempt {
	l.attempts++
	a := &attempt{number: l.attempts, credentials: creds, timeout: timeout, late: make(chan struct{}, 1), outcome: make(chan outcome, 1)}
	l.running.Go(func() {
		client, err := l.connect(ctx, a)
		if err == nil || ctx.Err() == nil {
			l.metrics.handshakes.WithLabelValues(string(classify(err))).Inc()
		}
		a.outcome <- outcome{client, err}
	})
	return a
}

// begin makes the client of a successful attempt the current session.
func (l *loop) begin(ctx context.Context, a *attempt, client *protocol.Client) *session {
	ctx, stop := context.WithCancel(ctx)
	s := &session{client: client, credentials: a.credentials, began: time.Now(), stop: stop, ended: make(chan error, 1), late: a.late}
	l.running.Go(func() { s.ended <- client.Run(ctx) })
	l.proven, l.fallBack = a.credentials, false
	l.metrics.authenticated.Set(1)
	l.readiness.set(true, fmt.Sprintf("%s at %s", l.config.ID, a.credentials.master.Address))
	l.log.Info("authenticated", "id", l.config.ID, "master", a.credentials.master.Address, "upstream", client.Upstream(),
		"certificate", a.credentials.fingerprint, "failedAttempts", l.retry.Failures)
	l.failures.recovered()
	return s
}

// hold returns when no session is left, with the last one and its cause. Other credentials, and a master that does not answer, make
// a new session first and end the old one then; while that fails the old one goes on.
func (l *loop) hold(ctx context.Context, s *session) (*session, error) {
	tick := time.NewTicker(holdTick)
	defer tick.Stop()
	r := replacement{loop: l, retry: backoff.New(l.config.MaxBackoff), failures: failureLog{log: l.log, message: "no new session yet; keeping the one there is"}}
	for {
		l.readiness.expect(holdTick + attemptTimeout)
		r.pursue(ctx, s)
		select {
		case cause := <-s.ended:
			s.stop()
			next := r.inherit(ctx, s, cause)
			if next == nil {
				return s, cause
			}
			s = next
		case o := <-r.outcome():
			if next := r.conclude(ctx, o); next != nil {
				s.stop()
				s = next
			}
		case <-l.credentials.changes:
			r.reset()
		case <-s.late:
			r.late = true
		case <-r.again:
			r.again = nil
		case <-tick.C:
		}
	}
}

// failed records the error of an attempt that left the node without a session, and returns how long to wait before the next. If the
// files no longer hold what the last session had, and the attempt with their content failed, the next one uses the credentials of
// that session at once: a Secret that is spoilt costs no node its session. While such a session lives, the files are tried again.
func (l *loop) failed(ctx context.Context, with *credentials, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	l.fallBack = !l.fallBack && l.proven != nil && l.proven != with && !errors.Is(err, errDial)
	if l.fallBack {
		l.log.Warn("the certificate files do not get this node in; trying those of its last session", "reason", l.explain(err))
		return 0
	}
	delay, reason := pause(l.retry, err), l.explain(err)
	if refused(err) {
		l.readiness.set(false, reason)
	} else {
		l.readiness.fail(reason)
	}
	l.failures.failed(reason, delay)
	return delay
}

// pause is how long to wait after an attempt that failed.
func pause(s *backoff.Schedule, err error) time.Duration {
	if errors.Is(err, errDial) {
		return s.Unreached()
	}
	return s.Failed()
}

// ended returns how long to wait before the node connects again.
func (l *loop) ended(ctx context.Context, s *session, cause error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	l.lose(ctx, s, cause)
	return l.retry.Ended(time.Since(s.began) >= s.credentials.master.AliveInterval, cause)
}

// lose shows, once, that the node is without a session. What it was granted still holds, so it stays ready for a while.
func (l *loop) lose(ctx context.Context, s *session, cause error) {
	if s.lost {
		return
	}
	s.lost = true
	reason := l.explain(cause)
	l.metrics.authenticated.Set(0)
	l.metrics.reconnects.Inc()
	l.keepReady(ctx, s, "the session ended: "+reason, cause)
	l.log.Warn("session ended", "reason", reason, "lasted", time.Since(s.began).Round(time.Millisecond))
}
