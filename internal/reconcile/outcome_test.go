package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

func TestConsequenceOfAnError(t *testing.T) {
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	invalid := apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "press", nil)
	forbidden := apierrors.NewForbidden(deployments, "press", errors.New("exceeded quota"))
	terminating := apierrors.NewForbidden(deployments, "press", errors.New("going away"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	busy, slow, unavailable := apierrors.NewTooManyRequests("x", 1), apierrors.NewTimeoutError("x", 1), apierrors.NewServiceUnavailable("x")
	unreachable := &net.OpError{Op: "dial", Err: errors.New("x")}
	webhook := apierrors.NewInternalError(errors.New("failed calling webhook"))
	const triesAgain = "; the operator tries again at least once a minute"
	wrapped := func(err error) error { return fmt.Errorf("apply Deployment press: %w", err) }
	tests := map[string]struct {
		err  error
		want Outcome
	}{
		"none":               {nil, Outcome{}},
		"waiting":            {&WaitError{"Progressing", "soon", time.Second}, Outcome{Wait, "Progressing", "soon", time.Second}},
		"stopped":            {&StalledError{"InvalidVersions", "no", 0}, Outcome{Stalled, "InvalidVersions", "no", 0}},
		"name taken":         {&apply.ConflictError{Kind: "Secret", Name: "a", Owner: "Refinery b"}, Outcome{Stalled, v1alpha1.ReasonNameConflict, "Secret a is needed and belongs to Refinery b; it is left as it is: delete or rename one of the two", time.Minute}},
		"template":           {&resource.TemplateError{Message: "no"}, Outcome{Stalled, v1alpha1.ReasonInvalidTemplate, "no", 0}},
		"refused":            {wrapped(invalid), Outcome{Stalled, v1alpha1.ReasonRejected, wrapped(invalid).Error() + triesAgain, longestRejectedRecheck}},
		"not allowed":        {wrapped(forbidden), Outcome{Stalled, v1alpha1.ReasonRejected, wrapped(forbidden).Error() + triesAgain, longestRejectedRecheck}},
		"namespace ending":   {wrapped(terminating), Outcome{Consequence: SilentRetry}},
		"changed meanwhile":  {wrapped(apierrors.NewConflict(deployments, "press", errors.New("x"))), Outcome{Consequence: SilentRetry}},
		"server busy":        {wrapped(busy), Outcome{Consequence: Away, Reason: v1alpha1.ReasonError, Message: wrapped(busy).Error()}},
		"server slow":        {wrapped(slow), Outcome{Consequence: Away, Reason: v1alpha1.ReasonError, Message: wrapped(slow).Error()}},
		"server unavailable": {wrapped(unavailable), Outcome{Consequence: Away, Reason: v1alpha1.ReasonError, Message: wrapped(unavailable).Error()}},
		"server away":        {wrapped(unreachable), Outcome{Consequence: Away, Reason: v1alpha1.ReasonError, Message: "the API server does not answer; trying again"}},
		"webhook failing":    {wrapped(webhook), Outcome{Consequence: Retry, Reason: v1alpha1.ReasonError, Message: wrapped(webhook).Error()}},
		"operator stopping":  {wrapped(context.Canceled), Outcome{Consequence: SilentRetry}},
		"something else":     {errors.New("x"), Outcome{Consequence: Retry, Reason: v1alpha1.ReasonError, Message: "x"}},
		"schema of a object": {&apply.SchemaError{Kind: "Deployment", Name: "press", Err: errors.New("x")}, Outcome{Stalled, v1alpha1.ReasonInvalidTemplate, "Deployment press: x", 0}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, OutcomeOf(test.err, time.Minute)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEventsFollowTransitions(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return NewCondition(kind, status, reason, "m")
	}
	certified := condition(v1alpha1.ConditionCertificateReady, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	secure := condition(v1alpha1.ConditionTransportSecure, metav1.ConditionTrue, v1alpha1.ReasonMutualTLS)
	plain := condition(v1alpha1.ConditionTransportSecure, metav1.ConditionFalse, v1alpha1.ReasonPlaintext)
	ready := condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	progressing := condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	rejected := condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRejected)
	denied := condition(v1alpha1.ConditionAuthenticated, metav1.ConditionFalse, v1alpha1.ReasonDenied)
	unavailable := condition(v1alpha1.ConditionAuthenticated, metav1.ConditionUnknown, v1alpha1.ReasonMasterUnavailable)
	inactive := condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNoActiveMaster)
	starting := condition(v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonUnavailable)
	unpulled := condition(v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonImageNotPulled)
	taken := func(kind string) metav1.Condition {
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonNameConflict)
	}
	type conditions = []metav1.Condition
	event := func(kind, reason, note string) []Event { return []Event{{kind, reason, "Reconcile", note}} }
	tests := map[string]struct {
		before, after conditions
		want          []Event
	}{
		"nothing changed":        {conditions{ready}, conditions{ready}, nil},
		"issued":                 {nil, conditions{certified}, event("Normal", "Issued", "CertificateReady: m")},
		"secure from the start":  {nil, conditions{secure}, nil},
		"less secure":            {conditions{secure}, conditions{plain}, event("Warning", "Plaintext", "TransportSecure: m")},
		"secure again":           {conditions{plain}, conditions{secure}, event("Normal", "MutualTLS", "TransportSecure: m")},
		"on the way":             {nil, conditions{progressing}, nil},
		"ready":                  {conditions{progressing}, conditions{ready}, event("Normal", "Ready", "Ready: m")},
		"refused":                {conditions{progressing}, conditions{rejected}, event("Warning", "Rejected", "Ready: m")},
		"denied: the master's":   {nil, conditions{denied}, nil},
		"no master at the start": {nil, conditions{unavailable}, nil},
		"no master any more":     {conditions{denied}, conditions{unavailable}, event("Warning", "MasterUnavailable", "Authenticated: m")},
		"for the same reason": {nil, conditions{taken(v1alpha1.ConditionCertificateReady), taken(v1alpha1.ConditionReady)},
			event("Warning", "NameConflict", "CertificateReady: m")},
		"a pod that does not start": {conditions{starting, progressing}, conditions{unpulled, progressing}, event("Warning", "ImagePullBackOff", "Available: m")},
		"pods that start":           {nil, conditions{starting, progressing}, nil},
		"pods that are there again": {conditions{unpulled}, conditions{condition(v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonAvailable)}, nil},
		"pods that are refused": {conditions{starting, progressing}, conditions{condition(v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonPodsRefused), rejected},
			event("Warning", "Rejected", "Ready: m")},
		"an upgrade that waits": {nil, conditions{condition(v1alpha1.ConditionUpgradePending, metav1.ConditionTrue, v1alpha1.ReasonAwaitsOthers)}, nil},
		"an upgrade that is stopped": {nil, conditions{condition(v1alpha1.ConditionUpgradePending, metav1.ConditionTrue, v1alpha1.ReasonUpgradeStopped)},
			event("Warning", "UpgradeStopped", "UpgradePending: m")},
		"nodes that never come": {conditions{denied}, conditions{denied, condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNotAuthenticated)},
			event("Warning", "NotAuthenticated", "Stalled: m")},
		"nodes that are kept out": {nil, conditions{condition(v1alpha1.ConditionAuthenticated, metav1.ConditionFalse, v1alpha1.ReasonSuspended),
			condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNotAuthenticated)}, nil},
		"pods that take long":       {conditions{starting}, conditions{condition(v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonContainersNotReady)}, nil},
		"no active master yet":      {conditions{progressing}, conditions{inactive}, nil},
		"no active master any more": {conditions{ready}, conditions{inactive}, event("Warning", "NoActiveMaster", "Ready: m")},
		"same reason, other word":   {conditions{rejected}, conditions{NewCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRejected, "other")}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Changes(test.before, test.after)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTruncateKeepsWholeRunes(t *testing.T) {
	for _, test := range []struct {
		in   string
		want string
	}{{"short", "short"}, {"0123456789", "0123456789"}, {"0123456789x", "0123456…"}, {"012345éé789", "012345…"}} {
		if got := truncate(test.in, 10); got != test.want {
			t.Errorf("truncate(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}
