package controllers

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// maxMessageBytes bounds a condition's message; the API allows eight times as much.
const maxMessageBytes = 4096

// conditionSet writes conditions of one generation at one time. The time of a condition moves only when
// its status does.
type conditionSet struct {
	conditions *[]metav1.Condition
	generation int64
	now        time.Time
}

func (s conditionSet) set(c metav1.Condition) {
	c.ObservedGeneration = s.generation
	c.LastTransitionTime = metav1.NewTime(s.now)
	c.Message = truncate(c.Message, maxMessageBytes)
	meta.SetStatusCondition(s.conditions, c)
}

// setOrRemove keeps a condition present only while there is one.
func (s conditionSet) setOrRemove(kind string, c metav1.Condition, present bool) {
	if present {
		s.set(c)
	} else {
		meta.RemoveStatusCondition(s.conditions, kind)
	}
}

// find returns the condition of a type, or nil.
func (s conditionSet) find(kind string) *metav1.Condition {
	return meta.FindStatusCondition(*s.conditions, kind)
}

// setStalled keeps condition Stalled present only while it is True.
func (s conditionSet) setStalled(o outcome) {
	if o.consequence == stalled {
		s.set(newCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, o.reason, o.message))
	} else if !o.silent() {
		meta.RemoveStatusCondition(s.conditions, v1alpha1.ConditionStalled)
	}
}

// conditionConfigurations are the conditions of the given types, in that order, for an apply.
func conditionConfigurations(conditions []metav1.Condition, types ...string) []*metav1ac.ConditionApplyConfiguration {
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
