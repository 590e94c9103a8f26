package master

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
)

// election makes one master process the active one, and decides what the active one may do while the API server is away.
type election struct {
	lease *lease
	// retryPeriod is the time between two tries at the Lease, and tryTimeout the bound of one.
	retryPeriod, tryTimeout time.Duration
	// doubt is how long sessions are kept when the Lease has ended and not every other master confirms that it lost the API
	// server too.
	doubt time.Duration
	clock clock.Clock
	log   logr.Logger
	// outage is for how long the active master serves without the API server.
	outage func() time.Duration
	// confirm asks every other master whether it lost the API server too. Its answer holds until a time; zero for no.
	confirm func(ctx context.Context) time.Time
	// current reports whether the watches are connected.
	current func() bool
	// failed is called when a try failed and the one before it had failed too: connections may be dead.
	failed func()
	// released is called when this process has given the Lease back.
	released func(ctx context.Context)
	// wake has a token when another master has given the Lease back.
	wake chan struct{}

	contact *contact
	leading *leadership // nil while standing by
}

// leadership is one term, as the election sees it.
type leadership struct {
	permit *permit
	end    context.CancelCauseFunc
	ended  chan error
	// renewed is when the last try began that had the Lease, admits until when nodes are let in.
	renewed, admits time.Time
	// away is when the API server was first found away; zero while it answers. back is when it was found back.
	away, back time.Time
}

const (
	// releaseTimeout bounds how long a process that ends waits for the release of its Lease.
	releaseTimeout = 2 * time.Second
	// answersFor is how long after a try at the Lease messages of nodes are handled. A process in which none has ended for so long
	// was frozen, and handles none before it has tried again.
	answersFor = 10 * time.Second
	// doubtFor is doubt in a cluster. With the time it takes to send the nodes away it is a minute.
	doubtFor = 45 * time.Second
	// catchUp bounds how long status waits for the watches, when the API server is back.
	catchUp = 5 * time.Second
)

// errTermOver is the cause of a term that the election ended, and of each of the others.
var (
	errTermOver = errors.New("the term is over")
	errTaken    = fmt.Errorf("%w: another master holds the Lease", errTermOver)
	errOutage   = fmt.Errorf("%w: the API server has been away for longer than spec.apiServerOutageSeconds", errTermOver)
	errDoubt    = fmt.Errorf("%w: the Lease has ended, and not every other master confirms that it lost the API server too", errTermOver)
)

// Run campaigns until ctx is done. Each time it wins the Lease it calls lead, whose context ends when the Lease is lost or ctx
// is done. It releases the Lease after lead has returned, so that never two masters report. After a term it stands by again; an
// error of lead ends Run.
func (e *election) Run(ctx context.Context, lead func(ctx context.Context, p *permit) error) error {
	e.contact.campaign()
	for {
		began := e.clock.Now()
		e.round(ctx, began, lead)
		var ended chan error
		if e.leading != nil {
			ended = e.leading.ended
		}
		select {
		case <-ctx.Done():
			return e.leave(ctx)
		case err := <-ended:
			if err := e.concluded(ctx, err); err != nil {
				return err
			}
			select { // leaves others the time to win the next term
			case <-ctx.Done():
			case <-e.clock.After(e.retryPeriod):
			}
		case <-e.wake:
		case <-e.clock.After(e.retryPeriod - e.clock.Since(began)):
		}
	}
}

// round tries to hold the Lease once, and acts upon the outcome.
func (e *election) round(ctx context.Context, began time.Time, lead func(ctx context.Context, p *permit) error) {
	trying, cancel := context.WithTimeout(ctx, e.tryTimeout)
	is, err := e.lease.try(trying)
	cancel()
	if ctx.Err() != nil {
		return
	}
	var answer apierrors.APIStatus
	answered := is != unknown || errors.As(err, &answer)
	if e.contact.note(e.clock.Now(), is != unknown) > 1 && !answered {
		e.failed()
	}
	if e.leading == nil {
		if is != held {
			return
		}
		e.begin(ctx, lead)
	}
	switch is {
	case held:
		e.held(began)
	case taken:
		e.leading.end(errTaken)
	case unknown:
		e.keep(ctx, began, err)
	}
	e.leading.permit.Answers(e.clock.Now().Add(answersFor))
}

