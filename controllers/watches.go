package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/podset"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

// Owned are the kinds of what a ClusterMaster and what a Refinery owns. The controller of each watches them, and of all of
// them the operator caches what bears its label only.
var Owned = map[string][]client.Object{
	KindMaster: {&corev1.Secret{}, &corev1.ConfigMap{}, &corev1.ServiceAccount{}, &corev1.Service{}, &discoveryv1.EndpointSlice{}, &rbacv1.Role{}, &rbacv1.RoleBinding{},
		&appsv1.Deployment{}, &policyv1.PodDisruptionBudget{}, &networkingv1.NetworkPolicy{}},
	KindRefinery: {&corev1.Secret{}, &corev1.ServiceAccount{}, &corev1.Service{}, &appsv1.Deployment{}, &appsv1.StatefulSet{}, &policyv1.PodDisruptionBudget{}},
}

// WatchOwned has a controller reconcile the owner, which is of the kind, when something that it owns changes.
func WatchOwned(b *ctrl.Builder, kind string) *ctrl.Builder {
	for _, object := range Owned[kind] {
		if _, ok := object.(*policyv1.PodDisruptionBudget); ok {
			b.Owns(object, builder.WithPredicates(notStatusAlone()))
			continue
		}
		b.Owns(object)
	}
	return b
}

// notStatusAlone leaves out updates of the status only: Kubernetes counts there with every pod that becomes ready, and nobody here
// reads it.
func notStatusAlone() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(u event.UpdateEvent) bool {
		before, after := u.ObjectOld, u.ObjectNew
		return before.GetGeneration() != after.GetGeneration() || !maps.Equal(before.GetLabels(), after.GetLabels()) ||
			!maps.Equal(before.GetAnnotations(), after.GetAnnotations()) || !equality.Semantic.DeepEqual(before.GetOwnerReferences(), after.GetOwnerReferences())
	}}
}

// Indexes by what a CR, or what runs its pods, refers to.
const (
	MasterIndex = rotation.RefineriesByMaster
	SecretIndex = "secrets"
	// BroughtIndex is of Refineries, by the Secrets that their specs bring into pods.
	BroughtIndex = "brought"
	// AccountIndex is of Deployments and StatefulSets, by the ServiceAccount of their pods.
	AccountIndex = "serviceaccounts"
)

// indexes are by what the cache finds ClusterMasters, Refineries, and what runs their pods.
var indexes = []struct {
	object  client.Object
	field   string
	extract client.IndexerFunc
}{
	{&v1alpha1.ClusterMaster{}, SecretIndex, SecretsOfMaster},
	{&v1alpha1.Refinery{}, MasterIndex, func(o client.Object) []string { return []string{o.(*v1alpha1.Refinery).Spec.MasterRef.Name} }},
	{&v1alpha1.Refinery{}, SecretIndex, SecretsOfRefinery},
	{&v1alpha1.Refinery{}, BroughtIndex, func(o client.Object) []string {
		return resource.PodSecrets(resource.SpecifiedPods(o.(*v1alpha1.Refinery)))
	}},
	{&appsv1.Deployment{}, SecretIndex, secretsOfPods},
	{&appsv1.Deployment{}, AccountIndex, accountOfPods},
	{&appsv1.StatefulSet{}, SecretIndex, secretsOfPods},
	{&appsv1.StatefulSet{}, AccountIndex, accountOfPods},
}

func secretsOfPods(o client.Object) []string {
	return resource.PodSecrets(&podset.Of(o).Spec.Template.Spec)
}

func accountOfPods(o client.Object) []string {
	return []string{podset.Of(o).Spec.Template.Spec.ServiceAccountName}
}

// AddIndexes has the cache find objects by what they refer to.
func AddIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for _, i := range indexes {
		if err := indexer.IndexField(ctx, i.object, i.field, i.extract); err != nil {
			return fmt.Errorf("index %T by %s: %w", i.object, i.field, err)
		}
	}
	return nil
}

// SecretsOfMaster are the names of all Secrets that a ClusterMaster uses, its own and those it names.
func SecretsOfMaster(o client.Object) []string {
	m := o.(*v1alpha1.ClusterMaster)
	names := []string{m.AuthoritySecretName(), m.CertificateSecretName(), m.SharedSecretName(), m.PeerName()}
	for _, named := range []func() (string, bool){m.NamedAuthority, m.ProvidedSharedSecretName} {
		if name, ok := named(); ok {
			names = append(names, name)
		}
	}
	return names
}

// SecretsOfRefinery are the names of the Secret that a Refinery asks for, and of those that its listed certificates came from.
func SecretsOfRefinery(o client.Object) []string {
	r := o.(*v1alpha1.Refinery)
	names := []string{r.CertificateSecretName()}
	for i := range r.Status.Certificates {
		if name := r.ListedFrom(&r.Status.Certificates[i]); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// MastersBySecret are the ClusterMasters that use a Secret.
func (e *Environment) MastersBySecret(ctx context.Context, secret *metav1.PartialObjectMetadata) []v1alpha1.ClusterMaster {
	list := &v1alpha1.ClusterMasterList{}
	if err := e.Client.List(ctx, list, client.InNamespace(secret.Namespace), client.MatchingFields{SecretIndex: secret.Name}); err != nil {
		return nil // the cache is stopping
	}
	return list.Items
}

// MastersWithIssuer are the ClusterMasters that name an issuer.
func (e *Environment) MastersWithIssuer(ctx context.Context) []v1alpha1.ClusterMaster {
	list := &v1alpha1.ClusterMasterList{}
	if err := e.Client.List(ctx, list); err != nil {
		return nil // the cache is stopping
	}
	return slices.DeleteFunc(list.Items, func(m v1alpha1.ClusterMaster) bool { return m.Issuer() == nil })
}

// SecretMetadata is of a Secret whose metadata is watched.
func SecretMetadata() *metav1.PartialObjectMetadata {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return secret
}

// ComesOrGoes lets through what is made or deleted.
func ComesOrGoes() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
}

// OfMounted returns a map function from a Deployment or StatefulSet to the owners of the Secrets that it mounts, and of the ServiceAccount
// that it uses: "<name><suffix>" is for the ClusterMaster or Refinery <name>.
func OfMounted(suffixes ...string) handler.MapFunc {
	return func(_ context.Context, o client.Object) []ctrl.Request {
		var requests []ctrl.Request
		pods := &podset.Of(o).Spec.Template.Spec
		for _, used := range append(resource.PodSecrets(pods), pods.ServiceAccountName) {
			for _, suffix := range suffixes {
				if name, ok := strings.CutSuffix(used, suffix); ok {
					requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: name}})
				}
			}
		}
		return requests
	}
}
