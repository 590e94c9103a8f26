package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

const (
	// namespaceClaim is the Lease by which a release holds a namespace that it works in.
	namespaceClaim = "release.cluster.refinery.dev"
	// claimDuration is how long a Lease stays unchanged until its release is taken for gone.
	claimDuration = time.Minute
	// claimInterval is how often a claim is renewed, or tried again.
	claimInterval = claimDuration / 4
	// ofMany is how much longer the claims on single namespaces last of a release that watches all, of which there may be
	// thousands: so few writes at rest, and five minutes until another one may have such a namespace.
	ofMany = 5
	// claimRetry bounds how often passes try a claim that failed.
	claimRetry = time.Second
)

// clusterClaim is the Lease by which a release holds all namespaces that no other holds. Every cluster has this namespace, and
// few may write there.
var clusterClaim = client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: "cluster.refinery.dev"}

// claims keep two releases of the operator from working on the same objects. A release that watches all namespaces
// holds the claim on the cluster, and then the claim on each namespace where there are objects; one that watches some holds
// those. Only the elected operator of a release makes claims, and they bear the name of the release, so that the next one
// elected goes on with them.
type claims struct {
	release            string
	labels             map[string]string // of each Lease
	clock              clock.WithTicker
	log                logr.Logger
	held               *prometheus.GaugeVec
	interval, duration time.Duration

	mu         sync.Mutex
	api        client.Client // not cached
	objects    client.Reader // cached
	namespaces []string      // none: all
	byKey      map[client.ObjectKey]*claim
}

// claim is one Lease.
type claim struct {
	key   client.ObjectKey
	state atomic.Pointer[claimState] // nil until it was tried

	mu    sync.Mutex // one try at a time
	lease *coordinationv1.Lease
	seen  reconcile.Sighting
	tried time.Time
}

// claimState is how the last try ended.
type claimState struct {
	until time.Time // held until then, also if it cannot be renewed
	other string    // the release that holds it
	err   error
}

func newClaims(release string, labels map[string]string, clk clock.WithTicker, log logr.Logger) *claims {
	return &claims{release: release, labels: labels, clock: clk, log: log, interval: claimInterval, duration: claimDuration, byKey: map[client.ObjectKey]*claim{},
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "refinery_operator_namespace_claimed",
			Help: "1 for a namespace that this release of the operator works in, 0 for one that another release holds or that cannot be claimed; " +
				"an empty namespace is the claim on the whole cluster."}, []string{"namespace"})}
}

// Use tells what the next manager works with.
func (c *claims) Use(api client.Client, objects client.Reader, namespaces []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.api, c.objects, c.namespaces = api, objects, namespaces
}

// Holds implements controllers.Claims.
func (c *claims) Holds(ctx context.Context, namespace string) (again time.Duration) {
	key := client.ObjectKey{Namespace: namespace, Name: namespaceClaim}
	if len(c.watched()) == 0 && !c.holds(ctx, clusterClaim) || !c.holds(ctx, key) {
		return c.interval
	}
	return 0
}

func (c *claims) holds(ctx context.Context, key client.ObjectKey) bool {
	cl := c.claim(key)
	if s := cl.state.Load(); s == nil || s.err != nil && !c.current(s) {
		c.try(ctx, cl, claimRetry)
	}
	return c.current(cl.state.Load())
}

// current reports whether what was held is held still.
func (c *claims) current(s *claimState) bool { return s != nil && c.clock.Now().Before(s.until) }

