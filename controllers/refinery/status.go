package refinery

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiac "github.com/refinery-operator/refinery-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/masterfields"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// upgradeRecheck is how soon to look again whether an upgrade may go that waits for others.
const upgradeRecheck = 5 * time.Second

// statusOf is the status that a pass leaves, what was there, brought up to what the pass found, and when to look again.
func statusOf(s *scope, found findings, o reconcile.Outcome) (v1alpha1.RefineryStatus, reconcile.Agenda) {
	r := s.refinery
	status := *r.Status.DeepCopy()
	conditions := reconcile.Conditions{All: &status.Conditions, Generation: r.Generation, Now: s.now}
	agenda := reconcile.Agenda{}
	agenda.AtFuture(found.pods.Recheck, s.now)
	status.Certificates, status.Revoked = s.standing.Listed, s.standing.Revoked
	if certificate := found.certificate; certificate != nil {
		agenda.AtFuture(certificate.Recheck, s.now)
		if !certificate.ReadOnly {
			status.Certificates = certificates.List(s.standing.Listed, certificate, certificates.Overlap{
				Duration: s.master.CertificatePeriods().Overlap, Rotating: certificate.Rotating || s.master.IsRotating()}, s.now)
		}
		conditions.Set(certificate.Shown(r, status.Certificates))
		expiring, warned, recheck := certificates.Expiring(s.now, expiries(s, certificate)...)
		conditions.SetOrRemove(v1alpha1.ConditionCertificateExpiring, expiring, warned)
		agenda.AtFuture(recheck, s.now)
		for _, c := range status.Certificates {
			if c.Until != nil {
				agenda.AtFuture(c.Until.Time, s.now)
			}
			if c.Use == v1alpha1.CertificateCurrent { // it may be in no Secret any more
				agenda.AtFuture(c.NotAfter.Add(time.Second), s.now)
			}
		}
	}
	if s.master != nil {
		inSync, presents := certificates.InSync(r, s.master, status.Certificates)
		conditions.SetOrRemove(v1alpha1.ConditionCertificateInSync, inSync, presents)
	}
	conditions.Set(availableCondition(r, s.deployment, found.pods.Failure))
	if o.Consequence == reconcile.CarriedOut && !r.Spec.Paused { // else the pods were not looked at
		status.PendingUpgrade = found.upgrade.show(conditions)
		agenda.AtFuture(found.upgrade.recheck(s.now), s.now)
	}
	if found.nobodys {
		status.Reporter = &v1alpha1.Reporter{}
	}
	if c, ok := masterUnavailable(s, found.nobodys); ok {
		conditions.Set(c)
	}
	if speaksForMaster(status) {
		wanted := r.WantedNodes()
		status.Nodes, status.Authenticated = nil, &v1alpha1.AuthenticatedNodes{Wanted: wanted, Summary: fmt.Sprintf("0/%d", wanted)}
	}
	status.Security = movedTo(r, s.master)
	status.Replicas, status.Selector = scaleOf(r, s.deployment)
	if !o.Silent() {
		ready, late := readyCondition(s, found, conditions, o)
		conditions.Set(ready)
		conditions.SetProgress(ready, o.Consequence == reconcile.Stalled || late || isSuspended(conditions, ready))
		status.ObservedGeneration = r.Generation
	}
	status.ReconciledGeneration = reconciledGeneration(s)
	if o.Consequence == reconcile.CarriedOut && !r.Spec.Paused {
		status.ReconciledGeneration = r.Generation
	}
	return status, agenda
}

// expiries is the certificate that the nodes present, if there is one, or what ends before it of its chain.
func expiries(s *scope, found *certificates.Finding) []certificates.Expiry {
	if found.Leaf == nil {
		return nil
	}
	obtained := s.master.Issuer() != nil && found.Secret != "" && !s.refinery.IsProvided(found.Secret)
	e := certificates.Expiry{Certificate: found.First(), Provided: found.Secret != "" && !obtained, What: fmt.Sprintf("the certificate in Secret %s", cmp.Or(found.Secret, s.refinery.IssuedSecretName()))}
	if e.Certificate != found.Leaf {
		e.What = "an intermediate above " + e.What
	}
	if !e.Provided {
		e.RenewBefore = s.master.CertificatePeriods().RenewBefore
	}
	switch {
	case e.Provided:
		e.Advice = "put a new one into the Secret before then"
	case found.Condition.Status != metav1.ConditionTrue:
		e.Advice = fmt.Sprintf("it was not renewed: %s: %s", found.Condition.Reason, found.Condition.Message)
	case obtained:
		e.Advice = certificates.NotRenewedByIssuer(s.refinery.IssuedSecretName())
	case s.refinery.Spec.Paused:
		e.Advice = "it is not renewed while spec.paused of the Refinery is set"
	default:
		e.Advice = fmt.Sprintf("it expires with the certificate authority of ClusterMaster %s, which must be replaced before then", s.master.Name)
	}
	return []certificates.Expiry{e}
}

