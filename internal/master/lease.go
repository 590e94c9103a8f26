package master

import (
	"context"
	"time"

	coordination "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
)

// lease is the Lease that the active master of a ClusterMaster holds, as one process sees it. It is not for concurrent use.
//
// It is held by the rules of client-go's elector. But an elector ends with the first renewal that fails for too long; this can
// be tried for as long as it takes.
type lease struct {
	client          coordinationv1.LeaseInterface
	name, identity  string
	duration        time.Duration
	clock           clock.PassiveClock
	patience        time.Duration // a gap between two reads that is longer starts the observation over
	seen            coordination.LeaseSpec
	since, lastRead time.Time // when seen was seen first, and last
}

// standing is what a try at the Lease had as its outcome.
type standing int

const (
	// unknown: it could neither be read nor renewed, in most cases as the API server does not answer.
	unknown standing = iota
	// held: this process holds it, from the moment of the try on for its duration.
	held
	// taken: another process holds it.
	taken
)

// try reads the Lease and takes or renews it. The Lease of another is taken when it was not renewed for its duration, by this
// process' clock and while it was read again and again: a process that could not read it gives its holder the same time again
// to renew it. So a standby does not take over from a master that waited for the same API server.
// The operator makes the Lease, so that it goes with its ClusterMaster.
func (l *lease) try(ctx context.Context) (is standing, err error) {
	for range 2 { // whatever was written to it between is read, and seldom says who holds it
		if is, err = l.once(ctx); !apierrors.IsConflict(err) {
			break
		}
	}
	return is, err
}

func (l *lease) once(ctx context.Context) (standing, error) {
	found, err := l.client.Get(ctx, l.name, metav1.GetOptions{})
	if err != nil {
		return unknown, err
	}
	l.observe(found.Spec)
	if holder := l.holder(); holder != "" && holder != l.identity && !l.expired() {
		return taken, nil
	}
	l.renew(&found.Spec)
	if _, err = l.client.Update(ctx, found, metav1.UpdateOptions{}); err != nil {
		return unknown, err
	}
	l.observe(found.Spec)
	return held, nil
}

// observe notes what was read.
func (l *lease) observe(spec coordination.LeaseSpec) {
	now := l.clock.Now()
	changed := ptr.Deref(spec.HolderIdentity, "") != l.holder() || !spec.RenewTime.Equal(l.seen.RenewTime)
	if changed || l.since.IsZero() || now.Sub(l.lastRead) > l.patience {
		l.since = now
	}
	l.seen, l.lastRead = spec, now
}

func (l *lease) expired() bool {
	return l.clock.Since(l.since) >= time.Duration(ptr.Deref(l.seen.LeaseDurationSeconds, 0))*time.Second
}

// holder is who held the Lease when it was read last; "" for nobody.
func (l *lease) holder() string { return ptr.Deref(l.seen.HolderIdentity, "") }

// renew makes this process the holder, from now on.
func (l *lease) renew(spec *coordination.LeaseSpec) {
	now := metav1.NewMicroTime(l.clock.Now())
	if ptr.Deref(spec.HolderIdentity, "") != l.identity {
		spec.HolderIdentity, spec.AcquireTime = &l.identity, &now
		spec.LeaseTransitions = ptr.To(ptr.Deref(spec.LeaseTransitions, 0) + 1)
	}
	spec.RenewTime = &now
	spec.LeaseDurationSeconds = ptr.To(int32(l.duration / time.Second))
}

// release gives the Lease back, if this process holds it, so that the next try of another process takes it. It reports whether
// it did.
func (l *lease) release(ctx context.Context) (bool, error) {
	found, err := l.client.Get(ctx, l.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || (err == nil && ptr.Deref(found.Spec.HolderIdentity, "") != l.identity) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	found.Spec.HolderIdentity = nil
	_, err = l.client.Update(ctx, found, metav1.UpdateOptions{})
	return err == nil, err
}
