package reconcile

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// leaseRecheck is how often a Lease is looked at, at most. A master renews it every two seconds, so that nobody watches it.
const leaseRecheck = 10 * time.Second

// overdue is how late the pass of a ClusterMaster may be to look at its Lease.
const overdue = time.Second

// Lease is what the Lease of a ClusterMaster showed when it was read: whether there is an active master, whatever the pods
// look like from elsewhere.
type Lease struct {
	// Object, with its kind and without its managed fields, is nil if there is none.
	Object *coordinationv1.Lease
	// HasHolder is false if nobody holds it, because its holder gave it back or it never had one.
	HasHolder bool
	// End is when whoever holds it is taken for gone if it stays as it is.
	End time.Time
	// Recheck is how soon to look again.
	Recheck time.Duration
}

// Lapsed reports whether nobody has renewed the Lease for longer than the alive timeout and its own duration.
func (l *Lease) Lapsed(now time.Time) bool { return !now.Before(l.End) }

// RecheckAt is when to look again.
func (l *Lease) RecheckAt(now time.Time) time.Time {
	at := now.Add(l.Recheck)
	if !l.Lapsed(now) && l.End.Before(at) {
		return l.End
	}
	return at
}

// Leases remember when this process saw the Lease of each ClusterMaster change. A Lease is judged by that and by nothing
// that is written in it: the time of its renewal is of the clock of another machine. It is safe for concurrent use.
type Leases struct {
	live client.Reader

	mu    sync.Mutex
	known map[client.ObjectKey]*known
}

// known is a Lease that was asked for.
type known struct {
	alive time.Duration // the alive timeout
	seen  Sighting
	next  time.Time // when it was to be looked at again
	told  bool      // that it has lapsed, since it was read for a pass
}

// Sighting is what was seen of one Lease. The zero value has seen nothing.
type Sighting struct {
	holder      string
	renewed     time.Time // by the clock of its holder: compared with itself only
	since, last time.Time
}

// Look notes what a Lease says now, and returns since when it has been seen to say so. Where it was not looked at for longer
// than gap, it counts as seen for the first time.
func (s *Sighting) Look(spec coordinationv1.LeaseSpec, now time.Time, gap time.Duration) (since time.Time) {
	is := Sighting{holder: ptr.Deref(spec.HolderIdentity, ""), renewed: ptr.Deref(spec.RenewTime, metav1.MicroTime{}).Time, since: now, last: now}
	if !s.last.IsZero() && is.holder == s.holder && is.renewed.Equal(s.renewed) && now.Sub(s.last) <= gap {
		is.since = s.since
	}
	*s = is
	return is.since
}

// NewLeases returns Leases that have seen nothing. live is the API server: Leases are not cached.
func NewLeases(live client.Reader) *Leases {
	return &Leases{live: live, known: map[client.ObjectKey]*known{}}
}

// Read looks at the Lease of a ClusterMaster now. Where the API server or this process may have been away since it was
// looked at before, it counts as seen for the first time: its holder could not renew it, or nobody saw that it did.
func (l *Leases) Read(ctx context.Context, m *v1alpha1.ClusterMaster, now time.Time) (*Lease, error) {
	key := client.ObjectKeyFromObject(m)
	l.mu.Lock()
	k := l.known[key]
	if k == nil {
		k = &known{}
		l.known[key] = k
	}
	k.alive = time.Duration(m.Spec.Protocol.AliveTimeoutSeconds) * time.Second
	l.mu.Unlock()
	lease, err := l.look(ctx, key, k, now)
	if err == nil && !lease.Lapsed(now) {
		l.mu.Lock()
		k.told = false
		l.mu.Unlock()
	}
	return lease, err
}

// look reads a Lease and judges it.
func (l *Leases) look(ctx context.Context, key client.ObjectKey, k *known, now time.Time) (*Lease, error) {
	name := (&v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Name: key.Name}}).LeaseName()
	found := &coordinationv1.Lease{}
	err := l.live.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: name}, found)
	l.mu.Lock()
	defer l.mu.Unlock()
	if client.IgnoreNotFound(err) != nil {
		k.seen, k.next = Sighting{}, now.Add(recheck(k.alive))
		return nil, fmt.Errorf("read Lease %s: %w", name, err)
	}
	lease := &Lease{}
	if !apierrors.IsNotFound(err) {
		found.SetManagedFields(nil)
		found.SetGroupVersionKind(coordinationv1.SchemeGroupVersion.WithKind("Lease"))
		lease.Object = found
	}
	// An alive timeout may be shorter than a Lease is valid for.
	patience := max(k.alive, time.Duration(ptr.Deref(found.Spec.LeaseDurationSeconds, 0))*time.Second)
	lease.Recheck = recheck(patience)
	since := k.seen.Look(found.Spec, now, 2*lease.Recheck)
	k.next = now.Add(lease.Recheck)
	lease.HasHolder, lease.End = k.seen.holder != "", since.Add(patience)
	return lease, nil
}

// recheck is how soon to look again at a Lease whose holder is taken for gone after patience.
func recheck(patience time.Duration) time.Duration {
	return min(leaseRecheck, max(patience/3, time.Second))
}

// Watch looks, until ctx is done, at the Leases that no pass looks at in time, since a pass that fails is tried again later
// and later: what happens to a Lease does not depend on it. lapsed is called when a Lease lapses so, once between two passes.
func (l *Leases) Watch(ctx context.Context, clk clock.PassiveClock, lapsed func(master client.ObjectKey)) {
	wait.UntilWithContext(ctx, func(ctx context.Context) { l.lookAtOverdue(ctx, clk, lapsed) }, overdue)
}

func (l *Leases) lookAtOverdue(ctx context.Context, clk clock.PassiveClock, lapsed func(master client.ObjectKey)) {
	now := clk.Now()
	l.mu.Lock()
	late := map[client.ObjectKey]*known{}
	for key, k := range l.known {
		if now.Sub(k.next) >= overdue {
			late[key] = k
		}
	}
	l.mu.Unlock()
	for key, k := range late {
		now = clk.Now() // reading another may have taken long
		lease, err := l.look(ctx, key, k, now)
		if err != nil || !lease.Lapsed(now) {
			continue // a pass shows what is wrong
		}
		l.mu.Lock()
		told := k.told
		k.told = true
		l.mu.Unlock()
		if !told {
			lapsed(key)
		}
	}
}

// Forget drops what was seen of the Lease of a ClusterMaster.
func (l *Leases) Forget(master client.ObjectKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.known, master)
}
