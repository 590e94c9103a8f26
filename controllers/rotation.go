package controllers

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

const (
	// maxBehind is the number of nodes that are named as those that hold a rotation up, maxCauses that of other causes.
	maxBehind = 10
	maxCauses = 5
	// maxSettling is how long after its beginning a phase of a rotation goes on at least: longer than any kubelet
	// takes to bring a changed Secret into the pods of which nothing is seen, such as masters that stand by.
	maxSettling = 2 * time.Minute
	// rotationRecheck is how often a rotation is looked at although nothing was seen to change.
	rotationRecheck = 15 * time.Second
)

// rotation is the replacement of an authority that the operator made, as a pass found it.
type rotation struct {
	phase pki.RotationPhase
	// incoming is the new authority's fingerprint.
	incoming string
	// requested and due say why one is to begin.
	requested, due bool
	// spent reports whether the outgoing authority has expired: nobody relies on it any more.
	spent bool
	// forced by annotation.
	forced bool
	// until is the earliest time of the next transition: when the authority is due, or when pods of which nothing
	// is seen have loaded what the phase brought.
	until time.Time
	progress
}

// progress is who has followed a phase of a rotation, and who has not.
type progress struct {
	// moved of total nodes have.
	moved, total int
	// behind are the ids of those that have not, unlisted the number of those whose ids are not known.
	behind   []string
	unlisted int
	// causes are what else has to happen, in words.
	causes []string
	// unseen tells of pods that are connected and show nothing of what they have loaded.
	unseen bool
}

// step is a transition of a rotation: one write.
type step int

const (
	stay step = iota
	prepare
	activate
	retire
)

// next is the transition that is to be made. Nothing is activated before everybody has been seen to trust it,
// and nothing retired before everybody has been seen to do without it.
func (r *rotation) next(now time.Time) step {
	if r.phase == pki.RotationIdle {
		if r.requested || r.due {
			return prepare
		}
		return stay
	}
	if !r.spent && !r.forced && (r.held() || now.Before(r.until)) {
		return stay
	}
	if r.phase == pki.RotationPreparing {
		return activate
	}
	return retire
}

// held reports whether someone would be cut off.
func (p *progress) held() bool { return p.moved < p.total || len(p.causes) > 0 }

// condition is CertificateAuthorityRotating. There is none while nothing is replaced.
func (r *rotation) condition() (metav1.Condition, bool) {
	if r == nil || r.phase == pki.RotationIdle {
		return metav1.Condition{}, false
	}
	reason, done := v1alpha1.ReasonPreparing, "trust"
	if r.phase == pki.RotationActivating {
		reason, done = v1alpha1.ReasonActivating, "present a certificate of"
	}
	message := fmt.Sprintf("%d/%d nodes have been seen to %s the new authority %.12s", r.moved, r.total, done, r.incoming)
	if r.held() {
		message += fmt.Sprintf("; waiting for %s; to go on without, set annotation %s: %s, which cuts off whoever is not ready",
			r.waiting(), v1alpha1.ForceCARotationAnnotation, reason)
	} else {
		message += fmt.Sprintf("; pods of which nothing is seen, such as standby masters, have until %s to load it", r.until.UTC().Format(time.RFC3339))
	}
	return newCondition(v1alpha1.ConditionCertificateAuthorityRotating, metav1.ConditionTrue, reason, message), true
}

// waiting names who holds a rotation up.
func (p *progress) waiting() string {
	var parts []string
	if nodes := p.total - p.moved; nodes > 0 && len(p.behind)+p.unlisted > 0 {
		ids := slices.Sorted(slices.Values(p.behind))
		more := p.unlisted + max(0, len(ids)-maxBehind)
		ids = ids[:min(len(ids), maxBehind)]
		if more > 0 {
			ids = append(ids, fmt.Sprintf("%d more nodes", more))
		}
		parts = append(parts, strings.Join(ids, ", "))
	}
	causes := slices.Sorted(slices.Values(p.causes))
	parts = append(parts, causes[:min(len(causes), maxCauses)]...)
	if more := len(causes) - maxCauses; more > 0 {
		parts = append(parts, fmt.Sprintf("%d more causes", more))
	}
	return strings.Join(parts, "; ")
}

// settle has a phase that began then go on for as long as what is not seen may take. Pods that are connected, and
// would be cut off, are given the time of a kubelet, however short certificates live.
func (r *rotation) settle(m *v1alpha1.ClusterMaster, began time.Time) {
	settling := maxSettling
	if !r.unseen {
		settling = min(settling, m.CertificatePeriods().Duration/4)
	}
	r.until = began.Add(settling)
}

// forcesRotation reports whether a rotation in this phase may cut nodes off. asked is the request that began it, or "".
func forcesRotation(m *v1alpha1.ClusterMaster, phase pki.RotationPhase, asked string) bool {
	force := m.Annotations[v1alpha1.ForceCARotationAnnotation]
	return force != "" && (force == asked || force == string(phase))
}

// isRotating tells by its status that the authority of a ClusterMaster is being replaced.
func isRotating(m *v1alpha1.ClusterMaster) bool {
	return meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionCertificateAuthorityRotating) != nil
}
