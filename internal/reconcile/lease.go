package reconcile

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

const (
	// leaseRecheck is how often the Lease of a master that is active is looked at. It renews every two
	// seconds, so that nobody watches it.
	leaseRecheck = time.Minute
	// lapsedRecheck is how often one that has lapsed is.
	lapsedRecheck = 10 * time.Second
)

// Lease is what the Lease of a ClusterMaster said when it was read: whether there is an active master,
// whatever the pods look like from elsewhere.
type Lease struct {
	HasHolder bool
	// End is when the alive timeout since its last renewal is over; zero if there never was one.
	End time.Time
}

// Lapsed reports whether nobody has held the Lease for longer than the alive timeout. The last renewal bears the
// time of the master's clock, so that a clock that is wrong by as much is taken for a master that is gone.
func (l *Lease) Lapsed(now time.Time) bool { return !now.Before(l.End) }

// ReadLease asks the API server: Leases are not cached.
func ReadLease(ctx context.Context, live client.Reader, m *v1alpha1.ClusterMaster) (*Lease, error) {
	found := &coordinationv1.Lease{}
	err := live.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: m.LeaseName()}, found)
	if apierrors.IsNotFound(err) {
		return &Lease{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Lease %s: %w", m.LeaseName(), err)
	}
	l := &Lease{HasHolder: found.Spec.HolderIdentity != nil && *found.Spec.HolderIdentity != ""}
	if renewed := found.Spec.RenewTime; renewed != nil {
		patience := aliveTimeout(m)
		if seconds := found.Spec.LeaseDurationSeconds; seconds != nil { // an alive timeout may be shorter than that
			patience = max(patience, time.Duration(*seconds)*time.Second)
		}
		l.End = renewed.Add(patience)
	}
	return l, nil
}

func aliveTimeout(m *v1alpha1.ClusterMaster) time.Duration {
	return time.Duration(m.Spec.Protocol.AliveTimeoutSeconds) * time.Second
}

// RecheckAt is when to look again at the Lease of a master that was active.
func (l *Lease) RecheckAt(now time.Time) time.Time {
	if l.Lapsed(now) {
		return now.Add(lapsedRecheck)
	}
	return now.Add(leaseRecheck)
}

// MasterInDoubt is from when on a ClusterMaster may have no active master, by its own conditions: the alive
// timeout after its last available pod went, or since its Lease was found lapsed. Zero means that it has one.
func MasterInDoubt(m *v1alpha1.ClusterMaster) time.Time {
	if c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionAvailable); c != nil && c.Status == metav1.ConditionFalse {
		return c.LastTransitionTime.Add(aliveTimeout(m))
	}
	c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
	if c != nil && c.Reason == v1alpha1.ReasonNoActiveMaster && m.Status.Active != nil {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}
