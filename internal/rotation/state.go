// Package rotation replaces the certificate authority of a ClusterMaster by another one while every node stays connected.
//
// A rotation goes through two phases. In Preparing the next authority is trusted and signs nothing yet; in Activating it
// signs, and the one before is still trusted. Next is the whole state machine: it takes a step only when everybody was seen
// to complete the phase (Progress), unless that is forced, or the outgoing authority has expired. A Store keeps the State
// between two passes: the Secret of the authority where the operator made both (OwnStore), and the Secret of the certificate
// that the master serves where either was provided (ServedStore). Package plan tells beforehand what the operator would do.
package rotation

import (
	"time"

	"github.com/refinery-operator/refinery-operator/internal/pki"
)

const (
	// maxSettling is how long a phase lasts at least, unless certificates are short-lived: longer than any kubelet takes to
	// bring a changed Secret into pods that do not show what they have loaded, such as standby masters.
	maxSettling = 2 * time.Minute
	// recheck is how often a rotation is looked at although nothing was seen to change.
	recheck = 15 * time.Second
)

// Step leads from one phase of a rotation to the next. Each is a single write.
type Step string

// Steps, in their order.
const (
	// Stay takes none.
	Stay Step = ""
	// Prepare begins a rotation: another authority is trusted.
	Prepare Step = "Prepare"
	// Activate lets the other authority sign.
	Activate Step = "Activate"
	// Retire ends the trust in the one before.
	Retire Step = "Retire"
)

// State is how far a rotation has come, and what decides how it goes on beside the progress of others.
type State struct {
	Phase pki.RotationPhase
	// Requested reports whether a person asks for a rotation that has not begun. Due is when one begins unasked; zero for never.
	Requested bool
	Due       time.Time
	// Incoming is the fingerprint of the authority that takes over. It is empty while the phase is Idle, like all that follows.
	Incoming string
	// Began is when the phase began.
	Began time.Time
	// Expired reports whether the outgoing authority has expired: nobody relies on it any more.
	Expired bool
	// Forced reports whether an annotation lets the phase end whoever is cut off by that.
	Forced bool
	// LeafDuration is how long the certificates that an authority signs are valid.
	LeafDuration time.Duration
}

// Next is the step that is to be taken now. Nothing is activated before everybody has been seen to trust it, and nothing
// retired before everybody has been seen to do without it.
func Next(s State, p Progress, now time.Time) Step {
	if s.Phase == pki.RotationIdle {
		if s.Requested || (!s.Due.IsZero() && !now.Before(s.Due)) {
			return Prepare
		}
		return Stay
	}
	if !s.Expired && !s.Forced && (p.blocked() || now.Before(s.settledAt(p))) {
		return Stay
	}
	if s.Phase == pki.RotationPreparing {
		return Activate
	}
	return Retire
}

// settledAt returns when pods that do not show what they have loaded must have loaded the files of the phase. If
// connected nodes are among them, they get as long as a kubelet may take, however short the certificates are valid.
func (s State) settledAt(p Progress) time.Time {
	settling := maxSettling
	if !p.unobservable {
		settling = min(settling, s.LeafDuration/4)
	}
	return s.Began.Add(settling)
}
