package master

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

const (
	// coalesceRefinery is how long changes of one Refinery are collected into one write.
	coalesceRefinery = 100 * time.Millisecond
	// coalesceTotals is the same for the ClusterMaster's totals.
	coalesceTotals = time.Second
	// writers is the number of status writes in flight at once.
	writers = 4
	// writeTimeout bounds one status write.
	writeTimeout = 10 * time.Second
)

// totalsKey is the queue's key for the ClusterMaster's totals; every other key is a Refinery's name.
const totalsKey = ""

// reporter writes what the registry knows into the status of Refineries, and totals into that of the ClusterMaster. It writes
// the latest state, after changes only and only if status differs, with one write in flight for each object.
type reporter struct {
	client    client.Client
	directory *directory
	registry  *registry
	loaded    func() reportedCertificates
	term      tenure
	events    events.EventRecorder
	metrics   *metrics
	clock     clock.WithTicker
	log       logr.Logger
	permit    *permit
	// deposed is called when the API server says that a newer master is active.
	deposed func()

	queue workqueue.TypedRateLimitingInterface[string]

	mu      sync.Mutex
	written map[string]written // own writes that the watch has not reported yet
	totals  *writtenTotals     // the same of the ClusterMaster
}

type written struct {
	write
	report *report
}

type writtenTotals struct {
	write
	loaded reportedCertificates
	totals *masterTotals
}

// write is an own write that the watch has not reported yet.
type write struct {
	resourceVersion string
	at              time.Time
}

// awaited is for how long a write is expected to come back by the watch. The bound is for an etcd that was restored from a
// snapshot: resource versions went back, and the write is gone. Too short a bound costs a needless write.
const awaited = 30 * time.Second

// awaitedFor returns for how long a watched version of an object counts as one from before the write; 0 for not at all.
func (w write) awaitedFor(watched string, now time.Time) time.Duration {
	if !older(watched, w.resourceVersion) {
		return 0
	}
	return max(0, awaited-now.Sub(w.at))
}

// newReporter returns the reporter of a term. It writes nothing before Run.
func newReporter(c client.Client, d *directory, registry *registry, loaded func() reportedCertificates, term tenure, e events.EventRecorder, m *metrics,
	clk clock.WithTicker, log logr.Logger, p *permit, deposed func(),
) *reporter {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](200*time.Millisecond, 30*time.Second)
	return &reporter{
		client: c, directory: d, registry: registry, loaded: loaded, term: term, events: e, metrics: m, clock: clk, log: log, permit: p, deposed: deposed,
		queue:   workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[string]{Clock: clk}),
		written: map[string]written{},
	}
}

// Changed schedules a comparison of a Refinery's status, if there is one, and of the totals, soon after some time.
func (r *reporter) Changed(refinery string, after time.Duration) {
	if refinery != totalsKey {
		r.queue.AddAfter(refinery, after+coalesceRefinery)
	}
	r.queue.AddAfter(totalsKey, after+coalesceTotals)
}

// TotalsChanged schedules a comparison of the totals.
func (r *reporter) TotalsChanged() { r.queue.AddAfter(totalsKey, coalesceTotals) }

// Run writes until ctx is done, and returns when no write is in flight.
func (r *reporter) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, r.queue.ShutDown)
	defer stop()
	var workers sync.WaitGroup
	for range writers {
		workers.Go(func() {
			for r.next(ctx) {
			}
		})
	}
	workers.Wait()
}

func (r *reporter) next(ctx context.Context) bool {
	key, done := r.queue.Get()
	if done {
		return false
	}
	defer r.queue.Done(key)
	if !r.permit.WaitToReport(ctx) {
		return true
	}
	report := r.reportRefinery
	if key == totalsKey {
		report = r.reportTotals
	}
	if err := report(ctx, key); err != nil && ctx.Err() == nil {
		r.log.Error(err, "cannot write status; trying again", "refinery", key)
		r.queue.AddRateLimited(key)
		return true
	}
	r.queue.Forget(key)
	return true
}

// reportRefinery writes one Refinery's status if it differs.
func (r *reporter) reportRefinery(ctx context.Context, name string) error {
	refinery := r.directory.Refinery(name)
	if refinery == nil || refinery.DeletionTimestamp != nil {
		r.forget(name)
		return nil
	}
	snapshot := r.registry.Snapshot(name)
	if !snapshot.Next.IsZero() {
		r.Changed(name, max(0, snapshot.Next.Sub(r.clock.Now())))
	}
	before := r.reported(refinery)
	report := newReport(refinery, snapshot, before, metav1.NewTime(r.clock.Now()))
	report.Condition.Message += sharedNote(r.directory.Policy(), r.directory.Membership(), refinery)
	if policy := r.directory.Policy(); policy != nil && policy.Changing() {
		report.Authenticated.Security = byMode(r.registry.Modes(name))
	}
	if report.Equal(before) {
		return nil
	}
	apply := refineryStatus(refinery.Namespace, name, report, r.term)
	started := r.clock.Now()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := r.client.Status().Apply(ctx, apply, client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)
	if err != nil {
		return r.failed(ctx, "Refinery", err, started)
	}
	r.metrics.wrote("Refinery", "ok", r.clock.Since(started))
	if apply.ResourceVersion != nil {
		r.mu.Lock()
		r.written[name] = written{write{*apply.ResourceVersion, r.clock.Now()}, report}
		r.mu.Unlock()
	}
	announce(r.events, refinery, before.Nodes, report.Nodes)
	return nil
}

