package controllers

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

func TestWhoHoldsANameThatAClusterMasterAndARefineryHave(t *testing.T) {
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "plant", Name: name} }
	master, refinery := &v1alpha1.ClusterMaster{ObjectMeta: named("press")}, &v1alpha1.Refinery{ObjectMeta: named("press")}
	master.UID, refinery.UID = "master", "refinery"
	controlled := func(by client.Object, o client.Object) client.Object {
		o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Any", Name: "press", UID: by.GetUID(), Controller: ptr.To(true)}})
		return o
	}
	secret := func(by client.Object) client.Object {
		return controlled(by, &corev1.Secret{ObjectMeta: named("press-tls")})
	}
	deployment := func(by client.Object) client.Object {
		return controlled(by, &appsv1.Deployment{ObjectMeta: named("press")})
	}
	for name, test := range map[string]struct {
		made []client.Object
		want client.Object
	}{
		"nothing is made":                     {nil, nil},
		"the Secret":                          {[]client.Object{secret(master)}, master},
		"the Deployment":                      {[]client.Object{deployment(refinery)}, refinery},
		"of two that are at odds, the Secret": {[]client.Object{secret(refinery), deployment(master)}, refinery},
	} {
		t.Run(name, func(t *testing.T) {
			c := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(test.made...).Build()
			for range 20 { // the same answer each time
				got, err := (&Environment{Client: c}).holder(t.Context(), client.ObjectKeyFromObject(master), master, refinery)
				if err != nil || got != test.want {
					t.Fatalf("%v, %v; want %v", got, err, test.want)
				}
			}
		})
	}
}
