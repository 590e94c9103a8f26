package reconcile

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// maxNoteBytes is what the events API takes.
const maxNoteBytes = 1024

// Event is an event about a change in status.
type Event struct {
	Type, Reason, Action, Note string
}

// derivedReasons of Ready repeat another condition, which has its own event, in words of their own.
var derivedReasons = map[string]bool{
	v1alpha1.ReasonProgressing:         true,
	v1alpha1.ReasonCertificateNotReady: true,
	v1alpha1.ReasonNotAuthenticated:    true,
	v1alpha1.ReasonNoActiveMaster:      true,
}

// Changes are the events of what changed between two states of the conditions that the operator writes.
func Changes(before, after []metav1.Condition) []Event {
	var changes []Event
	for _, kind := range []string{v1alpha1.ConditionCertificateReady, v1alpha1.ConditionCertificateExpiring, v1alpha1.ConditionTransportSecure,
		v1alpha1.ConditionAuthenticated, v1alpha1.ConditionReady} {
		was, is := meta.FindStatusCondition(before, kind), meta.FindStatusCondition(after, kind)
		if is == nil || (was != nil && was.Status == is.Status && was.Reason == is.Reason) {
			continue
		}
		if is.Status == metav1.ConditionTrue && kind != v1alpha1.ConditionCertificateExpiring {
			// Secure from the beginning is nothing to tell.
			if kind != v1alpha1.ConditionTransportSecure || was != nil {
				changes = append(changes, Event{corev1.EventTypeNormal, is.Reason, "Reconcile", noteOf(is)})
			}
			continue
		}
		switch {
		case kind == v1alpha1.ConditionAuthenticated && was == nil: // there was no master yet to be lost
		case is.Reason == v1alpha1.ReasonNotIssued: // Ready says why
		case kind == v1alpha1.ConditionReady && was == nil && is.Reason == v1alpha1.ReasonMasterNotFound: // which may be created with it
			changes = append(changes, Event{corev1.EventTypeNormal, is.Reason, "Reconcile", noteOf(is)})
		case kind == v1alpha1.ConditionReady && (derivedReasons[is.Reason] || repeats(after, is)):
		case kind == v1alpha1.ConditionAuthenticated && is.Reason != v1alpha1.ReasonMasterUnavailable: // the master's to tell
		case is.Reason == v1alpha1.ReasonPaused:
			changes = append(changes, Event{corev1.EventTypeNormal, is.Reason, "Reconcile", noteOf(is)})
		default:
			changes = append(changes, Event{corev1.EventTypeWarning, is.Reason, "Reconcile", noteOf(is)})
		}
	}
	return changes
}

// repeats reports whether condition CertificateReady already has the reason of Ready, and so an event of its own.
func repeats(conditions []metav1.Condition, ready *metav1.Condition) bool {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionCertificateReady)
	return c != nil && c.Status != metav1.ConditionTrue && c.Reason == ready.Reason
}

func noteOf(c *metav1.Condition) string { return fmt.Sprintf("%s: %s", c.Type, c.Message) }

// CertificateChanged is the event of a certificate that replaced another.
func CertificateChanged(fingerprint string, notAfter metav1.Time) Event {
	return Event{corev1.EventTypeNormal, "CertificateChanged", "Certify",
		fmt.Sprintf("the current certificate has fingerprint %s and is valid until %s", fingerprint, notAfter.UTC().Format("2006-01-02"))}
}

// CertificateRevoked is the event of a certificate that is refused from now on.
func CertificateRevoked(c v1alpha1.RevokedCertificate) Event {
	return Event{corev1.EventTypeWarning, "CertificateRevoked", "Revoke",
		fmt.Sprintf("the certificate with fingerprint %s is revoked: Secret %s was deleted", c.Fingerprint, c.Secret)}
}

// CertificateReadmitted is the event of a certificate whose revocation was taken back.
func CertificateReadmitted(c v1alpha1.RevokedCertificate) Event {
	return Event{corev1.EventTypeNormal, "CertificateReadmitted", "Revoke",
		fmt.Sprintf("the certificate with fingerprint %s is revoked no more: annotation %s names it", c.Fingerprint, v1alpha1.ReadmitAnnotation)}
}

// record writes events about object. They follow a status write that succeeded.
func (p *Passes) record(object runtime.Object, changes []Event) {
	for _, t := range changes {
		Tell(p.events, object, t)
	}
}

// Tell writes an event about object.
func Tell(recorder events.EventRecorder, object runtime.Object, t Event) {
	recorder.Eventf(object, nil, t.Type, t.Reason, t.Action, "%s", truncate(t.Note, maxNoteBytes))
}

// SecretReplaced is the event of a Secret whose content was not kept.
func SecretReplaced(why string) Event {
	return Event{corev1.EventTypeWarning, "SecretReplaced", "Adopt", why}
}
