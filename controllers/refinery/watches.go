package refinery

import (
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// Setup adds the controller of Refineries to the manager.
func Setup(mgr ctrl.Manager, e *controllers.Environment) error {
	r := New(e)
	mounted, changes := handler.EnqueueRequestsFromMapFunc(controllers.OfMounted(v1alpha1.CertificateSuffix)), builder.WithPredicates(predicate.GenerationChangedPredicate{})
	return controllers.WatchOwned(ctrl.NewControllerManagedBy(mgr).For(&v1alpha1.Refinery{}), controllers.KindRefinery).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.ofOwnAuthority)).
		Watches(&v1alpha1.ClusterMaster{}, handler.EnqueueRequestsFromMapFunc(r.ofMaster), builder.WithPredicates(masterMatters())).
		Watches(&v1alpha1.ClusterMaster{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(controllers.ComesOrGoes())). // it may have the name
		Watches(&v1alpha1.Refinery{}, handler.EnqueueRequestsFromMapFunc(r.ofNeighbour), builder.WithPredicates(controllers.ComesOrGoes())).
		Watches(&appsv1.Deployment{}, mounted, changes). // which may have been in the way
		Watches(&appsv1.StatefulSet{}, mounted, changes).
		WatchesRawSource(source.Kind(e.Secrets, controllers.SecretMetadata(), handler.TypedEnqueueRequestsFromMapFunc(r.ofSecret))).
		WatchesRawSource(e.CertManager.Source(controllers.KindRefinery, r.ofIssuers)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4, RateLimiter: reconcile.NewBackoff()}).
		Complete(e.Guarded(r))
}

// ofMaster are the Refineries that name a ClusterMaster, and those whose pods use what is its own.
func (r *Reconciler) ofMaster(ctx context.Context, master client.Object) []ctrl.Request {
	return slices.Concat(r.refineriesBy(ctx, master.GetNamespace(), controllers.MasterIndex, master.GetName()),
		r.using(ctx, master.GetNamespace(), controllers.SecretIndex, controllers.SecretsOfMaster(master)...),
		r.using(ctx, master.GetNamespace(), controllers.AccountIndex, resource.MasterServiceAccountName(master.(*v1alpha1.ClusterMaster))))
}

// ofNeighbour are the Refineries whose pods read the certificate of another.
func (r *Reconciler) ofNeighbour(ctx context.Context, o client.Object) []ctrl.Request {
	return r.using(ctx, o.GetNamespace(), controllers.SecretIndex, o.(*v1alpha1.Refinery).IssuedSecretName())
}

// using are the Refineries whose pods use one of these names, by an index of what runs pods.
func (r *Reconciler) using(ctx context.Context, namespace, index string, names ...string) []ctrl.Request {
	var requests []ctrl.Request
	for _, name := range names {
		list, err := controllers.ListPodSets(ctx, r.env.Client, client.InNamespace(namespace), client.UnsafeDisableDeepCopy, client.MatchingFields{index: name})
		if err != nil {
			return nil // the cache is stopping
		}
		for _, d := range list {
			if owner := metav1.GetControllerOf(d); owner != nil && owner.Kind == controllers.KindRefinery {
				requests = append(requests, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: owner.Name}})
			}
		}
	}
	return requests
}

// ofOwnAuthority are the Refineries whose certificates an authority of the operator signs. The event comes
// from the cache that the authority is read from: what is read then is not older.
func (r *Reconciler) ofOwnAuthority(ctx context.Context, secret client.Object) []ctrl.Request {
	master, ok := strings.CutSuffix(secret.GetName(), v1alpha1.AuthoritySuffix)
	if !ok {
		return nil
	}
	return r.refineriesBy(ctx, secret.GetNamespace(), controllers.MasterIndex, master)
}

// ofSecret are the Refineries that use a Secret, themselves or through their master's authority, which is, with an
// issuer, in the Secret of what the master serves.
func (r *Reconciler) ofSecret(ctx context.Context, secret *metav1.PartialObjectMetadata) []ctrl.Request {
	requests := append(r.refineriesBy(ctx, secret.Namespace, controllers.SecretIndex, secret.Name), r.using(ctx, secret.Namespace, controllers.SecretIndex, secret.Name)...)
	for _, master := range r.env.MastersBySecret(ctx, secret) {
		name, named := master.NamedAuthority()
		if (named && name == secret.Name) || (master.Issuer() != nil && master.CertificateSecretName() == secret.Name) {
			requests = append(requests, r.refineriesBy(ctx, secret.Namespace, controllers.MasterIndex, master.Name)...)
		}
	}
	return requests
}

// ofIssuers are the Refineries of all masters that name an issuer.
func (r *Reconciler) ofIssuers(ctx context.Context) []ctrl.Request {
	var requests []ctrl.Request
	for _, master := range r.env.MastersWithIssuer(ctx) {
		requests = append(requests, r.refineriesBy(ctx, master.Namespace, controllers.MasterIndex, master.Name)...)
	}
	return requests
}

// refineriesBy are the Refineries that an index finds in a namespace.
func (r *Reconciler) refineriesBy(ctx context.Context, namespace, index, value string) []ctrl.Request {
	list := &v1alpha1.RefineryList{}
	if err := r.env.Client.List(ctx, list, client.InNamespace(namespace), client.MatchingFields{index: value}); err != nil {
		return nil // the cache is stopping
	}
	requests := make([]ctrl.Request, len(list.Items))
	for i := range list.Items {
		requests[i].NamespacedName = types.NamespacedName{Namespace: namespace, Name: list.Items[i].Name}
	}
	return requests
}

// masterMatters lets through what a Refinery depends on: the spec, the conditions, the served certificate, the
// authorities, whether these are being replaced, whether there is an active master and which it has loaded. The
// counts that a master writes, and those of a rotation, would wake all its Refineries; the phases of a rotation do so
// by the authority's Secret.
func masterMatters() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(u event.UpdateEvent) bool {
		before, after := u.ObjectOld.(*v1alpha1.ClusterMaster), u.ObjectNew.(*v1alpha1.ClusterMaster)
		return before.Generation != after.Generation ||
			!reconcile.Same(conditionsThatMatter(before), conditionsThatMatter(after)) ||
			before.IsRotating() != after.IsRotating() ||
			!reconcile.Same(before.Status.Certificate, after.Status.Certificate) ||
			!reconcile.Same(before.Status.Security, after.Status.Security) || before.NodeMode() != after.NodeMode() ||
			!reconcile.Same(before.Status.Authorities, after.Status.Authorities) ||
			(before.ActivePod() == "") != (after.ActivePod() == "") ||
			(after.Status.Active != nil && !reconcile.Same(before.Status.Active.Authorities, after.Status.Active.Authorities))
	}}
}

func conditionsThatMatter(m *v1alpha1.ClusterMaster) []metav1.Condition {
	conditions := slices.Clone(m.Status.Conditions)
	meta.RemoveStatusCondition(&conditions, v1alpha1.ConditionCertificateAuthorityRotating)
	return conditions
}