// readyCondition returns condition Ready: False with the first problem that the pass and its other conditions show, or
// True. late reports whether pods are missing for longer than they may, whichever of the problems goes first.
func readyCondition(s *scope, found findings, conditions reconcile.Conditions, o reconcile.Outcome) (ready metav1.Condition, late bool) {
	if c, ok := reconcile.Hindered(conditions, o, s.refinery.Spec.Paused, "running nodes continue"); ok {
		return c, false
	}
	authenticated, available, deployment := conditions.Find(v1alpha1.ConditionAuthenticated), conditions.Find(v1alpha1.ConditionAvailable), s.deployment
	if s.refinery.Spec.Placement == v1alpha1.PlacementExternal { // one that is left is about to be deleted
		deployment = nil
	}
	lack, lacking := reconcile.PodsLack(deployment, found.written, s.refinery.WantedNodes(), found.pods, available)
	late = lacking && lack.Reason == v1alpha1.ReasonProgressDeadlineExceeded
	switch {
	case reconcile.ReplicaFailure(deployment) != "", found.pods.Failure.IsRefusal():
		return reconcile.NotReady(v1alpha1.ReasonRejected, available.Message), late
	case lacking && found.pods.Failure.Blocks(): // whatever the other containers do
		return lack, late
	case authenticated == nil:
		return reconcile.NotReady(v1alpha1.ReasonProgressing, "waiting for the master to report on the nodes"), late
	case authenticated.Status != metav1.ConditionTrue:
		return reconcile.NotReady(v1alpha1.ReasonNotAuthenticated, fmt.Sprintf("%s: %s", authenticated.Reason, authenticated.Message)), late
	case lacking:
		return lack, late
	default:
		return reconcile.NewCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "every wanted node is authenticated"), late
	}
}

// isSuspended reports whether the object is not Ready because spec.access keeps its nodes out.
func isSuspended(conditions reconcile.Conditions, ready metav1.Condition) bool {
	authenticated := conditions.Find(v1alpha1.ConditionAuthenticated)
	return ready.Reason == v1alpha1.ReasonNotAuthenticated && authenticated != nil && authenticated.Reason == v1alpha1.ReasonSuspended
}

// availableCondition is True if all pods are available.
func availableCondition(r *v1alpha1.Refinery, deployment *appsv1.Deployment, failure *reconcile.PodFailure) metav1.Condition {
	if r.Spec.Placement == v1alpha1.PlacementExternal {
		return reconcile.NewCondition(v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonExternal,
			"spec.placement is External: the operator runs no pods for this Refinery")
	}
	return reconcile.Available(deployment, failure, r.WantedNodes(), r.WantedNodes())
}

// movedTo is status.security: how all nodes have connected since spec.security of the ClusterMaster changed last. The active
// master counts by what it knows of the spec, so a count of before the change says nothing of the new mode.
func movedTo(r *v1alpha1.Refinery, m *v1alpha1.ClusterMaster) *v1alpha1.SecurityMode {
	if m == nil {
		return r.Status.Security
	}
	mode, is, former := m.Spec.Security.Mode(), r.Status.Security, m.FormerModes()
	if is != nil && *is == mode {
		return is
	}
	nodes := r.Status.Authenticated
	if len(former) > 0 && nodes != nil && nodes.Nodes > 0 && nodes.Nodes >= r.WantedNodes() && nodes.NodesBy(mode) == nodes.Nodes {
		return &mode
	}
	// While spec.security asks for more in several steps, what was left at an earlier one stays closed. Where it asks for less
	// again, nodes may go back to what they had left.
	if is != nil && is.WeakerThan(mode) && slices.ContainsFunc(former, func(f v1alpha1.FormerSecurity) bool { return f.SecurityMode == *is }) {
		return is
	}
	return nil
}

// scaleOf is what the scale subresource shows.
func scaleOf(r *v1alpha1.Refinery, deployment *appsv1.Deployment) (replicas int32, selector string) {
	if r.Spec.Placement == v1alpha1.PlacementExternal {
		return r.WantedNodes(), ""
	}
	if deployment != nil {
		replicas = deployment.Status.Replicas
	}
	return replicas, resource.FormatSelector(resource.RefinerySelector(r))
}

