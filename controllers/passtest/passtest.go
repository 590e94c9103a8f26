// Package passtest has what the tests of what a pass leaves have in common for both kinds.
package passtest

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

// Day is 24 hours.
const Day = 24 * time.Hour

// Now is when the passes are.
var Now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Deployed is a Deployment with pods.
func Deployed(available int32) *appsv1.Deployment {
	return &appsv1.Deployment{Status: appsv1.DeploymentStatus{Replicas: available, UpdatedReplicas: available, AvailableReplicas: available}}
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

// LeaseServer serves the Lease of ClusterMaster alpha, or none, and counts how often it is read.
func LeaseServer(l *coordinationv1.Lease, reads *int) *controllers.Environment {
	builder := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			*reads++
			return c.Get(ctx, key, o, options...)
		}})
	if l != nil {
		builder.WithObjects(l)
	}
	server := builder.Build()
	return &controllers.Environment{Client: server, Live: server}
}

// Lease is one for ten seconds that was renewed some time ago.
func Lease(holder string, ago time.Duration) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha-active"},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: ptr.To[int32](10),
			RenewTime: ptr.To(metav1.NewMicroTime(Now.Add(-ago)))},
	}
}

// Inspected is what came of looking at a Lease: 0 for next is never.
type Inspected struct {
	Reads        int
	Held, Lapsed bool
	Next         time.Duration
}

// Fill takes over what a Lease said, or that there is none, and what comes next.
func (i *Inspected) Fill(l *reconcile.Lease, agenda reconcile.Agenda) {
	if l != nil {
		i.Held, i.Lapsed = l.HasHolder, l.Lapsed(Now)
	}
	i.Next = agenda.After(Now)
}
