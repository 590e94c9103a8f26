package controllers

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	utilwait "k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
)

const (
	// firstBackoff and longestBackoff bound how long after a failure a pass is tried again.
	firstBackoff   = 200 * time.Millisecond
	longestBackoff = time.Minute
	// shownFailures is after how many passes in a row that the API server or the network ended status says so.
	shownFailures = 5
)

// reconciler is what the passes of both kinds have in common.
type reconciler struct {
	*Environment
	apply *apply.Applier

	mu       sync.Mutex
	failures map[types.NamespacedName]int
	// issuedNext are certificates that are listed in status and not yet in their Secret. One that is lost with this
	// process is replaced by another.
	issuedNext map[types.NamespacedName]certificates.Certificate
}

func newReconciler(e *Environment) *reconciler {
	return &reconciler{Environment: e, apply: apply.New(e.Client, e.Live), failures: map[types.NamespacedName]int{}, issuedNext: map[types.NamespacedName]certificates.Certificate{}}
}

// find reads the object of a pass and reports whether there is anything to do for it.
func (r *reconciler) find(ctx context.Context, key client.ObjectKey, object client.Object) (bool, error) {
	if err := r.Client.Get(ctx, key, object); client.IgnoreNotFound(err) != nil {
		return false, err
	} else if err != nil {
		r.apply.Forget(key)
		r.passed(key)
		r.dropIssued(key)
		r.Metrics.forget(object, key)
		return false, nil
	}
	// Deletion is the garbage collector's; and after our own write of status an event is still to come.
	return object.GetDeletionTimestamp().IsZero() && !r.apply.Behind(object), nil
}

// passed forgets the failures of an object.
func (r *reconciler) passed(key client.ObjectKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.failures, key)
}

func (r *reconciler) dropIssued(key client.ObjectKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.issuedNext, key)
}

// runSteps runs steps until one ends the pass.
func runSteps(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// secrets are those of a pass that begins.
func (r *reconciler) secrets() *certificates.Secrets {
	return certificates.NewSecrets(r.apply, r.Client, r.Live)
}

// outcome types the error that ended a pass. An API server that stays away becomes an error to show.
func (r *reconciler) outcome(key client.ObjectKey, err error) outcome {
	o := outcomeOf(err, r.Recheck)
	if o.consequence != away {
		r.passed(key)
		return o
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failures[key]++; r.failures[key] >= shownFailures {
		o.consequence = retry
	}
	return o
}

// ending is how a pass leaves its object.
type ending struct {
	object  client.Object
	outcome outcome
	// err is what the steps ended with.
	err error
	// desired and current are the operator's part of status as it should be and as it was read.
	desired, current apply.Configuration
	// changes are the events of what differs.
	changes []transition
	// renewed reports whether one of them is a certificate that took the place of another.
	renewed bool
	agenda  agenda
	now     time.Time
}

// finish writes the status if it differs, then tells the events, and says when to look again.
func (r *reconciler) finish(ctx context.Context, e ending) (ctrl.Result, error) {
	if !same(e.desired, e.current) {
		if err := r.apply.Status(ctx, e.object, e.desired); err != nil {
			return statusFailed(ctx, e, err)
		}
		r.record(e.object, e.changes)
		if e.renewed {
			r.Metrics.renewed(e.object)
		}
	}
	return e.result(ctx)
}

// statusFailed tries again: what cannot be written to status cannot be shown there either, so it is
// returned, together with what the steps ended with. Only a conflict stays silent.
func statusFailed(ctx context.Context, e ending, err error) (ctrl.Result, error) {
	if outcomeOf(err, 0).consequence != silentRetry {
		return ctrl.Result{}, errors.Join(err, e.err)
	}
	if e.outcome.consequence == carriedOut || e.err == nil {
		e.err = err
	}
	if e.outcome.consequence != retry && e.outcome.consequence != away {
		e.outcome.consequence = silentRetry
	}
	return e.result(ctx)
}

// result turns the consequence of a pass into what the workqueue is told.
func (e ending) result(ctx context.Context) (ctrl.Result, error) {
	switch e.outcome.consequence {
	case retry, away:
		return ctrl.Result{}, e.err
	case silentRetry:
		log.FromContext(ctx).V(1).Info("Trying again", "cause", e.err.Error())
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	if e.outcome.recheck > 0 {
		e.agenda.at(e.now.Add(e.outcome.recheck))
	}
	return ctrl.Result{RequeueAfter: e.agenda.after(e.now)}, nil
}

// backoff spreads what failed together, so that it does not come back together.
type backoff struct {
	workqueue.TypedRateLimiter[reconcile.Request]
}

func newBackoff() workqueue.TypedRateLimiter[reconcile.Request] {
	return backoff{workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstBackoff, longestBackoff)}
}

// When is up to half longer than the exponential backoff.
func (b backoff) When(request reconcile.Request) time.Duration {
	return utilwait.Jitter(b.TypedRateLimiter.When(request), 0.5)
}

// agenda is when to look again although nothing was seen to change: the earliest time that was put on it.
type agenda struct{ next time.Time }

func (a *agenda) at(t time.Time) {
	if a.next.IsZero() || t.Before(a.next) {
		a.next = t
	}
}

// atFuture puts a time on the agenda if it is still to come.
func (a *agenda) atFuture(t, now time.Time) {
	if t.After(now) {
		a.at(t)
	}
}

// after is the time left, at least a second, or 0 for never.
func (a *agenda) after(now time.Time) time.Duration {
	if a.next.IsZero() {
		return 0
	}
	return max(a.next.Sub(now), time.Second)
}
