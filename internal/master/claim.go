package master

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// claimTimeout bounds the claim of an epoch.
const claimTimeout = 8 * time.Second

// claim takes the next epoch of a ClusterMaster by compare-and-swap on status.active, so that no two terms have the same. It is
// also above reported, the newest epoch in the status of a Refinery: a ClusterMaster that was deleted and created again does
// not start over. One that is absurdly far ahead of the ClusterMaster's own is no master's: it is ignored, and the operator
// takes it back. c must read from the API server, not from a cache. The write shows which certificates are loaded, and keeps
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
		term = tenure{Pod: pod, Epoch: reported + 1, Since: metav1.NewTime(clk.Now()).Rfc3339Copy(), Former: m.ActivePod()}
		if active := m.Status.Active; active != nil && (reported < active.Epoch || reported >= active.Epoch+v1alpha1.MaxEpochStep) {
			term.Epoch = active.Epoch + 1
		}
		apply := masterStatus(key.Namespace, key.Name, term, loaded, totalsIn(&m.Status)).WithResourceVersion(m.ResourceVersion)
		return c.Status().Apply(ctx, apply, client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)
	})
	if err != nil {
		return tenure{}, fmt.Errorf("claim the next epoch of ClusterMaster %s: %w", key, err)
	}
	return term, nil
}
