package clustermaster

import (
	"context"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// Setup adds the controller of ClusterMasters to the manager.
func Setup(mgr ctrl.Manager, e *controllers.Environment) error {
	r := New(e)
	lapsed := make(chan event.GenericEvent)
	if err := mgr.Add(r.watchLeases(lapsed)); err != nil {
		return err
	}
	mounted := handler.EnqueueRequestsFromMapFunc(controllers.OfMounted(
		v1alpha1.AuthoritySuffix, v1alpha1.CertificateSuffix, v1alpha1.SharedSuffix, v1alpha1.PeerSuffix, resource.MasterSuffix))
	changes := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return controllers.WatchOwned(ctrl.NewControllerManagedBy(mgr).For(&v1alpha1.ClusterMaster{}), controllers.KindMaster).
		Watches(&v1alpha1.Refinery{}, r.ofRefinery()).
		Watches(&v1alpha1.Refinery{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(controllers.ComesOrGoes())). // it may have the name
		Watches(&appsv1.Deployment{}, mounted, changes).                                                                      // which may have been in the way
		Watches(&appsv1.StatefulSet{}, mounted, changes).
		WatchesRawSource(source.Kind(e.Secrets, controllers.SecretMetadata(), handler.TypedEnqueueRequestsFromMapFunc(r.ofSecret))).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(ofRetained)).
		Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(ofEndpointSlice)).
		WatchesRawSource(source.Channel(lapsed, &handler.EnqueueRequestForObject{})).
		WatchesRawSource(e.CertManager.Source(controllers.KindMaster, r.ofIssuers)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2, RateLimiter: reconcile.NewBackoff()}).
		Complete(e.Guarded(r))
}

// watchLeases returns what wakes a ClusterMaster whose Lease lapses while its passes fail.
func (r *Reconciler) watchLeases(lapsed chan<- event.GenericEvent) manager.RunnableFunc {
	return func(ctx context.Context) error {
		r.leases.Watch(ctx, r.env.Clock, func(key client.ObjectKey) {
			master := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
			select {
			case lapsed <- event.GenericEvent{Object: master}:
			case <-ctx.Done():
			}
		})
		return nil
	}
}

// ofSecret returns a request for each ClusterMaster that uses a Secret.
func (r *Reconciler) ofSecret(ctx context.Context, secret *metav1.PartialObjectMetadata) []ctrl.Request {
	return requestsFor(r.env.MastersBySecret(ctx, secret))
}

// ofRetained returns a request for the ClusterMaster of a Secret that outlives it, and so does not name it as its owner.
// The event comes from the cache that the Secret is read from: what is read then is not older.
func ofRetained(_ context.Context, secret client.Object) []ctrl.Request {
	for _, suffix := range []string{v1alpha1.AuthoritySuffix, v1alpha1.SharedSuffix} {
		if name, ok := strings.CutSuffix(secret.GetName(), suffix); ok {
			return []ctrl.Request{{NamespacedName: client.ObjectKey{Namespace: secret.GetNamespace(), Name: name}}}
		}
	}
	return nil
}

// ofIssuers returns a request for each ClusterMaster that names an issuer.
func (r *Reconciler) ofIssuers(ctx context.Context) []ctrl.Request {
	return requestsFor(r.env.MastersWithIssuer(ctx))
}

func requestsFor(masters []v1alpha1.ClusterMaster) []ctrl.Request {
	requests := make([]ctrl.Request, len(masters))
	for i := range masters {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&masters[i])
	}
	return requests
}

// followingPause gathers what the nodes of many Refineries do while an authority is being replaced, or spec.security changes.
const followingPause = time.Second

// ofRefinery wakes the ClusterMaster of a Refinery while it waits for nodes, at most once in a pause.
func (r *Reconciler) ofRefinery() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]
	wake := func(ctx context.Context, o client.Object, q queue) {
		key := client.ObjectKey{Namespace: o.GetNamespace(), Name: o.(*v1alpha1.Refinery).Spec.MasterRef.Name}
		master := &v1alpha1.ClusterMaster{}
		if err := r.env.Client.Get(ctx, key, master); err == nil && (master.IsRotating() || master.IsChangingSecurity()) {
			q.AddAfter(ctrl.Request{NamespacedName: key}, followingPause)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { wake(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { wake(ctx, e.ObjectNew, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { wake(ctx, e.Object, q) },
	}
}
