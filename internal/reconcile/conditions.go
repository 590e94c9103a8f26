package reconcile

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// maxMessageBytes bounds a condition's message; the API allows eight times as much.
const maxMessageBytes = 4096

// Conditions writes conditions of one generation at one time. The time of a condition moves only when
// its status does.
type Conditions struct {
	All        *[]metav1.Condition
	Generation int64
	Now        time.Time
}

// Set writes a condition.
func (s Conditions) Set(c metav1.Condition) {
	c.ObservedGeneration = s.Generation
	c.LastTransitionTime = metav1.NewTime(s.Now)
	c.Message = truncate(c.Message, maxMessageBytes)
	meta.SetStatusCondition(s.All, c)
}

// SetOrRemove keeps a condition present only while there is one.
func (s Conditions) SetOrRemove(kind string, c metav1.Condition, present bool) {
	if present {
		s.Set(c)
	} else {
		meta.RemoveStatusCondition(s.All, kind)
	}
}

// Find returns the condition of a type, or nil.
func (s Conditions) Find(kind string) *metav1.Condition {
	return meta.FindStatusCondition(*s.All, kind)
}

// SetProgress says of an object that is not Ready whether it may become so by itself, condition Reconciling, or not, condition
// Stalled. stalled is what the caller knows and the reasons of the conditions do not say.
func (s Conditions) SetProgress(ready metav1.Condition, stalled bool) {
	stalled = stalled || s.needPerson(ready)
	s.SetOrRemove(v1alpha1.ConditionReconciling, NewCondition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, ready.Reason, ready.Message),
		ready.Status != metav1.ConditionTrue && !stalled)
	s.SetOrRemove(v1alpha1.ConditionStalled, NewCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, ready.Reason, ready.Message),
		ready.Status != metav1.ConditionTrue && stalled)
}

// passing reasons of a certificate that is not ready go away as others do their work: what is applied together comes in any order.
var passing = map[string]bool{
	v1alpha1.ReasonNotIssued:          true,
	v1alpha1.ReasonSecretNotFound:     true,
	v1alpha1.ReasonNotYetValid:        true,
	v1alpha1.ReasonAuthorityNotReady:  true,
	v1alpha1.ReasonIssuerNotInstalled: true,
	v1alpha1.ReasonIssuerNotReady:     true,
}

// needPerson reports whether the reason why an object is not Ready stays until a person does something about it.
func (s Conditions) needPerson(ready metav1.Condition) bool {
	switch ready.Reason {
	case v1alpha1.ReasonPaused, v1alpha1.ReasonRejected, v1alpha1.ReasonProgressDeadlineExceeded:
		return true
	case v1alpha1.ReasonCertificateNotReady:
		c := s.Find(v1alpha1.ConditionCertificateReady)
		return c != nil && !passing[c.Reason]
	default:
		return false
	}
}

// ConditionConfigurations are the conditions of the given types, in that order, for an apply.
func ConditionConfigurations(conditions []metav1.Condition, types []string) []*metav1ac.ConditionApplyConfiguration {
	var configurations []*metav1ac.ConditionApplyConfiguration
	for _, kind := range types {
		c := meta.FindStatusCondition(conditions, kind)
		if c == nil {
			continue
		}
		configurations = append(configurations, metav1ac.Condition().WithType(c.Type).WithStatus(c.Status).
			WithObservedGeneration(c.ObservedGeneration).WithLastTransitionTime(c.LastTransitionTime).
			WithReason(c.Reason).WithMessage(c.Message))
	}
	return configurations
}

// truncate cuts at a rune's border.
func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const ellipsis = "…"
	cut := limit - len(ellipsis)
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + ellipsis
}

// NewCondition leaves generation and time to Conditions.
func NewCondition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}
