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

// failures are the reasons by which a condition that may be as it is tells of a failure, whatever its status is. Others are told by
// Ready, or are on the way to it: pods that are refused, and pods that are not there yet.
var failures = map[string]map[string]bool{
	v1alpha1.ConditionAvailable: {
		v1alpha1.ReasonImageNotPulled: true, v1alpha1.ReasonContainerNotCreated: true, v1alpha1.ReasonCrashLoop: true,
		v1alpha1.ReasonUnschedulable: true,
	},
	v1alpha1.ConditionUpgradePending: {v1alpha1.ReasonUpgradeStopped: true},
	v1alpha1.ConditionStalled:        {v1alpha1.ReasonNotAuthenticated: true},
}

// Changes are the events of what changed between two states of the conditions that the operator writes.
func Changes(before, after []metav1.Condition) []Event {
	var changes []Event
	for _, kind := range []string{v1alpha1.ConditionCertificateReady, v1alpha1.ConditionCertificateExpiring, v1alpha1.ConditionTransportSecure,
		v1alpha1.ConditionAuthenticated, v1alpha1.ConditionAvailable, v1alpha1.ConditionUpgradePending, v1alpha1.ConditionStalled, v1alpha1.ConditionReady} {
		was, is := meta.FindStatusCondition(before, kind), meta.FindStatusCondition(after, kind)
		if is == nil || (was != nil && was.Status == is.Status && was.Reason == is.Reason) {
			continue
		}
		if severity := severityOf(was, is, after); severity != "" {
			changes = append(changes, Event{severity, is.Reason, "Reconcile", noteOf(is)})
		}
	}
	return changes
}

// severityOf is the type of the event of a condition that was another or, at first, none. It is "" where another event tells of it.
func severityOf(was, is *metav1.Condition, after []metav1.Condition) string {
	reasons, onlyFailures := failures[is.Type]
	switch ready := is.Type == v1alpha1.ConditionReady; {
	case onlyFailures && (!reasons[is.Reason] || is.Type == v1alpha1.ConditionStalled && isSuspended(after)):
	case onlyFailures:
		return corev1.EventTypeWarning
	case is.Type == v1alpha1.ConditionTransportSecure && is.Status == metav1.ConditionTrue && was == nil: // from the beginning
	case is.Status == metav1.ConditionTrue && is.Type != v1alpha1.ConditionCertificateExpiring:
		return corev1.EventTypeNormal
	case is.Type == v1alpha1.ConditionAuthenticated && was == nil: // there was no master yet to be lost
	case is.Reason == v1alpha1.ReasonNotIssued: // Ready says why
	case ready && was == nil && is.Reason == v1alpha1.ReasonMasterNotFound: // which may be created with it
		return corev1.EventTypeNormal
	case ready && is.Reason == v1alpha1.ReasonNoActiveMaster && was != nil && was.Status == metav1.ConditionTrue: // any more
		return corev1.EventTypeWarning
	case ready && (derivedReasons[is.Reason] || repeats(after, is)):
	case is.Type == v1alpha1.ConditionAuthenticated && is.Reason != v1alpha1.ReasonMasterUnavailable: // the master's to tell
	case is.Reason == v1alpha1.ReasonPaused:
		return corev1.EventTypeNormal
	default:
		return corev1.EventTypeWarning
	}
	return ""
}

// isSuspended reports whether nodes are kept out because a person wants that.
func isSuspended(conditions []metav1.Condition) bool {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionAuthenticated)
	return c != nil && c.Reason == v1alpha1.ReasonSuspended
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
