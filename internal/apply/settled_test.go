package apply

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// countingConverter counts the objects that are converted to be compared.
type countingConverter struct {
	managedfields.TypeConverter
	count int
}

func (c *countingConverter) ObjectToTyped(o runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	c.count++
	return c.TypeConverter.ObjectToTyped(o, options...)
}

func TestAnObjectIsComparedOnceAVersion(t *testing.T) {
	b := newBench(t)
	if err := b.start().Apply(t.Context(), b.owner, b.service()); err != nil {
		t.Fatal(err)
	}
	a := b.start()
	compared := &countingConverter{TypeConverter: a.convert}
	a.convert = compared
	apply := func() int {
		compared.count = 0
		if err := a.Apply(t.Context(), b.owner, b.service()); err != nil {
			t.Fatal(err)
		}
		return compared.count
	}
	change := func(theirs, ours string) {
		s := b.get(t)
		s.Annotations["theirs"], s.Annotations["a"] = theirs, ours
		if err := b.client.Update(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if first, again := apply(), apply(); first == 0 || again != 0 {
		t.Errorf("after a start %d objects were converted, then %d", first, again)
	}
	change("x", "1")
	if first, again := apply(), apply(); first == 0 || again != 0 {
		t.Errorf("of the next version %d objects were converted, then %d", first, again)
	}
	change("x", "2")
	apply()
	if got := b.get(t).Annotations["a"]; got != "1" {
		t.Errorf("what someone changed is %q, want it put back", got)
	}
	if count := apply(); count != 0 {
		t.Errorf("after a write %d objects were converted", count)
	}
}

func TestWhatWasAdoptedIsNotComparedAgain(t *testing.T) {
	b := newBench(t)
	if err := b.client.Create(t.Context(), b.owner); err != nil {
		t.Fatal(err)
	}
	labelled := func() Configuration {
		return b.service(func(s *corev1ac.ServiceApplyConfiguration) {
			s.WithLabels(map[string]string{"app.kubernetes.io/name": "refinery"})
		})
	}
	if err := b.start().Apply(t.Context(), b.owner, labelled()); err != nil {
		t.Fatal(err)
	}
	s := b.get(t)
	s.OwnerReferences = nil
	if err := b.client.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	a := b.start()
	compared := &countingConverter{TypeConverter: a.convert}
	a.convert = compared
	for _, want := range []bool{true, false} {
		compared.count = 0
		if err := a.Apply(t.Context(), b.owner, labelled()); err != nil {
			t.Fatal(err)
		}
		if (compared.count > 0) != want {
			t.Errorf("%d objects were converted", compared.count)
		}
	}
}
