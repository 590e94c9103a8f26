package master

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// election makes one master process the active one.
type election struct {
	Leases          coordinationv1.LeasesGetter
	Namespace, Name string // of the Lease
	// Identity is the pod's name, so that a container that restarts takes its own Lease back at once.
	Identity string
	// LeaseDuration is after how long others take over from a holder that does not renew; RenewDeadline, which must be shorter,
	// after how long the holder gives up by itself; RetryPeriod the time between two tries of either.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
	Clock                                     clock.Clock
	Log                                       logr.Logger
}

// releaseTimeout bounds how long a process that ends waits for the release of its Lease.
const releaseTimeout = 2 * time.Second

// Run campaigns until ctx is done. Each time it wins the Lease it calls lead, whose context ends when the Lease is lost or ctx
// is done. It releases the Lease after lead has returned, so that never two masters let nodes in and report. After a term it
// stands by again; an error of lead ends Run.
func (e *election) Run(ctx context.Context, lead func(ctx context.Context) error) error {
	for ctx.Err() == nil {
		if err := e.campaign(ctx, lead); err != nil {
			return err
		}
		select { // a term that ended leaves others the time to win the next
		case <-ctx.Done():
		case <-e.Clock.After(e.RetryPeriod):
		}
	}
	return nil
}

func (e *election) campaign(ctx context.Context, lead func(ctx context.Context) error) error {
	leaseCtx, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	won := make(chan context.Context, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name},
			Client:     e.Leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: e.Identity},
		},
		LeaseDuration: e.LeaseDuration, RenewDeadline: e.RenewDeadline, RetryPeriod: e.RetryPeriod,
		ReleaseOnCancel: true,
		Name:            e.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { won <- ctx },
			OnStoppedLeading: func() {},
			OnNewLeader:      func(holder string) { e.Log.Info("the Lease has a new holder", "pod", holder) },
		},
	})
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		elector.Run(leaseCtx)
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	case leading := <-won:
		termCtx, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(leading, cancel)
		err = lead(termCtx)
		stop()
		cancel()
	}
	release()
	if ctx.Err() == nil {
		<-ended
		return err
	}
	select {
	case <-ended:
	case <-e.Clock.After(releaseTimeout): // the API server does not answer, and the Lease runs out by itself
	}
	return err
}

// claimTimeout bounds the claim of an epoch.
const claimTimeout = 8 * time.Second

// claim takes the next epoch of a ClusterMaster by compare-and-swap on status.active, so that no two terms have the same. It is
// also above reported, the newest epoch in the status of a Refinery: a ClusterMaster that was deleted and created again does
// not start over. c must read from the API server, not from a cache. The write shows which certificates are loaded, and keeps
// everything else that the field owner owns.
func claim(ctx context.Context, c client.Client, key client.ObjectKey, pod string, reported int64, loaded reportedCertificates, clk clock.PassiveClock) (tenure, error) {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	var term tenure
	err := retry.OnError(retry.DefaultBackoff, apierrors.IsConflict, func() error {
		var m v1alpha1.ClusterMaster
		if err := c.Get(ctx, key, &m); err != nil {
			return err
		}
		term = tenure{Pod: pod, Epoch: reported + 1, Since: metav1.NewTime(clk.Now()).Rfc3339Copy()}
		if m.Status.Active != nil {
			term.Epoch = max(term.Epoch, m.Status.Active.Epoch+1)
		}
		apply := masterStatus(key.Namespace, key.Name, term, loaded, totalsIn(&m.Status)).WithResourceVersion(m.ResourceVersion)
		return c.Status().Apply(ctx, apply, client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)
	})
	if err != nil {
		return tenure{}, fmt.Errorf("claim the next epoch of ClusterMaster %s: %w", key, err)
	}
	return term, nil
}
