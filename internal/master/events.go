package master

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

// announce records an event for each bad state that nodes reached between two reports: one event for all nodes of a state, so
// that a whole Refinery that is refused at once is one event.
func announce(recorder events.EventRecorder, refinery *v1alpha1.Refinery, before, after []v1alpha1.NodeStatus) {
	known := make(map[string]string, len(before))
	for i := range before {
		known[before[i].ID] = trouble(&before[i])
	}
	for _, state := range []string{v1alpha1.ReasonDuplicateID, string(v1alpha1.NodeDenied), string(v1alpha1.NodeVersionMismatch), string(v1alpha1.NodeLost)} {
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
		recorder.Eventf(refinery, nil, corev1.EventTypeWarning, state, "Authenticate", "%s: %s: %s",
			subject(first.ID, others), first.Reason, admit.Truncate(first.Message, 512))
	}
}

// trouble is a node's state, or that its id is not its own.
func trouble(n *v1alpha1.NodeStatus) string {
	if isDuplicate(*n) {
		return n.Reason
	}
	return string(n.State)
}
