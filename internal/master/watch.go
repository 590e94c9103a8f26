package master

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// newMapper knows the two kinds, so that a master needs no API discovery.
func newMapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion})
	mapper.Add(v1alpha1.GroupVersion.WithKind("ClusterMaster"), meta.RESTScopeNamespace)
	mapper.Add(v1alpha1.GroupVersion.WithKind("Refinery"), meta.RESTScopeNamespace)
	return mapper
}

// newCache watches one ClusterMaster, by name, and the Refineries that name it: what the master's Role allows.
func newCache(config *rest.Config, scheme *runtime.Scheme, namespace, name string) (cache.Cache, error) {
	return cache.New(config, cache.Options{
		Scheme:            scheme,
		Mapper:            newMapper(),
		DefaultNamespaces: map[string]cache.Config{namespace: {}},
		DefaultTransform:  slim,
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.ClusterMaster{}: {Field: fields.OneTermEqualSelector("metadata.name", name)},
			&v1alpha1.Refinery{}:      {Field: fields.OneTermEqualSelector("spec.masterRef.name", name)},
		},
	})
}

// slim drops fields that no master reads; they are most of an object's size.
func slim(object any) (any, error) {
	if o, err := meta.Accessor(object); err == nil {
		o.SetManagedFields(nil)
		o.SetAnnotations(nil)
	}
	if r, ok := object.(*v1alpha1.Refinery); ok {
		r.Spec.Template = nil
	}
	return object, nil
}

// follow keeps the directory current. It returns once the directory holds everything that existed at the start.
func follow(ctx context.Context, c cache.Cache, d *directory) error {
	masters, err := subscribe(ctx, c, &v1alpha1.ClusterMaster{}, func(object client.Object, deleted bool) {
		if deleted {
			d.SetMaster(nil)
		} else if m, ok := object.(*v1alpha1.ClusterMaster); ok {
			d.SetMaster(m)
		}
	})
	if err != nil {
		return err
	}
	refineries, err := subscribe(ctx, c, &v1alpha1.Refinery{}, func(object client.Object, deleted bool) {
		if deleted {
			d.DeleteRefinery(object.GetName())
		} else if r, ok := object.(*v1alpha1.Refinery); ok {
			d.SetRefinery(r)
		}
	})
	if err != nil {
		return err
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), masters.HasSynced, refineries.HasSynced) {
		return ctx.Err()
	}
	return nil
}

func subscribe(ctx context.Context, c cache.Cache, kind client.Object, changed func(object client.Object, deleted bool)) (toolscache.ResourceEventHandlerRegistration, error) {
	informer, err := c.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", kind, err)
	}
	return informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if o, ok := object.(client.Object); ok {
				changed(o, false)
			}
		},
		UpdateFunc: func(_, object any) {
			if o, ok := object.(client.Object); ok {
				changed(o, false)
			}
		},
		DeleteFunc: func(object any) {
			if unknown, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			if o, ok := object.(client.Object); ok {
				changed(o, true)
			}
		},
	})
}
