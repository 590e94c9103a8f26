package apply

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// awaited is for how long after a write a cache that does not show it counts as behind. Usually it is behind for milliseconds.
// The bound is for what resource versions and generations cannot tell: that etcd was restored from a snapshot, so that both went
// back and the write is gone. Too short a bound costs a needless write, and no bound would end every pass until a restart.
const awaited = 30 * time.Second

// Status applies desired, which holds nothing but the status of object, to its status subresource. The caller has
// checked that it differs. Fields of desired that another field owner has are taken over.
func (a *Applier) Status(ctx context.Context, object client.Object, desired Configuration, owner client.FieldOwner) error {
	want, err := toUnstructured(desired)
	if err != nil {
		return err
	}
	want.SetUID(object.GetUID())
	if err := a.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(want),
		owner, client.ForceOwnership); err != nil {
		return fmt.Errorf("write the status of %s %s: %w", want.GetKind(), want.GetName(), err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.memoryOf(object).status = statusRecord{want.GetResourceVersion(), a.clock.Now()}
	return nil
}

// Behind returns for how long object counts as read from a cache that has not yet seen the last write of its status; 0 for not
// at all. The event of that write is still to come.
func (a *Applier) Behind(object client.Object) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, ok := a.owners[client.ObjectKeyFromObject(object)]
	if !ok || last.uid != object.GetUID() || !newer(last.status.resourceVersion, object.GetResourceVersion()) {
		return 0
	}
	return max(0, awaited-a.clock.Since(last.status.at))
}

// Forget drops what is remembered of an owner that is gone.
func (a *Applier) Forget(owner client.ObjectKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.owners, owner)
}

// newer compares resource versions, which are ordered (KEP-5504). What cannot be compared is not newer.
func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}
