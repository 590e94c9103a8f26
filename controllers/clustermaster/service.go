package clustermaster

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// reconcileService keeps the Service and the EndpointSlices, one a family, in which the active master is its endpoint.
//
// The Service of a release in which it selected all master pods keeps its selector until the active master has written its
// endpoint and no pod of that release is left: masters of that release do not write one, and nodes have to find them meanwhile.
func (r *Reconciler) reconcileService(ctx context.Context, s *scope) error {
	service, slice := &corev1.Service{}, &discoveryv1.EndpointSlice{}
	for name, object := range map[string]client.Object{s.master.Name: service, s.master.EndpointSliceName(): slice} {
		err := r.env.Client.Get(ctx, client.ObjectKey{Namespace: s.master.Namespace, Name: name}, object)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read %T %s: %w", object, name, err)
		}
	}
	desired := resource.MasterService(s.master)
	if metav1.IsControlledBy(service, s.master) && len(service.Spec.Selector) > 0 && (len(slice.Endpoints) == 0 || hasOldPods(s.deployment)) {
		desired.Spec.WithSelector(resource.MasterSelector(s.master))
	}
	if err := r.apply.Apply(ctx, s.master, desired); err != nil {
		return err
	}
	if service.UID == "" { // the cache does not have what was created a moment ago
		if err := r.env.Live.Get(ctx, client.ObjectKeyFromObject(s.master), service); err != nil {
			return fmt.Errorf("read Service %s: %w", s.master.Name, err)
		}
	}
	s.service = service
	if err := r.reconcileEndpointSlices(ctx, s, familiesOf(service)); err != nil {
		return err
	}
	if len(service.Spec.Selector) > 0 {
		return nil // a change of that is watched
	}
	return r.deleteSelected(ctx, s)
}

// reconcileEndpointSlices keeps an EndpointSlice for each family of the Service, and no other. One of another family than it should
// have, which cannot be changed, is deleted first, and created when that is seen.
func (r *Reconciler) reconcileEndpointSlices(ctx context.Context, s *scope, families []discoveryv1.AddressType) error {
	for place, name := range s.master.EndpointSliceNames() {
		slice := &discoveryv1.EndpointSlice{}
		slice.Namespace, slice.Name = s.master.Namespace, name
		var err error
		if place < len(families) {
			err = r.env.Client.Get(ctx, client.ObjectKeyFromObject(slice), slice)
		}
		switch {
		case client.IgnoreNotFound(err) != nil:
			return fmt.Errorf("read EndpointSlice %s: %w", name, err)
		case place >= len(families), err == nil && slice.AddressType != families[place]:
			err = r.apply.Delete(ctx, s.master, slice)
		default:
			err = r.apply.Apply(ctx, s.master, resource.MasterEndpointSlice(s.master, place, families[place]))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hasOldPods reports whether a Deployment has pods of a former template.
func hasOldPods(d *appsv1.Deployment) bool {
	return d != nil && d.Status.UpdatedReplicas < d.Status.Replicas
}

// familiesOf are the families of a Service's cluster IPs. Pods have an address of the first: the primary family of Services is that of
// pods, also in a cluster with both.
func familiesOf(service *corev1.Service) []discoveryv1.AddressType {
	families := []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4}
	for place, family := range service.Spec.IPFamilies {
		families = append(families[:place], discoveryv1.AddressType(family))
	}
	return families
}

// selectedBy are the values of discoveryv1.LabelManagedBy of EndpointSlices that Kubernetes made of the pods that a Service
// selected: from the pods, and from the Endpoints object of the Service.
var selectedBy = map[string]bool{
	"endpointslice-controller.k8s.io":          true,
	"endpointslicemirroring-controller.k8s.io": true,
}

// deleteSelected deletes what Kubernetes made of the pods that the Service selected in a former release. When a Service loses
// its selector nobody else does: the EndpointSlices and the Endpoints object stay as they are, and Endpoints of a Service
// without a selector are copied into EndpointSlices again. All of them bear the labels of the Service, and so are in the cache.
func (r *Reconciler) deleteSelected(ctx context.Context, s *scope) error {
	list := &discoveryv1.EndpointSliceList{}
	err := r.env.Client.List(ctx, list, client.InNamespace(s.master.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: s.master.Name})
	if err != nil {
		return fmt.Errorf("list EndpointSlices: %w", err)
	}
	for i := range list.Items {
		slice := &list.Items[i]
		if !selectedBy[slice.Labels[discoveryv1.LabelManagedBy]] {
			continue
		}
		endpoints := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: s.master.Namespace, Name: s.master.Name}}
		endpoints.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Endpoints"))
		for _, object := range []client.Object{endpoints, slice} { // of which the first is copied into the second
			if err := r.env.Client.Delete(ctx, object); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("delete %T %s: %w", object, object.GetName(), err)
			}
		}
		log.FromContext(ctx).Info("Deleted what was made of a former selector", "object", "EndpointSlice/"+slice.Name)
	}
	return nil
}

// ofEndpointSlice returns a request for the ClusterMaster that has the name of the Service that an EndpointSlice is for, also if
// Kubernetes made it.
func ofEndpointSlice(_ context.Context, slice client.Object) []ctrl.Request {
	return requestsFor([]v1alpha1.ClusterMaster{{ObjectMeta: metav1.ObjectMeta{
		Namespace: slice.GetNamespace(), Name: slice.GetLabels()[discoveryv1.LabelServiceName]}}})
}
