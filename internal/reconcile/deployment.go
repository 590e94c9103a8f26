package reconcile

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// NotReady returns condition Ready with status False.
func NotReady(reason, message string) metav1.Condition {
	return NewCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
}

// Hindered returns condition Ready if something prevents it that both kinds have in common: a pause, an error of the
// pass, or a certificate that is not ready. Otherwise it returns false.
func Hindered(conditions Conditions, o Outcome, paused bool, meanwhile string) (metav1.Condition, bool) {
	certificate := conditions.Find(v1alpha1.ConditionCertificateReady)
	switch {
	case paused:
		return NewCondition(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonPaused,
			"spec.paused is set: the operator changes nothing; "+meanwhile+"; unset it to resume"), true
	case o.Consequence != CarriedOut:
		return NotReady(o.Reason, o.Message), true
	case certificate != nil && certificate.Status != metav1.ConditionTrue:
		return NotReady(v1alpha1.ReasonCertificateNotReady, fmt.Sprintf("%s: %s", certificate.Reason, certificate.Message)), true
	default:
		return metav1.Condition{}, false
	}
}

// RolloutMessage says how far an update of the pods is, and is empty if every pod runs the current spec. written is the
// generation of the last apply, which the Deployment that was read may not have yet. Condition Available reports pods
// that are missing.
func RolloutMessage(deployment *appsv1.Deployment, written int64, wanted int32) string {
	if deployment == nil {
		return ""
	}
	status := deployment.Status
	if status.ObservedGeneration < max(deployment.Generation, written) {
		return "the Deployment controller has not observed the last change yet"
	}
	old := status.Replicas - status.UpdatedReplicas
	if old <= 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d pods run the current spec; older ones: %d", status.UpdatedReplicas, wanted, old)
}

// AvailableReplicas is 0 without a Deployment.
func AvailableReplicas(deployment *appsv1.Deployment) int32 {
	if deployment == nil {
		return 0
	}
	return deployment.Status.AvailableReplicas
}

// PodsMessage counts the pods, and says why the Deployment cannot create more.
func PodsMessage(available, wanted int32, deployment *appsv1.Deployment) string {
	message := fmt.Sprintf("%d of %d pods are available", available, wanted)
	if failure := ReplicaFailure(deployment); failure != "" {
		return fmt.Sprintf("%s: %s", message, failure)
	}
	return message
}

// ReplicaFailure returns why the Deployment cannot create pods, in the API server's words, or "".
func ReplicaFailure(deployment *appsv1.Deployment) string {
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
