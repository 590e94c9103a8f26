package reconcile

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/podset"
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
		return fmt.Sprintf("the %s controller has not observed the last change yet", podset.KindOf(deployment))
	}
	old := status.Replicas - status.UpdatedReplicas
	if old <= 0 {
		return ""
	}
	return fmt.Sprintf("a rollout is pending: %d of %d pods were created by the current spec, and older ones still there: %d", status.UpdatedReplicas, wanted, old)
}

// AvailableReplicas is 0 without a Deployment.
func AvailableReplicas(deployment *appsv1.Deployment) int32 {
	if deployment == nil {
		return 0
	}
	return deployment.Status.AvailableReplicas
}

// Available returns condition Available: True if at least needed of the wanted pods are. Otherwise it says why the Deployment cannot
// create pods, or why one does not start.
func Available(deployment *appsv1.Deployment, failure *PodFailure, needed, wanted int32) metav1.Condition {
	available := AvailableReplicas(deployment)
	if failure != nil {
		available = max(0, available-failure.Crashing)
	}
	status, reason, message := metav1.ConditionFalse, v1alpha1.ReasonUnavailable, fmt.Sprintf("%d of %d pods are available", available, wanted)
	refused := ReplicaFailure(deployment)
	switch {
	case refused != "":
		reason, message = v1alpha1.ReasonPodsRefused, message+": "+refused
	case failure != nil && available < wanted:
		reason, message = failure.Reason, message+": "+failure.Message
	}
	if deployment != nil && available >= needed {
		status, reason = metav1.ConditionTrue, v1alpha1.ReasonAvailable
	}
	return NewCondition(v1alpha1.ConditionAvailable, status, reason, message)
}

// PodsLack returns condition Ready if pods are missing, or older ones are still there: Progressing, and after the Deployment's
// deadline ProgressDeadlineExceeded. Otherwise it returns false. written is that of RolloutMessage.
func PodsLack(deployment *appsv1.Deployment, written int64, wanted int32, pods PodsSeen, available *metav1.Condition) (metav1.Condition, bool) {
	message := RolloutMessage(deployment, written, wanted)
	switch {
	case available.Status != metav1.ConditionTrue:
		message = available.Message
	case message == "":
		return metav1.Condition{}, false
	case pods.Failure != nil:
		message += ": " + pods.Failure.Message
	}
	if pods.Late || isLate(deployment) {
		return NotReady(v1alpha1.ReasonProgressDeadlineExceeded, message), true
	}
	return NotReady(v1alpha1.ReasonProgressing, message), true
}

// isLate reports whether the pods of a rollout did not become available within the progress deadline of the Deployment.
func isLate(deployment *appsv1.Deployment) bool {
	return progresses(deployment, corev1.ConditionFalse, v1alpha1.ReasonProgressDeadlineExceeded)
}

// isTimed reports whether the controller of the Deployment says when its pods are late: it does in a rollout that has begun and not
// ended. That of a StatefulSet never does.
func isTimed(deployment *appsv1.Deployment) bool {
	if deployment.Status.ObservedGeneration < deployment.Generation {
		return true
	}
	return podset.KindOf(deployment) != podset.StatefulSet && !progresses(deployment, corev1.ConditionTrue, "NewReplicaSetAvailable")
}

func progresses(deployment *appsv1.Deployment, status corev1.ConditionStatus, reason string) bool {
	return deployment != nil && slices.ContainsFunc(deployment.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentProgressing && c.Status == status && c.Reason == reason
	})
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