// reportTotals writes the ClusterMaster's totals, and which certificates are loaded, if they differ.
func (r *reporter) reportTotals(ctx context.Context, _ string) error {
	m := r.directory.Master()
	if m == nil || m.DeletionTimestamp != nil {
		return nil
	}
	totals, partial := newTotals(r.directory, r.registry)
	if partial {
		r.queue.AddAfter(totalsKey, coalesceTotals)
		return nil
	}
	if _, after := r.registry.Strangers(); after > 0 {
		r.queue.AddAfter(totalsKey, after)
	}
	loaded := r.loaded()
	if before := r.reportedTotals(m); totals.Equal(before.totals) && loaded.Equal(before.loaded) {
		return nil
	}
	apply := masterStatus(m.Namespace, m.Name, r.term, loaded, totals)
	started := r.clock.Now()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := r.client.Status().Apply(ctx, apply, client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)
	if err != nil {
		return r.failed(ctx, "ClusterMaster", err, started)
	}
	r.metrics.wrote("ClusterMaster", "ok", r.clock.Since(started))
	if apply.ResourceVersion != nil {
		r.mu.Lock()
		r.totals = &writtenTotals{write{*apply.ResourceVersion, r.clock.Now()}, loaded, totals}
		r.mu.Unlock()
	}
	return nil
}

// failed handles the error of a status write: the object is gone, a newer master is active, or the write must be tried again,
// for which it returns the error. Which master is the newest the ClusterMaster alone says: what stands in one Refinery deposes
// nobody.
func (r *reporter) failed(ctx context.Context, kind string, err error, started time.Time) error {
	took := r.clock.Since(started)
	switch {
	case apierrors.IsNotFound(err):
		r.metrics.wrote(kind, "gone", took)
		return nil // the watch will report the deletion
	case apierrors.IsInvalid(err):
		if newest := r.newest(ctx); newest > r.term.Epoch {
			r.metrics.wrote(kind, "deposed", took)
			r.log.Info("a newer master is active; this one steps down", "epoch", r.term.Epoch, "newer", newest)
			r.deposed()
			return nil
		}
	}
	r.metrics.wrote(kind, "error", took)
	return err
}

// newest is the epoch in the status of the ClusterMaster as the API server has it; 0 if that is not known.
func (r *reporter) newest(ctx context.Context) int64 {
	m := r.directory.Master()
	if m == nil {
		return 0
	}
	var live v1alpha1.ClusterMaster
	if err := r.client.Get(ctx, client.ObjectKeyFromObject(m), &live); err != nil || live.Status.Active == nil {
		return 0
	}
	return live.Status.Active.Epoch
}

// reported is what the Refinery's status says: from the watch, or from an own write that the watch has not reported yet.
func (r *reporter) reported(refinery *v1alpha1.Refinery) *report {
	r.mu.Lock()
	defer r.mu.Unlock()
	if own, ok := r.written[refinery.Name]; ok {
		if left := own.awaitedFor(refinery.ResourceVersion, r.clock.Now()); left > 0 {
			r.queue.AddAfter(refinery.Name, left)
			return own.report
		}
		delete(r.written, refinery.Name)
	}
	return reportIn(&refinery.Status)
}

// reportedTotals is the same for the ClusterMaster.
func (r *reporter) reportedTotals(m *v1alpha1.ClusterMaster) writtenTotals {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.totals != nil {
		if left := r.totals.awaitedFor(m.ResourceVersion, r.clock.Now()); left > 0 {
			r.queue.AddAfter(totalsKey, left)
			return *r.totals
		}
		r.totals = nil
	}
	standing := writtenTotals{write{}, certificatesIn(&m.Status), totalsIn(&m.Status)}
	if m.ActivePod() != r.term.Pod { // the operator took this master for gone
		standing.totals = nil
	}
	return standing
}

// older reports whether a watched version of an object is from before an own write.
func older(watched, own string) bool {
	order, err := resourceversion.CompareResourceVersion(watched, own)
	return err == nil && order < 0
}

func (r *reporter) forget(name string) {
	r.registry.Forget(name)
	r.mu.Lock()
	delete(r.written, name)
	r.mu.Unlock()
}
