package clustermaster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// maxNamedRefineries is the number of Refineries that condition SecurityChanging names.
const maxNamedRefineries = 10

// security is what spec.security says, and what it said before as long as nodes may still connect that way.
type security struct {
	status v1alpha1.SecurityStatus
	// moved of all Refineries have. behind are the others, in words.
	moved, all int
	behind     []string
	// shared is what the Secret of the shared certificate holds.
	shared resource.Shared
	// lacks is what the active master does not have yet that it needs for the mode that is wanted; "" for nothing. Until then the
	// change does not begin, and neither does the time for it.
	lacks  string
	wanted v1alpha1.SecurityMode
}

// inspectSecurity goes on with a change of spec.security, or begins one. It is over when all nodes of every Refinery have
// connected as spec.security says, or when its time is.
func (r *Reconciler) inspectSecurity(ctx context.Context, s *scope) (*security, error) {
	m := s.master
	mode := m.Spec.Security.Mode()
	found := &security{status: v1alpha1.SecurityStatus{SecurityMode: mode}}
	if err := found.inspectShared(ctx, s); err != nil {
		return nil, err
	}
	former := m.FormerModes()
	if len(former) == 0 {
		return found, nil
	}
	if found.lacks = lacking(m, mode); found.lacks != "" {
		found.status, found.wanted = *m.Status.Security, mode
		return found, nil
	}
	list := &v1alpha1.RefineryList{}
	if err := r.env.Client.List(ctx, list, client.InNamespace(m.Namespace), client.MatchingFields{controllers.MasterIndex: m.Name}); err != nil {
		return nil, fmt.Errorf("list Refineries: %w", err)
	}
	for i := range list.Items {
		found.count(&list.Items[i], mode)
	}
	if found.moved == found.all {
		return found, nil
	}
	for _, f := range former {
		if f.Until.IsZero() {
			f.Until = metav1.NewTime(s.now.Add(m.Spec.Security.OverlapDuration()))
		}
		if s.now.Before(f.Until.Time) {
			found.status.Former = append(found.status.Former, f)
		}
	}
	return found, nil
}

// lacking says what the active master needs to let nodes in by a mode and has not loaded, or "". While none is active, what the last
// one had counts.
func lacking(m *v1alpha1.ClusterMaster, mode v1alpha1.SecurityMode) string {
	active := m.Status.Active
	switch {
	case active == nil || m.WantedPods() == 0:
		return ""
	case mode.Transport != v1alpha1.TransportPlaintext && active.Certificate == "":
		return "a certificate"
	case mode.Authentication == v1alpha1.AuthenticationSharedCertificate && active.SharedGeneration == 0:
		return "the shared certificate"
	}
	return ""
}

// inspectShared reads the Secret of the shared certificate, if it is the operator's.
func (f *security) inspectShared(ctx context.Context, s *scope) error {
	if !s.master.UsesShared() {
		return nil
	}
	secret, err := s.secrets.Own(ctx, s.master, s.master.SharedSecretName())
	if _, taken := errors.AsType[*apply.ConflictError](err); taken {
		return nil
	}
	if secret != nil {
		f.shared = resource.ReadMasterShared(secret)
	}
	return err
}

// count looks whether a Refinery has moved to a mode, or has nobody that could.
func (f *security) count(r *v1alpha1.Refinery, mode v1alpha1.SecurityMode) {
	if !r.DeletionTimestamp.IsZero() {
		return
	}
	f.all++
	connected, moved := r.Status.Authenticated, int32(0)
	if (r.Status.Security != nil && *r.Status.Security == mode) || (r.WantedNodes() == 0 && (connected == nil || connected.Nodes == 0)) {
		f.moved++
		return
	}
	wanted := r.WantedNodes()
	if connected != nil {
		wanted = max(wanted, connected.Nodes)
		moved = connected.NodesBy(mode)
	}
	f.behind = append(f.behind, fmt.Sprintf("%s (%d of %d nodes)", r.Name, moved, wanted))
}

// recheck is when the next time ends; zero if there is none.
func (f *security) recheck() (at time.Time) {
	at = f.shared.Until
	for _, former := range f.status.Former {
		if at.IsZero() || former.Until.Time.Before(at) {
			at = former.Until.Time
		}
	}
	return at
}

