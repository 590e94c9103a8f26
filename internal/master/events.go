package master

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

// reasonStatus is the reason of the event about nodes that say that they are not well.
const reasonStatus = "StatusReported"

// announce records an event for each bad state that nodes reached between two reports: one event for all nodes of a state, so
// that a whole Refinery that is refused at once is one event. A node that says that it is not well has an event when it begins to
// say so, and not when it says so in other words.
func announce(recorder events.EventRecorder, refinery *v1alpha1.Refinery, before, after []v1alpha1.NodeStatus) {
	known := make(map[string]string, len(before))
	for i := range before {
		known[before[i].ID] = trouble(&before[i])
	}
	for _, state := range []string{v1alpha1.ReasonDuplicateID, string(v1alpha1.NodeDenied), string(v1alpha1.NodeVersionMismatch), string(v1alpha1.NodeLost),
		reasonStatus} {
		var first *v1alpha1.NodeStatus
		others := 0
		for i := range after {
			switch {
			case trouble(&after[i]) != state || known[after[i].ID] == state:
			case first == nil:
				first = &after[i]
			default:
				others++
			}
		}
		if first == nil {
			continue
		}
		if state == reasonStatus {
			recorder.Eventf(refinery, nil, corev1.EventTypeWarning, state, "Report", "%s: authenticated, and reports status %q",
				subject(first.ID, others), first.Status)
			continue
		}
		recorder.Eventf(refinery, nil, corev1.EventTypeWarning, state, "Authenticate", "%s: %s: %s",
			subject(first.ID, others), first.Reason, admit.Truncate(first.Message, 512))
	}
}

// trouble is a node's state, or that its id is not its own, or that it says that it is not well.
func trouble(n *v1alpha1.NodeStatus) string {
	switch quiet(n) {
	case 0:
		if isDuplicate(*n) {
			return n.Reason
		}
	case 1:
		return reasonStatus
	}
	return string(n.State)
}