func (e *election) begin(ctx context.Context, lead func(ctx context.Context, p *permit) error) {
	ctx, end := context.WithCancelCause(ctx)
	l := &leadership{permit: newPermit(e.clock), end: end, ended: make(chan error, 1)}
	e.leading = l
	go func() { l.ended <- lead(ctx, l.permit) }()
}

// held goes on with the term: after the API server was away, status is written only once the watches have caught up.
func (e *election) held(began time.Time) {
	l, now := e.leading, e.clock.Now()
	if !l.away.IsZero() {
		e.log.Info("the Lease is renewed again", "away", now.Sub(l.away).Round(time.Second).String())
		l.away, l.back = time.Time{}, now
	}
	l.renewed = began
	l.admits = began.Add(e.lease.duration)
	l.permit.Admits(l.admits)
	if l.back.IsZero() || e.current() || now.Sub(l.back) >= catchUp {
		l.back = time.Time{}
		l.permit.Reports(l.admits)
	}
}

// keep decides about a term while the Lease cannot be renewed. Until it ends nobody else takes it. After that nobody does for as
// long as all other masters confirm that they cannot reach the API server either.
func (e *election) keep(ctx context.Context, began time.Time, err error) {
	l := e.leading
	if l.away.IsZero() {
		l.away = began
		e.log.Info("cannot renew the Lease; serving on with what was known last", "atMost", e.outage().String(), "error", err.Error())
	}
	bound := l.renewed.Add(max(e.outage(), e.lease.duration))
	if confirmed := e.confirm(ctx); !confirmed.IsZero() && e.outage() > 0 {
		if confirmed.After(bound) {
			confirmed = bound
		}
		if confirmed.After(l.admits) {
			l.admits = confirmed
			l.permit.Admits(confirmed)
		}
	}
	switch now := e.clock.Now(); {
	case !now.Before(bound):
		l.end(errOutage)
	case e.outage() > 0 && now.Sub(l.admits) >= e.doubt:
		l.end(errDoubt)
	}
}

// leave waits for the end of the term and gives the Lease back. The process goes on until its nodes are sent away.
func (e *election) leave(ctx context.Context) error {
	if e.leading == nil {
		return nil
	}
	return e.concluded(ctx, <-e.leading.ended)
}

// concluded gives the Lease back after a term. Nodes that are being sent away are still answered.
func (e *election) concluded(ctx context.Context, err error) error {
	l := e.leading
	e.leading = nil
	l.end(nil)
	l.permit.Answers(e.clock.Now().Add(time.Minute))
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	released, failed := e.lease.release(bounded)
	if failed != nil {
		e.log.Info("the Lease could not be given back; it ends by itself", "error", failed.Error())
	}
	if released {
		e.released(bounded)
	}
	return err
}

// contact is when a process reached the API server, for those who ask.
type contact struct {
	mu          sync.Mutex
	campaigning bool
	last        time.Time // when the last try ended
	failures    int       // tries in a row, up to the last, that failed
}

// campaign notes that the process tries for the Lease from now on.
func (c *contact) campaign() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.campaigning = true
}

// note records a try and returns how many in a row have failed.
func (c *contact) note(now time.Time, reached bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = now
	if c.failures++; reached {
		c.failures = 0
	}
	return c.failures
}

// lost reports whether the last try failed, and is not older than some time. A process that does not try yet becomes active no
// sooner than one that lost the API server.
func (c *contact) lost(now time.Time, fresh time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.campaigning || (c.failures > 0 && now.Sub(c.last) < fresh)
}
