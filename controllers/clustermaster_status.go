package controllers

import (
	"fmt"

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
		status.Certificate = nil
		if leaf := s.certificate.leaf; leaf != nil {
			status.Certificate = &v1alpha1.ServedCertificate{Fingerprint: v1alpha1.Fingerprint(leaf), NotAfter: metav1.NewTime(leaf.NotAfter.UTC())}
		}
	}
	conditions.set(masterAvailable(m, s.deployment))
	conditions.set(transportSecure(m))
	status.Replicas = 0
	if s.deployment != nil {
		status.Replicas = s.deployment.Status.Replicas
	}
	status.Selector = resource.FormatSelector(resource.MasterSelector(m))
	if o.consequence != silentRetry {
		conditions.set(masterReady(m, conditions, o))
	}
	conditions.setStalled(o)
	if o.consequence == carriedOut && !m.Spec.Paused {
		status.ObservedGeneration = m.Generation
		status.Endpoint = resource.MasterEndpoint(m)
		status.Version = version.Version
	}
	return status
}

// masterReady tells the first thing that is in the way, by the other conditions of the same pass.
func masterReady(m *v1alpha1.ClusterMaster, conditions conditionSet, o outcome) metav1.Condition {
	not := func(reason, message string) metav1.Condition {
		return newCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
	}
	find := func(kind string) *metav1.Condition { return meta.FindStatusCondition(*conditions.conditions, kind) }
	certificate, available := find(v1alpha1.ConditionCertificateReady), find(v1alpha1.ConditionAvailable)
	switch {
	case m.Spec.Paused:
		return newCondition(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonPaused,
			"spec.paused is set: nothing is changed until it is taken away; running pods go on")
	case o.consequence != carriedOut:
		return not(o.reason, o.message)
	case certificate != nil && certificate.Status != metav1.ConditionTrue:
		return not(v1alpha1.ReasonCertificateNotReady, fmt.Sprintf("%s: %s", certificate.Reason, certificate.Message))
	case available != nil && available.Status != metav1.ConditionTrue:
		return not(v1alpha1.ReasonProgressing, available.Message)
	case m.Status.Active == nil:
		return not(v1alpha1.ReasonNoActiveMaster, "no master pod is active yet")
	default:
		return newCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "a master is active")
	}
}

// masterAvailable needs one pod: the standbys make it safe, not available.
func masterAvailable(m *v1alpha1.ClusterMaster, deployment *appsv1.Deployment) metav1.Condition {
	available := availableReplicas(deployment)
	message := podsMessage(available, resource.MasterReplicas(m), deployment)
	if available > 0 {
		return newCondition(v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonAvailable, message)
	}
	return newCondition(v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonUnavailable, message)
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
			v1alpha1.ConditionCertificateReady, v1alpha1.ConditionTransportSecure, v1alpha1.ConditionStalled)...).
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
	if status.Selector != "" {
		configuration.WithSelector(status.Selector)
	}
	if c := status.Certificate; c != nil {
		configuration.WithCertificate(apiac.ServedCertificate().WithFingerprint(c.Fingerprint).WithNotAfter(c.NotAfter))
	}
	return apiac.ClusterMaster(m.Name, m.Namespace).WithStatus(configuration)
}
