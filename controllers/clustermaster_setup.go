package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

// SetupClusterMaster adds the controller of ClusterMasters to the manager.
func SetupClusterMaster(ctx context.Context, mgr ctrl.Manager, e *Environment) error {
	r := NewClusterMasterReconciler(e)
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.ClusterMaster{}, secretIndex, secretsOfMaster); err != nil {
		return fmt.Errorf("index ClusterMasters by %s: %w", secretIndex, err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.ClusterMaster{}).
		Owns(&corev1.Secret{}).
		Owns(&corev1.ServiceAccount{}).
		Owns(&corev1.Service{}).
		Owns(&rbacv1.Role{}).
		Owns(&rbacv1.RoleBinding{}).
		Owns(&appsv1.Deployment{}).
		Watches(&v1alpha1.Refinery{}, r.ofRefinery()).
		Watches(&v1alpha1.Refinery{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(comesOrGoes())). // it may have the name
		Watches(&appsv1.Deployment{}, handler.EnqueueRequestsFromMapFunc(ofMounted("-ca", issuedSuffix, "-shared", "-master")),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})). // which may have been in the way
		WatchesRawSource(source.Kind(e.Secrets, secretMetadata(), handler.TypedEnqueueRequestsFromMapFunc(r.ofSecret))).
		WatchesRawSource(e.CertManager.Source("ClusterMaster", r.ofIssuers)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2, RateLimiter: reconcile.NewBackoff()}).
		Complete(r)
}

// secretsOfMaster are the names of all Secrets that a ClusterMaster uses, its own and those it names.
func secretsOfMaster(o client.Object) []string {
	m := o.(*v1alpha1.ClusterMaster)
	names := []string{m.AuthoritySecretName(), m.CertificateSecretName(), m.SharedSecretName()}
	if name, ok := m.NamedAuthority(); ok {
		names = append(names, name)
	}
	return names
}

// ofSecret are the ClusterMasters that use a Secret.
func (r *ClusterMasterReconciler) ofSecret(ctx context.Context, secret *metav1.PartialObjectMetadata) []ctrl.Request {
	return requestsFor(r.env.mastersBySecret(ctx, secret))
}

// ofIssuers are the ClusterMasters that name an issuer.
func (r *ClusterMasterReconciler) ofIssuers(ctx context.Context) []ctrl.Request {
	return requestsFor(r.env.mastersWithIssuer(ctx))
}

func requestsFor(masters []v1alpha1.ClusterMaster) []ctrl.Request {
	requests := make([]ctrl.Request, len(masters))
	for i := range masters {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&masters[i])
	}
	return requests
}

// followingPause gathers what the nodes of many Refineries do while an authority is being replaced.
const followingPause = time.Second

// ofRefinery wakes the ClusterMaster of a Refinery while its authority is being replaced, at most once in a pause.
func (r *ClusterMasterReconciler) ofRefinery() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]
	wake := func(ctx context.Context, o client.Object, q queue) {
		key := client.ObjectKey{Namespace: o.GetNamespace(), Name: o.(*v1alpha1.Refinery).Spec.MasterRef.Name}
		master := &v1alpha1.ClusterMaster{}
		if err := r.env.Client.Get(ctx, key, master); err == nil && rotation.IsRotating(master) {
			q.AddAfter(ctrl.Request{NamespacedName: key}, followingPause)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { wake(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { wake(ctx, e.ObjectNew, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { wake(ctx, e.Object, q) },
	}
}

// comesOrGoes lets through what is made or deleted.
func comesOrGoes() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
}

func (e *Environment) mastersBySecret(ctx context.Context, secret *metav1.PartialObjectMetadata) []v1alpha1.ClusterMaster {
	list := &v1alpha1.ClusterMasterList{}
	if err := e.Client.List(ctx, list, client.InNamespace(secret.Namespace), client.MatchingFields{secretIndex: secret.Name}); err != nil {
		return nil // the cache is stopping
	}
	return list.Items
}

func (e *Environment) mastersWithIssuer(ctx context.Context) []v1alpha1.ClusterMaster {
	list := &v1alpha1.ClusterMasterList{}
	if err := e.Client.List(ctx, list); err != nil {
		return nil // the cache is stopping
	}
	return slices.DeleteFunc(list.Items, func(m v1alpha1.ClusterMaster) bool { return m.Issuer() == nil })
}
