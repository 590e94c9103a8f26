// Package passtest has what the tests of what a pass leaves have in common for both kinds.
package passtest

import (
	"crypto/x509"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Day is 24 hours.
const Day = 24 * time.Hour

// Now is when the passes are.
var Now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Deployed is a Deployment with pods.
func Deployed(available int32) *appsv1.Deployment {
	return &appsv1.Deployment{Status: appsv1.DeploymentStatus{Replicas: available, UpdatedReplicas: available, AvailableReplicas: available}}
}

// Late is a Deployment whose pods did not become available within its progress deadline, with some that are.
func Late(available int32) *appsv1.Deployment {
	d := Deployed(available)
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}}
	return d
}

// Refused is a Deployment that the API server refuses pods.
func Refused(message string) *appsv1.Deployment {
	d := Deployed(0)
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: message}}
	return d
}

// Shown are conditions as "type=status/reason", in the order of names.
func Shown(conditions []metav1.Condition) map[string]string {
	all := map[string]string{}
	for _, c := range conditions {
		all[c.Type] = fmt.Sprintf("%s/%s", c.Status, c.Reason)
	}
	return all
}

// Lasting is a certificate of some life with some of it left at Now.
func Lasting(life, left time.Duration) *x509.Certificate {
	return &x509.Certificate{NotBefore: Now.Add(left - life), NotAfter: Now.Add(left)}
}

// Told is the condition of a type as Text.
func Told(conditions []metav1.Condition, kind string) string {
	return Text(meta.FindStatusCondition(conditions, kind))
}

// Text is a condition as "status/reason: message", or nothing.
func Text(c *metav1.Condition) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s/%s: %s", c.Status, c.Reason, c.Message)
}
