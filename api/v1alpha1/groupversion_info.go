// Package v1alpha1 is the API of the refinery operator: the kinds ClusterMaster and Refinery.
//
// A ClusterMaster is a server of the Cluster Protocol; a Refinery is a group of nodes that
// authenticate at one. Both are namespaced, and a Refinery, its ClusterMaster and the Secrets either
// names live in one namespace.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="applyconfiguration"
// +groupName=cluster.refinery.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "cluster.refinery.dev", Version: "v1alpha1"}

// SchemeGroupVersion is GroupVersion under the name that generated code looks for.
var SchemeGroupVersion = GroupVersion

// AddToScheme registers the kinds of this package with a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &ClusterMaster{}, &ClusterMasterList{}, &Refinery{}, &RefineryList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
