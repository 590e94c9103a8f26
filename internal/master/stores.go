package master

import (
	"fmt"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// masterStore puts what the reflector reads of the ClusterMaster into the directory.
type masterStore struct{ directory *directory }

// Add implements cache.ReflectorStore.
func (s masterStore) Add(object any) error {
	m, ok := object.(*v1alpha1.ClusterMaster)
	if !ok {
		return fmt.Errorf("%T is not a ClusterMaster", object)
	}
	m.ManagedFields, m.Annotations = nil, nil // no master reads them
	s.directory.SetMaster(m)
	return nil
}

// Update implements cache.ReflectorStore.
func (s masterStore) Update(object any) error { return s.Add(object) }

// Delete implements cache.ReflectorStore.
func (s masterStore) Delete(any) error {
	s.directory.SetMaster(nil)
	return nil
}

// Replace implements cache.ReflectorStore.
func (s masterStore) Replace(objects []any, _ string) error {
	if len(objects) == 0 {
		return s.Delete(nil)
	}
	return s.Add(objects[0])
}

// Resync implements cache.ReflectorStore.
func (s masterStore) Resync() error { return nil }

// refineryStore does the same with Refineries.
type refineryStore struct{ directory *directory }

// Add implements cache.ReflectorStore.
func (s refineryStore) Add(object any) error {
	r, err := refineryIn(object)
	if err != nil {
		return err
	}
	// No master reads these; they are most of an object's size.
	r.ManagedFields, r.Annotations, r.Spec.Template = nil, nil, nil
	s.directory.SetRefinery(r)
	return nil
}

// Update implements cache.ReflectorStore.
func (s refineryStore) Update(object any) error { return s.Add(object) }

// Delete implements cache.ReflectorStore.
func (s refineryStore) Delete(object any) error {
	r, err := refineryIn(object)
	if err != nil {
		return err
	}
	s.directory.DeleteRefinery(r.Name)
	return nil
}

// Replace implements cache.ReflectorStore. Listeners hear only of Refineries that are not as they were.
func (s refineryStore) Replace(objects []any, _ string) error {
	gone := map[string]bool{}
	for _, name := range s.directory.Names() {
		gone[name] = true
	}
	for _, object := range objects {
		r, err := refineryIn(object)
		if err != nil {
			return err
		}
		delete(gone, r.Name)
		if old := s.directory.Refinery(r.Name); old != nil && old.UID == r.UID && old.ResourceVersion == r.ResourceVersion {
			continue
		}
		if err := s.Add(r); err != nil {
			return err
		}
	}
	for name := range gone {
		s.directory.DeleteRefinery(name)
	}
	return nil
}

// Resync implements cache.ReflectorStore.
func (s refineryStore) Resync() error { return nil }

func refineryIn(object any) (*v1alpha1.Refinery, error) {
	r, ok := object.(*v1alpha1.Refinery)
	if !ok {
		return nil, fmt.Errorf("%T is not a Refinery", object)
	}
	return r, nil
}
