package clustermaster

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	apiac "github.com/refinery-operator/refinery-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/masterfields"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

// statusOf is the status that a pass leaves, what was there, brought up to what the pass found, and when to look again.
func statusOf(s *scope, found findings, o reconcile.Outcome) (v1alpha1.ClusterMasterStatus, reconcile.Agenda) {
	m := s.master
	status := *m.Status.DeepCopy()
	conditions := reconcile.Conditions{All: &status.Conditions, Generation: m.Generation, Now: s.now}
	agenda := agendaOf(s, found)
	if served := found.servedCertificate(); served != nil && served.Condition.Type != "" {
		conditions.Set(served.Condition)
		expiring, warned, recheck := certificates.Expiring(s.now, expiries(m, found.authority.authority, served)...)
		conditions.SetOrRemove(v1alpha1.ConditionCertificateExpiring, expiring, warned)
		agenda.AtFuture(recheck, s.now)
		status.Certificate = nil
		if leaf := served.Leaf; leaf != nil {
			status.Certificate = &v1alpha1.ServedCertificate{Fingerprint: v1alpha1.Fingerprint(leaf), NotAfter: metav1.NewTime(leaf.NotAfter.UTC())}
		}
	}
	if found.trusted != nil {
		status.Authorities = fingerprintsOf(found.trusted)
	}
	if found.rotation != nil {
		rotating, under := found.rotation.Condition()
		conditions.SetOrRemove(v1alpha1.ConditionCertificateAuthorityRotating, rotating, under)
	}
	conditions.Set(availableCondition(m, s.deployment, found.pods.Failure))
	if found.security != nil {
		status.Security = &found.security.status
		changing, under := found.security.changing()
		conditions.SetOrRemove(v1alpha1.ConditionSecurityChanging, changing, under)
		conditions.Set(found.security.transportSecure())
	}
	if hasLostMaster(s, found.lease) {
		withoutMaster(&status)
	}
	status.Replicas = 0
	if s.deployment != nil {
		status.Replicas = s.deployment.Status.Replicas
	}
	status.Selector = resource.FormatSelector(resource.MasterSelector(m))
	if !o.Silent() {
		ready := readyCondition(s, found, status.Active, conditions, o)
		conditions.Set(ready)
		conditions.SetProgress(ready, o.Consequence == reconcile.Stalled || ready.Reason == v1alpha1.ReasonNoActiveMaster && m.WantedPods() == 0)
		status.ObservedGeneration = m.Generation
	}
	if o.Consequence == reconcile.CarriedOut && !m.Spec.Paused {
		status.ReconciledGeneration = m.Generation
		status.Endpoint = resource.MasterEndpoint(m)
		status.Version = version.Version
	}
	if s.service != nil {
		status.ExternalEndpoints = resource.MasterExternalEndpoints(m, s.service)
	}
	return status, agenda
}

// agendaOf is when to look again at what a pass found.
func agendaOf(s *scope, found findings) (a reconcile.Agenda) {
	a.AtFuture(found.pods.Recheck, s.now)
	if found.rotation != nil {
		a.AtFuture(found.rotation.RecheckAt(s.now), s.now)
	}
	if found.security != nil {
		a.AtFuture(found.security.recheck(), s.now)
	}
	if found.authority != nil && found.authority.authority != nil {
		a.AtFuture(found.authority.end.Add(time.Second), s.now)
	}
	if found.certificate != nil {
		a.AtFuture(found.certificate.Recheck, s.now)
	}
	if found.lease != nil {
		a.At(found.lease.RecheckAt(s.now))
		if s.master.ActivePod() != "" && isStopped(s.deployment) {
			a.At(s.now.Add(stoppingRecheck))
		}
	}
	return a
}

// stoppingRecheck is how soon to look again whether the last master has given its Lease back.
const stoppingRecheck = 2 * time.Second

// hasLostMaster reports whether the pod that status shows as active is so no more. Of a Deployment that is scaled to
// nothing, no pod follows: there is nothing to wait for once the last one has ended, or has given its Lease back before it
// does. Otherwise another pod may take the Lease over within the alive timeout.
func hasLostMaster(s *scope, l *reconcile.Lease) bool {
	switch {
	case s.master.ActivePod() == "":
		return false
	case isStopped(s.deployment) && hasEnded(s.deployment):
		return true
	case l == nil:
		return false
	case isStopped(s.deployment) && !l.HasHolder:
		return true
	default:
		return l.Lapsed(s.now)
	}
}

// isStopped reports whether a Deployment wants no pods and has none but such as are being terminated.
func isStopped(d *appsv1.Deployment) bool {
	return d != nil && ptr.Deref(d.Spec.Replicas, 1) == 0 && d.Status.ObservedGeneration >= d.Generation && d.Status.Replicas == 0
}