// masterUnavailable returns condition Authenticated as the operator writes it while no master can: the ClusterMaster is
// missing, or its status says that no master is active any more, or none is yet and the condition never existed. What the
// operator wrote stays until a master replaces it.
func masterUnavailable(s *scope, nobodys bool) (metav1.Condition, bool) {
	unavailable := func(message string) (metav1.Condition, bool) {
		return reconcile.NewCondition(v1alpha1.ConditionAuthenticated, metav1.ConditionUnknown, v1alpha1.ReasonMasterUnavailable, message), true
	}
	m, reporter := s.master, s.refinery.Status.Reporter
	switch {
	case m == nil:
		return unavailable(fmt.Sprintf("ClusterMaster %s does not exist", s.refinery.Spec.MasterRef.Name))
	case m.ActivePod() != "":
		return metav1.Condition{}, false
	case m.Status.Active == nil && meta.FindStatusCondition(s.refinery.Status.Conditions, v1alpha1.ConditionAuthenticated) == nil:
		return unavailable(fmt.Sprintf("no pod of ClusterMaster %s is active yet", m.Name))
	case m.Status.Active == nil:
		return metav1.Condition{}, false
	case reporter != nil && reporter.Epoch > m.Status.Active.Epoch && !nobodys: // the next master, of which the ClusterMaster as it was read does not know
		return metav1.Condition{}, false
	default:
		return unavailable(fmt.Sprintf("no pod of ClusterMaster %s is active", m.Name))
	}
}

// statusConfiguration is the part of status that the operator writes.
func statusConfiguration(r *v1alpha1.Refinery, status v1alpha1.RefineryStatus) *apiac.RefineryApplyConfiguration {
	types := slices.DeleteFunc(slices.Clone(v1alpha1.RefineryConditions), func(kind string) bool { return kind == v1alpha1.ConditionAuthenticated })
	configuration := apiac.RefineryStatus().
		WithConditions(reconcile.ConditionConfigurations(status.Conditions, types)...).
		WithReplicas(status.Replicas)
	if status.ObservedGeneration != 0 {
		configuration.WithObservedGeneration(status.ObservedGeneration)
	}
	if status.PendingUpgrade != "" {
		configuration.WithPendingUpgrade(status.PendingUpgrade)
	}
	if status.ReconciledGeneration != 0 {
		configuration.WithReconciledGeneration(status.ReconciledGeneration)
	}
	if status.Selector != "" {
		configuration.WithSelector(status.Selector)
	}
	for _, c := range status.Certificates {
		listed := apiac.ListedCertificate().WithFingerprint(c.Fingerprint).WithNotAfter(c.NotAfter).WithUse(c.Use)
		if c.Until != nil {
			listed.WithUntil(*c.Until)
		}
		if c.Secret != "" {
			listed.WithSecret(c.Secret)
		}
		if c.SecretUID != "" {
			listed.WithSecretUID(c.SecretUID)
		}
		configuration.WithCertificates(listed)
	}
	if mode := status.Security; mode != nil {
		configuration.WithSecurity(apiac.SecurityMode().WithTransport(mode.Transport).WithAuthentication(mode.Authentication))
	}
	for _, c := range status.Revoked {
		configuration.WithRevoked(apiac.RevokedCertificate().WithFingerprint(c.Fingerprint).WithNotAfter(c.NotAfter).
			WithSecret(c.Secret).WithSince(c.Since))
	}
	return apiac.Refinery(r.Name, r.Namespace).WithStatus(configuration)
}

// revocations are the events of what a pass revoked, and of what it let in again.
func revocations(s *scope, status v1alpha1.RefineryStatus) (events []reconcile.Event) {
	for _, c := range status.Revoked {
		if v1alpha1.RevocationOf(s.refinery.Status.Revoked, c.Fingerprint) == nil {
			events = append(events, reconcile.CertificateRevoked(c))
		}
	}
	for _, c := range s.refinery.Status.Revoked {
		if v1alpha1.RevocationOf(status.Revoked, c.Fingerprint) == nil && s.now.Before(c.NotAfter.Time) {
			events = append(events, reconcile.CertificateReadmitted(c))
		}
	}
	return events
}

// speaksForMaster reports whether the operator writes the master's part of status, because no master can.
func speaksForMaster(status v1alpha1.RefineryStatus) bool {
	c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionAuthenticated)
	return c != nil && c.Reason == v1alpha1.ReasonMasterUnavailable
}

// mastersPart is the master's part, if the operator has to write it.
func mastersPart(r *v1alpha1.Refinery, status v1alpha1.RefineryStatus) apply.Configuration {
	is, was := masterfields.OfRefinery(r.Namespace, r.Name, &status), masterfields.OfRefinery(r.Namespace, r.Name, &r.Status)
	if reconcile.Same(is, was) {
		return nil
	}
	return is.WithResourceVersion(r.ResourceVersion)
}