// Run renews claims, and tries those that another release holds, until ctx is done.
func (c *claims) Run(ctx context.Context) error {
	ticker := c.clock.NewTicker(c.interval)
	defer ticker.Stop()
	for {
		c.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

func (c *claims) round(ctx context.Context) {
	if namespaces := c.watched(); len(namespaces) > 0 {
		for _, namespace := range namespaces {
			c.try(ctx, c.claim(client.ObjectKey{Namespace: namespace, Name: namespaceClaim}), 0)
		}
		return
	}
	whole := c.claim(clusterClaim)
	c.try(ctx, whole, 0)
	if !c.current(whole.state.Load()) {
		return // what was claimed of it is for the release that has it now
	}
	for _, cl := range c.known() {
		if cl == whole {
			continue
		}
		if used, err := c.used(ctx, cl.key.Namespace); err == nil && !used {
			c.drop(cl.key)
			continue
		}
		within := time.Duration(0)
		if c.current(cl.state.Load()) {
			within = c.lasts(cl.key) / 4
		}
		c.try(ctx, cl, within)
	}
}

// lasts is how long a claim of this release is good for others.
func (c *claims) lasts(key client.ObjectKey) time.Duration {
	if key != clusterClaim && len(c.watched()) == 0 {
		return ofMany * c.duration
	}
	return c.duration
}

// used reports whether there are objects to work on in a namespace.
func (c *claims) used(ctx context.Context, namespace string) (bool, error) {
	c.mu.Lock()
	objects := c.objects
	c.mu.Unlock()
	in := []client.ListOption{client.InNamespace(namespace), client.Limit(1), client.UnsafeDisableDeepCopy}
	masters, refineries := &v1alpha1.ClusterMasterList{}, &v1alpha1.RefineryList{}
	if err := errors.Join(objects.List(ctx, masters, in...), objects.List(ctx, refineries, in...)); err != nil {
		return false, err
	}
	return len(masters.Items)+len(refineries.Items) > 0, nil
}

// try tries to get or renew a claim, unless it was tried within a time.
func (c *claims) try(ctx context.Context, cl *claim, within time.Duration) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	now := c.clock.Now()
	if within > 0 && !cl.tried.IsZero() && now.Sub(cl.tried) < within {
		return
	}
	cl.tried = now
	before := cl.state.Load()
	is := claimState{}
	other, err := c.write(ctx, cl, now)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		is.err = fmt.Errorf("cannot write Lease %s: %w", cl.key, err)
		if before != nil {
			is.until = before.until
		}
	case other != "":
		is.other = other
	default: // others look for a whole duration before they take it
		is.until = now.Add(c.lasts(cl.key) * 2 / 3)
	}
	cl.state.Store(&is)
	c.tell(cl.key, before, &is)
}

// write makes the Lease this release's, or renews it. other is the release that holds it instead.
func (c *claims) write(ctx context.Context, cl *claim, now time.Time) (other string, err error) {
	c.mu.Lock()
	api := c.api
	c.mu.Unlock()
	if cl.lease != nil {
		cl.lease.Spec.RenewTime = ptr.To(metav1.NewMicroTime(now))
		if err := api.Update(ctx, cl.lease); err == nil || !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return "", err
		}
	}
	cl.lease = nil
	lease := &coordinationv1.Lease{}
	err = api.Get(ctx, cl.key, lease)
	if client.IgnoreNotFound(err) != nil {
		return "", err
	}
	missing := err != nil
	holder := ptr.Deref(lease.Spec.HolderIdentity, "")
	unchanged := now.Sub(cl.seen.Look(lease.Spec, now, 2*c.interval))
	if holder != "" && holder != c.release && unchanged < c.patience(lease) {
		return holder, nil
	}
	if holder != c.release {
		lease.Spec.HolderIdentity, lease.Spec.AcquireTime = ptr.To(c.release), ptr.To(metav1.NewMicroTime(now))
		lease.Spec.LeaseTransitions = ptr.To(ptr.Deref(lease.Spec.LeaseTransitions, 0) + 1)
	}
	lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = ptr.To(int32(c.lasts(cl.key).Seconds())), ptr.To(metav1.NewMicroTime(now))
	if lease.Labels == nil {
		lease.Labels = map[string]string{}
	}
	maps.Copy(lease.Labels, c.labels)
	lease.Labels[resource.LabelManagedBy] = resource.ManagedBy
	if missing {
		lease.Namespace, lease.Name = cl.key.Namespace, cl.key.Name
		err = api.Create(ctx, lease)
	} else {
		err = api.Update(ctx, lease)
	}
	if err == nil {
		cl.lease = lease
	}
	return "", err
}

