// Package reconcile is what the controllers of both kinds have in common: how a pass begins and ends, what follows from an
// error, conditions and events, and what the Deployment and the Lease of an object say.
package reconcile

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	utilwait "k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
)

const (
	// firstBackoff and longestBackoff bound how long after a failure a pass is tried again.
	firstBackoff   = 200 * time.Millisecond
	longestBackoff = time.Minute
	// shownFailures is how many passes in a row the API server or the network has to end before status shows it.
	shownFailures = 5
)

// Passes are what the passes over the objects of one kind have in common.
type Passes struct {
	client  client.Client
	apply   *apply.Applier
	events  events.EventRecorder
	recheck time.Duration

	mu       sync.Mutex
	failures map[types.NamespacedName]streak
}

// streak is of passes in a row that ended in the same way.
type streak struct {
	of    Consequence
	count int
	began time.Time
}

// NewPasses returns passes that remember nothing yet. recheck is how soon to look again for what someone else is to remove.
func NewPasses(c client.Client, a *apply.Applier, recorder events.EventRecorder, recheck time.Duration) *Passes {
	return &Passes{client: c, apply: a, events: recorder, recheck: recheck, failures: map[types.NamespacedName]streak{}}
}

// Find reads the object of a pass and reports whether there is anything to do for it. If there is not, again is when to look
// again although no event comes, or 0. gone is called where the object does not exist.
func (p *Passes) Find(ctx context.Context, key client.ObjectKey, object client.Object, gone func()) (found bool, again time.Duration, err error) {
	if err := p.client.Get(ctx, key, object); client.IgnoreNotFound(err) != nil {
		return false, 0, err
	} else if err != nil {
		p.apply.Forget(key)
		p.passed(key)
		gone()
		return false, 0, nil
	}
	if !object.GetDeletionTimestamp().IsZero() { // which is the garbage collector's
		return false, 0, nil
	}
	again = p.apply.Behind(object) // after our own write of status an event is still to come
	return again == 0, again, nil
}

// passed forgets the failures of an object.
func (p *Passes) passed(key client.ObjectKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.failures, key)
}

// RunSteps runs steps until one ends the pass.
func RunSteps(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Outcome types the error that ended a pass at a time. An API server that stays away becomes an error to show, and one that
// goes on refusing is asked again after as long as it has refused.
func (p *Passes) Outcome(key client.ObjectKey, err error, now time.Time) Outcome {
	o := OutcomeOf(err, p.recheck)
	rejected := o.Reason == v1alpha1.ReasonRejected
	if o.Consequence != Away && !rejected {
		p.passed(key)
		return o
	}
	switch s := p.continued(key, o.Consequence, now); {
	case rejected: // by time, not by passes: events bring several at once
		o.Recheck = min(max(now.Sub(s.began), firstRejectedRecheck), longestRejectedRecheck)
	case s.count >= shownFailures:
		o.Consequence = Retry
	}
	return o
}

// continued is the streak of an object with one more pass that ended so.
func (p *Passes) continued(key client.ObjectKey, c Consequence, now time.Time) streak {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.failures[key]
	if s.of != c {
		s = streak{of: c, began: now}
	}
	s.count++
	p.failures[key] = s
	return s
}

// Ending is how a pass leaves its object.
type Ending struct {
	Object  client.Object
	Outcome Outcome
	// Err is what the steps ended with.
	Err error
	// Desired and Current are the operator's part of status as it should be and as it was read.
	Desired, Current apply.Configuration
	// Masters is the master's part of status, if the operator has to write it because no master is there to. It holds the
	// version of the object as it was read: what a master has written meanwhile goes.
	Masters apply.Configuration
	// Changes are the events of what differs.
	Changes []Event
	// Written is called when status was written.
	Written func()
	Agenda  Agenda
	Now     time.Time
}

// Finish writes the status if it differs, then tells the events, and says when to look again.
func (p *Passes) Finish(ctx context.Context, e Ending) (reconcile.Result, error) {
	differs := !Same(e.Desired, e.Current)
	if e.Masters != nil {
		if err := p.apply.Status(ctx, e.Object, e.Masters, v1alpha1.MasterFieldOwner); err != nil {
			return statusFailed(ctx, e, err)
		}
	}
	if differs {
		if err := p.apply.Status(ctx, e.Object, e.Desired, v1alpha1.OperatorFieldOwner); err != nil {
			return statusFailed(ctx, e, err)
		}
	}
	if differs || e.Masters != nil {
		p.record(e.Object, e.Changes)
		e.Written()
	}
	return e.result(ctx)
}

// statusFailed handles an error of the write of status. Status cannot show it, so it is returned together with the
// error that ended the steps. Only after a conflict the pass is simply tried again.
func statusFailed(ctx context.Context, e Ending, err error) (reconcile.Result, error) {
	if OutcomeOf(err, 0).Consequence != SilentRetry {
		return reconcile.Result{}, errors.Join(err, e.Err)
	}
	if e.Outcome.Consequence == CarriedOut || e.Err == nil {
		e.Err = err
	}
	if e.Outcome.Consequence != Retry && e.Outcome.Consequence != Away {
		e.Outcome.Consequence = SilentRetry
	}
	return e.result(ctx)
}

// result translates the consequence of a pass into the answer to the workqueue.
func (e Ending) result(ctx context.Context) (reconcile.Result, error) {
	switch e.Outcome.Consequence {
	case Retry, Away:
		return reconcile.Result{}, e.Err
	case SilentRetry:
		log.FromContext(ctx).V(1).Info("Trying again", "cause", e.Err.Error())
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	if e.Outcome.Recheck > 0 {
		e.Agenda.At(e.Now.Add(e.Outcome.Recheck))
	}
	return reconcile.Result{RequeueAfter: e.Agenda.After(e.Now)}, nil
}

// backoff adds jitter, so that objects that failed together are not tried again together.
type backoff struct {
	workqueue.TypedRateLimiter[reconcile.Request]
}

// NewBackoff returns the rate limiter of a controller.
func NewBackoff() workqueue.TypedRateLimiter[reconcile.Request] {
	return backoff{workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstBackoff, longestBackoff)}
}

// When returns the exponential backoff, plus up to half of it at random.
func (b backoff) When(request reconcile.Request) time.Duration {
	return utilwait.Jitter(b.TypedRateLimiter.When(request), 0.5)
}

// Agenda is when to look again although nothing was seen to change: the earliest time that was put on it.
type Agenda struct{ next time.Time }

// At puts a time on the agenda.
func (a *Agenda) At(t time.Time) {
	if a.next.IsZero() || t.Before(a.next) {
		a.next = t
	}
}

// AtFuture puts a time on the agenda if it is still to come.
func (a *Agenda) AtFuture(t, now time.Time) {
	if t.After(now) {
		a.At(t)
	}
}

// After is the time left, at least a second, or 0 for never.
func (a *Agenda) After(now time.Time) time.Duration {
	if a.next.IsZero() {
		return 0
	}
	return max(a.next.Sub(now), time.Second)
}

// Same reports whether two configurations mean the same. One instant in two time zones is the same.
func Same(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }
