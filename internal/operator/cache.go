package operator

import (
	"context"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// NewScheme knows all kinds that the operator reads or writes.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return scheme, v1alpha1.AddToScheme(scheme)
}

// cacheOptions restrict what is cached of the kinds that the operator owns to the objects that bear its
// label: the Secrets of others, above all, are never read into memory.
func cacheOptions(namespaces []string) cache.Options {
	owned := map[client.Object]cache.ByObject{}
	for _, objects := range controllers.Owned {
		for _, object := range objects {
			owned[object] = cache.ByObject{Label: ownLabel()}
			if _, ok := object.(*discoveryv1.EndpointSlice); ok {
				// Kubernetes gives EndpointSlices the labels of their Service: those of a Refinery have all its pods.
				owned[object] = cache.ByObject{Label: labels.SelectorFromSet(labels.Set{
					resource.LabelManagedBy: resource.ManagedBy, resource.LabelComponent: resource.MasterComponent})}
			}
		}
	}
	return cache.Options{
		NewInformer:       newInformer,
		DefaultNamespaces: namespaceConfigs(namespaces),
		DefaultTransform:  cache.TransformStripManagedFields(),
		ByObject:          owned,
	}
}

// newSecretCache watches the metadata of all Secrets and keeps of it what tells one version from another.
func newSecretCache(config *rest.Config, scheme *runtime.Scheme, mapper meta.RESTMapper, namespaces []string) (cache.Cache, error) {
	return cache.New(config, cache.Options{
		NewInformer:       newInformer,
		Scheme:            scheme,
		Mapper:            mapper,
		DefaultNamespaces: namespaceConfigs(namespaces),
		DefaultTransform: func(object any) (any, error) {
			if secret, ok := object.(*metav1.PartialObjectMetadata); ok {
				secret.ObjectMeta = metav1.ObjectMeta{
					Namespace: secret.Namespace, Name: secret.Name, UID: secret.UID, ResourceVersion: secret.ResourceVersion,
				}
			}
			return object, nil
		},
	})
}

// newCertificateCache watches the metadata of the operator's Certificates of cert-manager.
func newCertificateCache(config *rest.Config, scheme *runtime.Scheme, mapper meta.RESTMapper, namespaces []string,
	failed toolscache.WatchErrorHandlerWithContext,
) (cache.Cache, error) {
	return cache.New(config, cache.Options{
		NewInformer:              newInformer,
		Scheme:                   scheme,
		Mapper:                   mapper,
		DefaultNamespaces:        namespaceConfigs(namespaces),
		DefaultLabelSelector:     ownLabel(),
		DefaultTransform:         cache.TransformStripManagedFields(),
		DefaultWatchErrorHandler: failed,
	})
}

// servesCertificates reports whether the API server has the kinds of cert-manager that the operator works with. All of
// them, since a RESTMapper that has looked at a version of a group once takes it for complete.
func servesCertificates(ctx context.Context, api discovery.ServerResourcesInterfaceWithContext) (bool, error) {
	list, err := api.ServerResourcesForGroupVersionWithContext(ctx, resource.CertificateKind.GroupVersion().String())
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	for _, kind := range []string{resource.CertificateKind.Kind, resource.CertificateRequestKind.Kind} {
		if !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Kind == kind }) {
			return false, nil
		}
	}
	return true, nil
}

func ownLabel() labels.Selector {
	return labels.SelectorFromSet(labels.Set{resource.LabelManagedBy: resource.ManagedBy})
}

func namespaceConfigs(namespaces []string) map[string]cache.Config {
	if len(namespaces) == 0 {
		return nil
	}
	configs := make(map[string]cache.Config, len(namespaces))
	for _, namespace := range namespaces {
		configs[namespace] = cache.Config{}
	}
	return configs
}
