package apply

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// sighting is what was wanted of an object, and the version of it that was so.
type sighting struct {
	digest          [sha256.Size]byte
	resourceVersion string
}

// settle notes that a version of an object was found as wanted: to compare the two is most of the work of a pass at rest.
func (a *Applier) settle(owner client.Object, ref reference, digest [sha256.Size]byte, resourceVersion string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.memoryOf(owner).settled[ref] = sighting{digest, resourceVersion}
}

// stored reports whether what differs is only how the API server, or a webhook of its, stored what was written last: it is in the
// spec, and the spec is what that write left behind.
func (a *Applier) stored(owner client.Object, ref reference, digest [sha256.Size]byte, current client.Object, differs *typed.Comparison) (bool, error) {
	a.mu.Lock()
	last := a.memoryOf(owner).objects[ref]
	a.mu.Unlock()
	if changed := paths(differs); last.digest != digest || last.uid != current.GetUID() || !changed.Equals(under(changed, "spec")) {
		return false, nil
	}
	spec, err := specDigest(current)
	return spec == last.spec, err
}

// paths are the fields in which two objects differ.
func paths(differs *typed.Comparison) *fieldpath.Set {
	return differs.Modified.Union(differs.Added).Union(differs.Removed)
}

// specDigest distinguishes the spec of an object from any other.
func specDigest(object client.Object) (sum [sha256.Size]byte, err error) {
	if set, ok := object.(*appsv1.StatefulSet); ok { // the kind of a claim is in the answer to a write, and not in what the cache reads
		set = set.DeepCopy()
		for i := range set.Spec.VolumeClaimTemplates {
			set.Spec.VolumeClaimTemplates[i].TypeMeta = metav1.TypeMeta{}
		}
		object = set
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return sum, fmt.Errorf("convert %s: %w", object.GetName(), err)
	}
	raw, err := json.Marshal(content["spec"])
	if err != nil {
		return sum, fmt.Errorf("encode %s: %w", object.GetName(), err)
	}
	return sha256.Sum256(raw), nil
}
