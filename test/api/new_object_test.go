package api

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A tool that waits by kstatus would otherwise take an object for done before the operator has seen it.
func TestANewObjectIsNotLookedAtYet(t *testing.T) {
	c := newClient(t)
	for _, text := range []string{master("{}"), refinery("{masterRef: {name: alpha}}")} {
		o := object(t, text)
		o.SetName("unseen")
		if err := create(t, c, o); err != nil {
			t.Fatal(err)
		}
		generation, found, err := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
		if err != nil || !found || generation != -1 {
			t.Errorf("%s: observedGeneration is %d (%v, %v), want -1", o.GetKind(), generation, found, err)
		}
	}
}