// hasEnded reports whether none is being terminated either. Older clusters do not say.
func hasEnded(d *appsv1.Deployment) bool { return ptr.Deref(d.Status.TerminatingReplicas, -1) == 0 }

// withoutMaster takes back what the last active master said. Its epoch stays, so that the next one has a newer, and so does
// which certificates it had loaded: it may still run where nobody sees it, and a rotation waits for it or its successor.
func withoutMaster(status *v1alpha1.ClusterMasterStatus) {
	status.Active.Pod = ""
	if r := status.Refineries; r != nil {
		r.Authenticated, r.Summary = 0, fmt.Sprintf("0/%d", r.Total)
	}
	if n := status.Nodes; n != nil {
		n.Authenticated = 0
	}
	for i := range status.Upstreams {
		status.Upstreams[i].Assigned = 0
	}
}

// fingerprintsOf are those of the authorities that are trusted, as status lists them.
func fingerprintsOf(trusted *pki.Authority) (fingerprints []string) {
	for _, c := range trusted.Certificates[:min(len(trusted.Certificates), v1alpha1.MaxActiveAuthorities)] {
		fingerprints = append(fingerprints, v1alpha1.Fingerprint(c))
	}
	slices.Sort(fingerprints)
	return fingerprints
}

// noneWanted tells what scaling to nothing means.
const noneWanted = "spec.replicas is 0: no master runs; scale it up"

// readyCondition returns condition Ready: False with the first problem that the pass and its other conditions show, or
// True.
func readyCondition(s *scope, found findings, active *v1alpha1.ActiveMaster, conditions reconcile.Conditions, o reconcile.Outcome) metav1.Condition {
	m := s.master
	if c, ok := reconcile.Hindered(conditions, o, m.Spec.Paused, "running pods continue"); ok {
		return c
	}
	available := conditions.Find(v1alpha1.ConditionAvailable)
	lack, lacking := reconcile.PodsLack(s.deployment, found.written, m.WantedPods(), found.pods, available)
	switch {
	case m.WantedPods() == 0:
		return reconcile.NotReady(v1alpha1.ReasonNoActiveMaster, noneWanted)
	case available.Status != metav1.ConditionTrue:
		return lack
	case active == nil:
		return reconcile.NotReady(v1alpha1.ReasonNoActiveMaster, "no master pod is active yet")
	case active.Pod == "":
		return reconcile.NotReady(v1alpha1.ReasonNoActiveMaster, fmt.Sprintf("no master pod is active: none has renewed Lease %s for longer than the alive timeout", m.LeaseName()))
	case lacking:
		return lack
	default:
		return reconcile.NewCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "a master is active")
	}
}

// availableCondition is True if one pod is available: standbys only make a failover fast.
func availableCondition(m *v1alpha1.ClusterMaster, deployment *appsv1.Deployment, failure *reconcile.PodFailure) metav1.Condition {
	if m.WantedPods() == 0 {
		return reconcile.NewCondition(v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonUnavailable, noneWanted)
	}
	return reconcile.Available(deployment, failure, 1, m.WantedPods())
}

// expiries are the authority and the certificate that the master serves, as far as they are there.
func expiries(m *v1alpha1.ClusterMaster, authority *pki.Authority, served *certificates.Finding) []certificates.Expiry {
	var all []certificates.Expiry
	name, provided := m.NamedAuthority()
	issuer := m.Issuer()
	if authority != nil {
		e := certificates.Expiry{Certificate: authority.Certificates[0], Provided: provided}
		switch {
		case issuer != nil:
			e.Provided = true
			e.What = fmt.Sprintf("the certificate authority of %s %s, ca.crt in Secret %s,", issuer.Kind, issuer.Name, m.CertificateSecretName())
			e.Advice = "every certificate that it signed expires with it; give the issuer a new authority before then"
		case provided:
			e.What = fmt.Sprintf("the certificate authority in Secret %s", name)
			e.Advice = "before then put the new authority first in tls.crt, with its key in tls.key if you provide the key, and keep the old one after it until every node presents a certificate that the new one signed"
		default:
			e.What = fmt.Sprintf("the certificate authority in Secret %s", m.AuthoritySecretName())
			e.Advice = "every certificate that it signed expires with it; condition CertificateAuthorityRotating says what blocks its replacement"
		}
		all = append(all, e)
	}
	leaf := served.Leaf
	if leaf == nil || (len(all) > 0 && !leaf.NotAfter.Before(all[0].Certificate.NotAfter)) {
		return all // what ends with its authority is told with it
	}
	e := certificates.Expiry{Certificate: leaf, Provided: issuer == nil && authority != nil && authority.Key == nil,
		What: fmt.Sprintf("the certificate that the master serves, in Secret %s,", m.CertificateSecretName())}
	if !e.Provided {
		e.RenewBefore = m.CertificatePeriods().RenewBefore
	}
	switch c := served.Condition; {
	case e.Provided:
		e.Advice = "put a new one into the Secret before then"
	case c.Status != metav1.ConditionTrue:
		e.Advice = fmt.Sprintf("it was not renewed: %s: %s", c.Reason, c.Message)
	case issuer != nil:
		e.Advice = certificates.NotRenewedByIssuer(m.CertificateSecretName())
	case m.Spec.Paused:
		e.Advice = "it is not renewed while spec.paused is set"
	default:
		e.Advice = "it was not renewed: see the events and the log of the operator"
	}
	return append(all, e)
}

