package agent

import (
	"context"
	"fmt"
	"time"
)

const (
	// upstreamCheck is how often a node that is ready without a session connects to its upstream, to see that it is there.
	upstreamCheck = 5 * time.Second
	// graceOfTimeout stands for a grace that is not given: it is the alive timeout, at most maxDefaultGrace.
	graceOfTimeout  = -1
	maxDefaultGrace = time.Minute
)

// keepReady lets a node that has lost its session stay ready: for the grace, no longer than its certificate is valid, and only
// while its upstream takes connections. A node that was refused does not stay ready.
func (l *loop) keepReady(ctx context.Context, s *session, detail string, cause error) {
	if refused(cause) {
		l.readiness.set(false, detail)
		return
	}
	until := time.Now().Add(l.grace(s.credentials))
	if end := s.credentials.notAfter; !end.IsZero() && end.Before(until) {
		until = end
	}
	l.readiness.lose(detail, until)
	if l.readiness.inGrace(until) {
		l.running.Go(func() { l.watchUpstream(ctx, until) })
	}
}

// grace is how long a node that has lost a session that was made with some credentials stays ready.
func (l *loop) grace(creds *credentials) time.Duration {
	if l.config.ReadinessGrace >= 0 {
		return l.config.ReadinessGrace
	}
	return min(creds.master.AliveTimeout, maxDefaultGrace)
}

// watchUpstream ends the grace when the upstream takes no connection.
func (l *loop) watchUpstream(ctx context.Context, until time.Time) {
	ticks := time.NewTicker(upstreamCheck)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		if !l.readiness.inGrace(until) {
			return
		}
		upstream, _ := l.publisher.latest() // the session that was lost had one
		if err := l.touch(ctx, upstream.Upstream); err != nil {
			l.readiness.endGrace(until, fmt.Sprintf("the session ended, and the upstream %s takes no connections: %v", upstream.Upstream, err))
			return
		}
	}
}

// touch connects to the upstream and closes the connection.
func (l *loop) touch(ctx context.Context, upstream string) error {
	conn, err := l.reach(ctx, upstream)
	if err != nil {
		return err
	}
	return conn.Close()
}
