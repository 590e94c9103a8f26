package admit

import (
	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Denial is the decision not to let a node in, or not to keep it. Status and the log show it; the node never sees it.
type Denial struct {
	// State that the node is shown in: VersionMismatch, Denied, or Closed when a session was ended.
	State v1alpha1.NodeState
	// Reason is one of those in api/v1alpha1/reasons.go.
	Reason string
	// Message for people: what is wrong and what to do.
	Message string
	// Refinery whose status may show it; "" when nothing proves that the node belongs to one.
	Refinery string
	// Own reports whether the node proved to be one of the Refinery's own, by a certificate that it lists and an id of its own:
	// a new version that is rolled out but not accepted, for example. Status shows it beside any number of others.
	Own bool
	// Stranger reports whether the node proved that it may take part, by the shared certificate or by one that a trusted
	// authority signed, and no Refinery has it.
	Stranger bool
}

func (d *Denial) Error() string { return d.Reason + ": " + d.Message }

func (d *Denial) clone() *Denial {
	if d == nil {
		return nil
	}
	c := *d
	return &c
}

func masterGone() *Denial {
	return &Denial{State: v1alpha1.NodeDenied, Reason: v1alpha1.ReasonDenied, Message: "the ClusterMaster no longer exists"}
}
