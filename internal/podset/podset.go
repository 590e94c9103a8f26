// Package podset reads what keeps the pods of an object running: a Deployment, or a StatefulSet where a Refinery asks for one. What
// there is to say of pods is the same for both, so a StatefulSet is told as the Deployment that would run the same pods.
package podset

import (
	"cmp"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Kinds of what keeps pods running.
const (
	Deployment  = "Deployment"
	StatefulSet = "StatefulSet"
)

// Object is what controller-runtime calls client.Object. The plugin of kubectl links this package, and must not link that.
type Object interface {
	metav1.Object
	runtime.Object
}

// New is an object of a kind, with nothing but its name.
func New(kind, namespace, name string) Object {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	if kind == StatefulSet {
		return &appsv1.StatefulSet{ObjectMeta: meta}
	}
	return &appsv1.Deployment{ObjectMeta: meta}
}

// Other is the kind that is not the one.
func Other(kind string) string {
	if kind == StatefulSet {
		return Deployment
	}
	return StatefulSet
}

// KindOf is the kind of the object that a Deployment was read from.
func KindOf(d *appsv1.Deployment) string { return cmp.Or(d.Kind, Deployment) }

// Of tells a Deployment or a StatefulSet as a Deployment, with which it shares memory; any other object is nil. The controller of
// StatefulSets keeps no conditions, so there are none.
func Of(object Object) *appsv1.Deployment {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return o
	case *appsv1.StatefulSet:
		return &appsv1.Deployment{
			TypeMeta:   metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: StatefulSet},
			ObjectMeta: o.ObjectMeta,
			Spec: appsv1.DeploymentSpec{Replicas: o.Spec.Replicas, Selector: o.Spec.Selector, Template: o.Spec.Template,
				MinReadySeconds: o.Spec.MinReadySeconds},
			Status: appsv1.DeploymentStatus{
				ObservedGeneration: o.Status.ObservedGeneration, Replicas: o.Status.Replicas, UpdatedReplicas: o.Status.UpdatedReplicas,
				ReadyReplicas: o.Status.ReadyReplicas, AvailableReplicas: o.Status.AvailableReplicas,
				UnavailableReplicas: max(0, o.Status.Replicas-o.Status.AvailableReplicas),
			},
		}
	}
	return nil
}
