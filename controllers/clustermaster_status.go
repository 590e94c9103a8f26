package controllers

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	apiac "github.com/refinery-operator/refinery-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

// masterStatus is the status that a pass leaves: what was there, brought up to what the pass found.
func masterStatus(s *masterScope, o outcome) v1alpha1.ClusterMasterStatus {
	m := s.master
	status := *m.Status.DeepCopy()
	conditions := conditionSet{&status.Conditions, m.Generation, s.now}
	if s.certificate != nil && s.certificate.condition.Type != "" {
		conditions.set(s.certificate.condition)
		conditions.setExpiring(&s.agenda, masterExpiries(s)...)
		status.Certificate = nil
		if leaf := s.certificate.leaf; leaf != nil {
			status.Certificate = &v1alpha1.ServedCertificate{Fingerprint: v1alpha1.Fingerprint(leaf), NotAfter: metav1.NewTime(leaf.NotAfter.UTC())}
		}
	}
	if s.trusted != nil {
		status.Authorities = nil
		for _, c := range s.trusted.Certificates[:min(len(s.trusted.Certificates), v1alpha1.MaxActiveAuthorities)] {
			status.Authorities = append(status.Authorities, v1alpha1.Fingerprint(c))
		}
		slices.Sort(status.Authorities)
	}
	if c, rotating := s.rotation.Condition(); rotating {
		conditions.set(c)
	} else if s.rotation != nil {
		meta.RemoveStatusCondition(conditions.conditions, v1alpha1.ConditionCertificateAuthorityRotating)
	}
	conditions.set(masterAvailable(m, s.deployment))
	conditions.set(transportSecure(m))
	status.Replicas = 0
	if s.deployment != nil {
		status.Replicas = s.deployment.Status.Replicas
	}
	status.Selector = resource.FormatSelector(resource.MasterSelector(m))
	if !o.silent() {
		conditions.set(masterReady(s, conditions, o))
	}
	conditions.setStalled(o)
	if o.consequence == carriedOut && !m.Spec.Paused {
		status.ObservedGeneration = m.Generation
		status.Endpoint = resource.MasterEndpoint(m)
		status.Version = version.Version
	}
	return status
}

// noneWanted tells what scaling to nothing means.
const noneWanted = "spec.replicas is 0: no master runs; scale it up"

// masterReady tells the first thing that is in the way, by the other conditions of the same pass.
func masterReady(s *masterScope, conditions conditionSet, o outcome) metav1.Condition {
	m := s.master
	if c, ok := hindered(conditions, o, m.Spec.Paused, "running pods go on"); ok {
		return c
	}
	available := conditions.find(v1alpha1.ConditionAvailable)
	switch rollout := rolloutMessage(s.deployment, s.written, resource.MasterReplicas(m)); {
	case resource.MasterReplicas(m) == 0:
		return notReady(v1alpha1.ReasonNoActiveMaster, noneWanted)
	case available != nil && available.Status != metav1.ConditionTrue:
		return notReady(v1alpha1.ReasonProgressing, available.Message)
	case m.Status.Active == nil:
		return notReady(v1alpha1.ReasonNoActiveMaster, "no master pod is active yet")
	case s.lease != nil && s.lease.lapsed(s.now):
		return notReady(v1alpha1.ReasonNoActiveMaster, fmt.Sprintf(
			"no pod holds Lease %s: the last active one, %s, has not renewed it for longer than the alive timeout", m.LeaseName(), m.Status.Active.Pod))
	case rollout != "":
		return notReady(v1alpha1.ReasonProgressing, rollout)
	default:
		return newCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "a master is active")
	}
}

// masterAvailable needs one pod: the standbys make it safe, not available.
func masterAvailable(m *v1alpha1.ClusterMaster, deployment *appsv1.Deployment) metav1.Condition {
	available, wanted := availableReplicas(deployment), resource.MasterReplicas(m)
	message := podsMessage(available, wanted, deployment)
	switch {
	case wanted == 0:
		return newCondition(v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonUnavailable, noneWanted)
	case available > 0:
		return newCondition(v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonAvailable, message)
	default:
		return newCondition(v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonUnavailable, message)
	}
}

// transportSecure is True for the default only.
func transportSecure(m *v1alpha1.ClusterMaster) metav1.Condition {
	not := func(reason, message string) metav1.Condition {
		return newCondition(v1alpha1.ConditionTransportSecure, metav1.ConditionFalse, reason, message)
	}
	switch security := m.Spec.Security; {
	case security.Transport == v1alpha1.TransportPlaintext:
		return not(v1alpha1.ReasonPlaintext, "transport Plaintext: anyone on the way can read and change everything, the shared certificate included")
	case security.Transport == v1alpha1.TransportServerTLS:
		return not(v1alpha1.ReasonServerTLS, "transport ServerTLS: nodes share one secret, and whoever has it can speak for any of them")
	case security.Authentication == v1alpha1.AuthenticationSharedCertificate:
		return not(v1alpha1.ReasonSharedCertificate, "authentication SharedCertificate: nodes share one secret, and whoever has it can speak for any of them")
	default:
		return newCondition(v1alpha1.ConditionTransportSecure, metav1.ConditionTrue, v1alpha1.ReasonMutualTLS,
			"mutual TLS, and each node proves the key of its own certificate")
	}
}

// masterStatusConfiguration is the part of status that the operator writes.
func masterStatusConfiguration(m *v1alpha1.ClusterMaster, status v1alpha1.ClusterMasterStatus) *apiac.ClusterMasterApplyConfiguration {
	configuration := apiac.ClusterMasterStatus().
		WithConditions(conditionConfigurations(status.Conditions, v1alpha1.ConditionReady, v1alpha1.ConditionAvailable,
			v1alpha1.ConditionCertificateReady, v1alpha1.ConditionCertificateExpiring, v1alpha1.ConditionCertificateAuthorityRotating,
			v1alpha1.ConditionTransportSecure, v1alpha1.ConditionStalled)...).
		WithReplicas(status.Replicas)
	if status.ObservedGeneration != 0 {
		configuration.WithObservedGeneration(status.ObservedGeneration)
	}
	if status.Endpoint != "" {
		configuration.WithEndpoint(status.Endpoint)
	}
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
