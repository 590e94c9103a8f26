package rotation

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// Rotation is what a pass found of the rotation of an authority.
type Rotation struct {
	State
	Progress Progress
	// CutOff names who was cut off by a step of this pass that was forced; "" for nobody.
	CutOff string
}

// Store keeps the state of a rotation in a Secret.
type Store interface {
	// load returns the state as reader has it, nil if there is nothing to rotate, and the authority with everything that is
	// trusted, nil if progress does not matter.
	load(ctx context.Context, reader client.Reader, m *v1alpha1.ClusterMaster, now time.Time) (*State, *pki.Authority, error)
	// take takes a step from the state that was loaded last.
	take(ctx context.Context, step Step, now time.Time) error
}

// Rotator takes rotations forward.
type Rotator struct {
	// Cache may be behind. Live is what the API server has.
	Cache, Live client.Reader
	// Secrets are those of the pass.
	Secrets *certificates.Secrets
}

// Rotate takes at most one step, and returns the rotation as it is then, or nil if there is nothing to rotate. What the
// cache has is enough to stay; a step is decided on what the API server has.
func (r *Rotator) Rotate(ctx context.Context, m *v1alpha1.ClusterMaster, store Store, now time.Time) (*Rotation, error) {
	found, err := r.observe(ctx, r.Cache, m, store, now)
	if found == nil || Next(found.State, found.Progress, now) == Stay {
		return found, err
	}
	m = &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name}}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(m), m); err != nil {
		return found, fmt.Errorf("read ClusterMaster %s: %w", m.Name, err)
	}
	before, err := r.observe(ctx, r.Live, m, store, now)
	if before == nil {
		return found, err
	}
	step := Next(before.State, before.Progress, now)
	if step == Stay {
		return before, nil
	}
	if err := store.take(ctx, step, now); err != nil {
		return before, err
	}
	after, err := r.observe(ctx, r.Live, m, store, now)
	if after == nil {
		after = before
	}
	if before.Forced && before.Progress.blocked() {
		after.CutOff = before.Progress.waiting()
	}
	log.FromContext(ctx).Info("Rotated the authority", "step", step, "from", before.Phase, "to", after.Phase, "forced", after.CutOff != "")
	return after, err
}

// observe reads what a rotation depends on. Without a rotation that is hardly anything.
func (r *Rotator) observe(ctx context.Context, reader client.Reader, m *v1alpha1.ClusterMaster, store Store, now time.Time) (*Rotation, error) {
	state, authority, err := store.load(ctx, reader, m, now)
	if state == nil || err != nil {
		return nil, err
	}
	found := &Rotation{State: *state}
	if state.Phase != pki.RotationIdle && authority != nil {
		if found.Progress, err = r.count(ctx, reader, m, state.Phase, authority, now); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// RecheckAt is when to look again although nothing was seen to change; zero for never.
func (r *Rotation) RecheckAt(now time.Time) time.Time {
	if r.Phase == pki.RotationIdle {
		return r.Due
	}
	at := now.Add(recheck)
	if settled := r.settledAt(r.Progress); settled.After(now) && settled.Before(at) {
		return settled
	}
	return at
}

// Condition is CertificateAuthorityRotating. There is none while nothing is replaced.
func (r *Rotation) Condition() (metav1.Condition, bool) {
	if r == nil || r.Phase == pki.RotationIdle {
		return metav1.Condition{}, false
	}
	reason, done := v1alpha1.ReasonPreparing, "trust"
	if r.Phase == pki.RotationActivating {
		reason, done = v1alpha1.ReasonActivating, "present a certificate of"
	}
	message := fmt.Sprintf("%d/%d nodes have been seen to %s the new authority %.12s", r.Progress.completed, r.Progress.total, done, r.Incoming)
	if r.Progress.blocked() {
		message += fmt.Sprintf("; waiting for %s; to continue without them, set annotation %s: %s, which cuts off every node that is not ready",
			r.Progress.waiting(), v1alpha1.ForceCARotationAnnotation, reason)
	} else {
		message += fmt.Sprintf("; pods that report nothing, such as standby masters, have until %s to load it",
			r.settledAt(r.Progress).UTC().Format(time.RFC3339))
	}
	return metav1.Condition{Type: v1alpha1.ConditionCertificateAuthorityRotating, Status: metav1.ConditionTrue, Reason: reason, Message: message}, true
}
