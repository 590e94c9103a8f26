package controllers

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

func notReady(reason, message string) metav1.Condition {
	return newCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
}

// hindered is condition Ready where something is in the way that both kinds have in common.
func hindered(conditions conditionSet, o outcome, paused bool, meanwhile string) (metav1.Condition, bool) {
	certificate := conditions.find(v1alpha1.ConditionCertificateReady)
	switch {
	case paused:
		return newCondition(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonPaused,
			"spec.paused is set: nothing is changed until it is taken away; "+meanwhile), true
	case o.consequence != carriedOut:
		return notReady(o.reason, o.message), true
	case certificate != nil && certificate.Status != metav1.ConditionTrue:
		return notReady(v1alpha1.ReasonCertificateNotReady, fmt.Sprintf("%s: %s", certificate.Reason, certificate.Message)), true
	default:
		return metav1.Condition{}, false
	}
}

// rolloutMessage tells what is left of an update of the pods, and is empty when every pod is of the current
// spec. written is the generation of the last apply, which the Deployment that was read may not have yet.
// Pods that are missing altogether are condition Available's to tell.
func rolloutMessage(deployment *appsv1.Deployment, written int64, wanted int32) string {
	if deployment == nil {
		return ""
	}
	status := deployment.Status
	if status.ObservedGeneration < max(deployment.Generation, written) {
		return "the Deployment's last change has not been taken up yet"
	}
	old := status.Replicas - status.UpdatedReplicas
	if old <= 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d pods run the current spec; older ones: %d", status.UpdatedReplicas, wanted, old)
}

func availableReplicas(deployment *appsv1.Deployment) int32 {
	if deployment == nil {
		return 0
	}
	return deployment.Status.AvailableReplicas
}

func podsMessage(available, wanted int32, deployment *appsv1.Deployment) string {
	message := fmt.Sprintf("%d of %d pods are available", available, wanted)
	if failure := replicaFailure(deployment); failure != "" {
		return fmt.Sprintf("%s: %s", message, failure)
	}
	return message
}

// replicaFailure is why the Deployment cannot make pods, in the API server's words, or "".
func replicaFailure(deployment *appsv1.Deployment) string {
	if deployment == nil {
		return ""
	}
	for _, c := range deployment.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return c.Message
		}
	}
	return ""
}