// patience is how long the Lease of another release may stay unchanged. What it says of that is bounded. A claim that lasts
// longer is of a release that watches all namespaces, and works nowhere once this one has the claim on the cluster.
func (c *claims) patience(lease *coordinationv1.Lease) time.Duration {
	says := time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 0)) * time.Second
	if says > c.duration && lease.Name == namespaceClaim && len(c.watched()) == 0 {
		return 0
	}
	return max(c.duration, min(says, ofMany*c.duration))
}

// tell logs and counts what has changed.
func (c *claims) tell(key client.ObjectKey, before, is *claimState) {
	if before == nil {
		before = &claimState{}
	}
	log := c.log.WithValues("namespace", namespaceOf(key))
	switch {
	case is.err != nil && before.err == nil:
		log.Info("this namespace cannot be claimed; it is tried again", "reason", is.err.Error())
	case is.other != "" && is.other != before.other:
		log.Info("another release of the operator works here", "reason", c.refusal(key, is.other).Error())
	case is.err == nil && is.other == "" && (before.err != nil || before.other != ""):
		log.Info("this release works here from now on")
	}
	value := 0.
	if c.current(is) {
		value = 1
	}
	c.held.WithLabelValues(namespaceOf(key)).Set(value)
}

// refusal is a sentence about who holds a claim, and what to do.
func (c *claims) refusal(key client.ObjectKey, other string) error {
	if key == clusterClaim {
		return fmt.Errorf("release %s of the operator works in all namespaces, so this one, %s, works in none: "+
			"uninstall one of them, or set watchNamespaces of both", other, c.release)
	}
	return fmt.Errorf("release %s of the operator works in namespace %s, so this one, %s, does not: "+
		"uninstall one of them, or take the namespace out of its watchNamespaces", other, key.Namespace, c.release)
}

// Why returns why this release does not work where it should, or nil. That others hold some namespaces is nothing to be said
// against one that watches all, unless they hold every one where there are objects.
func (c *claims) Why() error {
	namespaces := c.watched()
	if len(namespaces) > 0 {
		var reasons []error
		for _, namespace := range namespaces {
			reasons = append(reasons, c.why(client.ObjectKey{Namespace: namespace, Name: namespaceClaim}))
		}
		return errors.Join(reasons...)
	}
	if why := c.why(clusterClaim); why != nil {
		return why
	}
	var reasons []error
	for _, cl := range c.known() {
		if cl.key == clusterClaim {
			continue
		}
		why := c.why(cl.key)
		if why == nil {
			return nil
		}
		reasons = append(reasons, why)
	}
	return errors.Join(reasons...)
}

func (c *claims) why(key client.ObjectKey) error {
	switch s := c.claim(key).state.Load(); {
	case c.current(s):
		return nil
	case s == nil:
		return fmt.Errorf("did not look at Lease %s yet", key)
	case s.other != "":
		return c.refusal(key, s.other)
	case s.err != nil:
		return s.err
	}
	return fmt.Errorf("could not renew Lease %s in time", key)
}

func (c *claims) watched() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.namespaces
}

// claim returns the one of a Lease.
func (c *claims) claim(key client.ObjectKey) *claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl, ok := c.byKey[key]
	if !ok {
		cl = &claim{key: key}
		c.byKey[key] = cl
	}
	return cl
}

// known are all claims, sorted.
func (c *claims) known() []*claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := make([]*claim, 0, len(c.byKey))
	for _, cl := range c.byKey {
		known = append(known, cl)
	}
	slices.SortFunc(known, func(a, b *claim) int { return cmp.Compare(a.key.String(), b.key.String()) })
	return known
}

// drop renews a claim no more.
func (c *claims) drop(key client.ObjectKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byKey, key)
	c.held.DeleteLabelValues(key.Namespace)
}

// namespaceOf is the namespace that a claim is on, "" for all.
func namespaceOf(key client.ObjectKey) string {
	if key == clusterClaim {
		return ""
	}
	return key.Namespace
}