// waiting names the Refineries that have yet to move.
func (f *security) waiting() string {
	names := slices.Sorted(slices.Values(f.behind))
	if more := len(names) - maxNamedRefineries; more > 0 {
		names = append(names[:maxNamedRefineries], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// changing is condition SecurityChanging.
func (f *security) changing() (metav1.Condition, bool) {
	var parts []string
	if f.lacks != "" {
		parts = append(parts, fmt.Sprintf("spec.security changes from %s to %s when the active master has loaded %s; until then nodes connect as before", f.status.SecurityMode, f.wanted, f.lacks))
	} else if len(f.status.Former) > 0 {
		former := f.status.Former[0]
		parts = append(parts, fmt.Sprintf(
			"spec.security changes from %s to %s: %d of %d Refineries have moved; waiting for %s; nodes that connect as before are refused from %s on",
			former.SecurityMode, f.status.SecurityMode, f.moved, f.all, f.waiting(), former.Until.UTC().Format(time.RFC3339)))
	}
	if len(f.shared.Next) > 0 {
		parts = append(parts, "the shared certificate changes: nodes get the new one when the active master has loaded it")
	}
	if len(f.shared.Former) > 0 {
		parts = append(parts, fmt.Sprintf("the former shared certificate is let in until %s", f.shared.Until.UTC().Format(time.RFC3339)))
	}
	return reconcile.NewCondition(v1alpha1.ConditionSecurityChanging, metav1.ConditionTrue, v1alpha1.ReasonMoving, strings.Join(parts, "; ")), len(parts) > 0
}

// transportSecure is True for the default only, and not while nodes may still connect in another way.
func (f *security) transportSecure() metav1.Condition {
	not := func(mode v1alpha1.SecurityMode, beginning string) (metav1.Condition, bool) {
		reason, why := weakness(mode)
		return reconcile.NewCondition(v1alpha1.ConditionTransportSecure, metav1.ConditionFalse, reason, beginning+why), reason != ""
	}
	if c, weak := not(f.status.SecurityMode, "spec.security says "+f.status.String()+": "); weak {
		return c
	}
	for _, former := range f.status.Former {
		if c, weak := not(former.SecurityMode, fmt.Sprintf("until %s nodes that have not moved may connect by %s: ", former.Until.UTC().Format(time.RFC3339), former.SecurityMode)); weak {
			return c
		}
	}
	return reconcile.NewCondition(v1alpha1.ConditionTransportSecure, metav1.ConditionTrue, v1alpha1.ReasonMutualTLS,
		"mutual TLS, and each node proves the key of its own certificate")
}

// weakness is what is wrong with a mode; "" for the default.
func weakness(mode v1alpha1.SecurityMode) (reason, why string) {
	const one = "all nodes share one secret, and whoever has it can act as any node; "
	switch {
	case mode.Transport == v1alpha1.TransportPlaintext:
		return v1alpha1.ReasonPlaintext, "anyone on the network path can read and change everything, including the shared certificate; use MutualTLS if the nodes can"
	case mode.Transport == v1alpha1.TransportServerTLS:
		return v1alpha1.ReasonServerTLS, one + "use MutualTLS if the nodes can"
	case mode.Authentication == v1alpha1.AuthenticationSharedCertificate:
		return v1alpha1.ReasonSharedCertificate, one + "use IssuedCertificate if the nodes can"
	}
	return "", ""
}

// securityEvents are the events of a change of spec.security: that it begins, and how it ends.
func securityEvents(m *v1alpha1.ClusterMaster, after []metav1.Condition, found *security) []reconcile.Event {
	const kind, action = v1alpha1.ConditionSecurityChanging, "ChangeSecurity"
	was, is := meta.FindStatusCondition(m.Status.Conditions, kind), meta.FindStatusCondition(after, kind)
	switch {
	case found == nil:
		return nil
	case was == nil && is != nil:
		return []reconcile.Event{{Type: corev1.EventTypeNormal, Reason: "SecurityChanging", Action: action, Note: is.Message}}
	case was != nil && is == nil && len(found.behind) > 0 && len(m.FormerModes()) > 0:
		return []reconcile.Event{{Type: corev1.EventTypeWarning, Reason: "SecurityOverlapEnded", Action: action, Note: fmt.Sprintf(
			"the time for moving to %s is over: nodes that connect as before are refused; these Refineries have not moved: %s", found.status.SecurityMode, found.waiting())}}
	case was != nil && is == nil:
		return []reconcile.Event{{Type: corev1.EventTypeNormal, Reason: "SecurityChanged", Action: action, Note: fmt.Sprintf(
			"nodes are let in by %s alone, and with no former shared certificate", found.status.SecurityMode)}}
	}
	return nil
}