// lostEvent is the event of an authority whose Secret was deleted.
func lostEvent(m *v1alpha1.ClusterMaster) reconcile.Event {
	return reconcile.Event{Type: corev1.EventTypeWarning, Reason: "CertificateAuthorityLost", Action: "Rotate", Note: fmt.Sprintf(
		"Secret %s was deleted, and with it the key of the certificate authority: another one takes its place, and the former stays trusted until nobody needs it; "+
			"to end the trust in it at once, set annotation %s: %s, then %s", m.AuthoritySecretName(), v1alpha1.ForceCARotationAnnotation, v1alpha1.ReasonPreparing, v1alpha1.ReasonActivating)}
}

// rotationEvents are the events of the phases of a rotation. found is nil if the pass has not looked.
func rotationEvents(before, after []metav1.Condition, found *rotation.Rotation) []reconcile.Event {
	const kind, action = v1alpha1.ConditionCertificateAuthorityRotating, "Rotate"
	was, is := meta.FindStatusCondition(before, kind), meta.FindStatusCondition(after, kind)
	var changes []reconcile.Event
	if found != nil && found.CutOff != "" {
		changes = append(changes, reconcile.Event{Type: corev1.EventTypeWarning, Reason: "CertificateAuthorityForced", Action: action, Note: fmt.Sprintf("annotation %s: the rotation continued without waiting for %s", v1alpha1.ForceCARotationAnnotation, found.CutOff)})
	}
	switch {
	case is != nil && (was == nil || was.Reason != is.Reason):
		changes = append(changes, reconcile.Event{Type: corev1.EventTypeNormal, Reason: "CertificateAuthority" + is.Reason, Action: action, Note: is.Message})
	case is == nil && was != nil:
		changes = append(changes, reconcile.Event{Type: corev1.EventTypeNormal, Reason: "CertificateAuthorityRotated", Action: action, Note: "the authority was replaced, and the old one is no longer trusted"})
	}
	return changes
}

// statusConfiguration is the part of status that the operator writes.
func statusConfiguration(m *v1alpha1.ClusterMaster, status v1alpha1.ClusterMasterStatus) *apiac.ClusterMasterApplyConfiguration {
	configuration := apiac.ClusterMasterStatus().
		WithConditions(reconcile.ConditionConfigurations(status.Conditions, v1alpha1.ClusterMasterConditions)...).
		WithReplicas(status.Replicas)
	if status.ObservedGeneration != 0 {
		configuration.WithObservedGeneration(status.ObservedGeneration)
	}
	if status.ReconciledGeneration != 0 {
		configuration.WithReconciledGeneration(status.ReconciledGeneration)
	}
	if m := status.Security; m != nil {
		configuration.WithSecurity(securityConfiguration(m))
	}
	if status.Endpoint != "" {
		configuration.WithEndpoint(status.Endpoint)
	}
	configuration.WithExternalEndpoints(status.ExternalEndpoints...)
	if status.Version != "" {
		configuration.WithVersion(status.Version)
	}
	if len(status.Authorities) > 0 {
		configuration.WithAuthorities(status.Authorities...)
	}
	if status.Selector != "" {
		configuration.WithSelector(status.Selector)
	}
	if c := status.Certificate; c != nil {
		configuration.WithCertificate(apiac.ServedCertificate().WithFingerprint(c.Fingerprint).WithNotAfter(c.NotAfter))
	}
	return apiac.ClusterMaster(m.Name, m.Namespace).WithStatus(configuration)
}

func securityConfiguration(s *v1alpha1.SecurityStatus) *apiac.SecurityStatusApplyConfiguration {
	configuration := apiac.SecurityStatus().WithTransport(s.Transport).WithAuthentication(s.Authentication)
	for _, f := range s.Former {
		configuration.WithFormer(apiac.FormerSecurity().WithTransport(f.Transport).WithAuthentication(f.Authentication).WithUntil(f.Until))
	}
	return configuration
}

// mastersPart is the part of status that a master writes, if the operator has to: the master that wrote it is gone.
func mastersPart(m *v1alpha1.ClusterMaster, status v1alpha1.ClusterMasterStatus) apply.Configuration {
	if status.Active == nil || status.Active.Pod == m.Status.Active.Pod {
		return nil
	}
	return masterfields.OfClusterMaster(m.Namespace, m.Name, &status).WithResourceVersion(m.ResourceVersion)
}
