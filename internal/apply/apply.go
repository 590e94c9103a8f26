// Package apply writes the operator's objects with server-side apply under one field owner, and only
// when that changes something.
//
// An object is already as wanted when merging the wanted fields into what the cache holds changes
// nothing, by the API's own schema: list keys, atomic lists and all. One of the wanted fields is the
// annotation Fields, which tells one set of fields from another: so a field that is no longer wanted is
// noticed as well, also by an operator that has just started. What the server rewrites as it stores is remembered for as long as the object
// stays as that write left it.
package apply

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Fields is the annotation that holds a digest of the names of the fields that were applied last.
// No value of a field goes into it.
const Fields = "cluster.refinery.dev/applied-fields"

// Configuration is an apply configuration of a namespaced object.
type Configuration interface {
	runtime.ApplyConfiguration
	GetName() *string
	GetNamespace() *string
	GetKind() *string
	GetAPIVersion() *string
}

// Applier applies and deletes objects for their controlling owner. All owners are of one kind.
type Applier struct {
	client  client.Client
	live    client.Reader
	clock   clock.PassiveClock
	convert managedfields.TypeConverter
	// deduce is for kinds that the scheme does not know: every list of theirs counts as atomic.
	deduce managedfields.TypeConverter

	// metadata returns what is put on every object of a kind, beside what is applied. Nil: nothing.
	metadata func(owner client.Object, kind string) (labels, annotations map[string]string)

	mu     sync.Mutex
	owners map[types.NamespacedName]*memory
}

// memory is what is remembered of the writes for one owner.
type memory struct {
	uid     types.UID
	objects map[reference]record
	// settled are the objects that were found as wanted.
	settled map[reference]sighting
	status  statusRecord
}

// statusRecord is what the last write of the owner's status left behind.
type statusRecord struct {
	resourceVersion string
	at              time.Time
}

type reference struct {
	kind, name string
}

// record is what a write left behind.
type record struct {
	digest [sha256.Size]byte
	// uid is of the object, and spec the digest of its spec as the API server stored it.
	uid             types.UID
	spec            [sha256.Size]byte
	resourceVersion string
	generation      int64
	at              time.Time
	// overwritten counts how often in a row someone else changed what was written, soon after. writer is who keeps doing so, and
	// leaveUntil how long the object is left alone for that.
	overwritten int
	writer      string
	leaveUntil  time.Time
}

// New returns an Applier. c reads owned objects from a cache that may be restricted to the operator's
// own label; live asks the API server about what is not in it.
func New(c client.Client, live client.Reader, clk clock.PassiveClock) *Applier {
	return &Applier{
		client:  c,
		live:    live,
		clock:   clk,
		convert: applyconfigurations.NewTypeConverter(c.Scheme()),
		deduce:  managedfields.NewDeducedTypeConverter(),
		owners:  map[types.NamespacedName]*memory{},
	}
}

// Adding has labels and annotations put on every object of an owner, where what is applied does not have them itself.
func (a *Applier) Adding(metadata func(owner client.Object, kind string) (labels, annotations map[string]string)) *Applier {
	a.metadata = metadata
	return a
}

func (a *Applier) addMetadata(owner client.Object, want *unstructured.Unstructured) {
	if a.metadata == nil {
		return
	}
	labels, annotations := a.metadata(owner, want.GetKind())
	if len(labels) > 0 {
		labels = maps.Clone(labels)
		maps.Copy(labels, want.GetLabels())
		want.SetLabels(labels)
	}
	if len(annotations) > 0 {
		annotations = maps.Clone(annotations)
		maps.Copy(annotations, want.GetAnnotations())
		want.SetAnnotations(annotations)
	}
}

// ConflictError reports that an object of a needed name belongs to someone else. It was not touched.
type ConflictError struct {
	Kind, Name string
	// Owner describes who controls it.
	Owner string
}

// Error says what is in the way and what to do.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s %s is needed and belongs to %s; it is left as it is: delete or rename one of the two", e.Kind, e.Name, e.Owner)
}

// Conflict is the error of an object that belongs to someone else.
func Conflict(kind string, object client.Object) *ConflictError {
	return &ConflictError{Kind: kind, Name: object.GetName(), Owner: describeOwner(object)}
}

// Apply creates or changes the object, as desired says. If the object exists and owner does not control it, it is adopted if it
// is an Orphan, and otherwise the error is a *ConflictError. With a UID in desired, only the object of that UID is written: what
// was deleted meanwhile is not created again. With a resourceVersion, only that version is written.
func (a *Applier) Apply(ctx context.Context, owner client.Object, desired Configuration) error {
	want, err := toUnstructured(desired)
	if err != nil {
		return err
	}
	current, err := a.current(ctx, owner, want)
	if err != nil {
		return err
	}
	if current != nil && !Owns(owner, current) {
		return a.adoptOrReplace(ctx, owner, current, want)
	}
	_, err = a.over(ctx, owner, current, want)
	return err
}

// ApplyOver is Apply over the object as it was read, with its kind and without its managed fields, or nil where there is
// none. Who controls it is not asked. It reports whether it wrote.
func (a *Applier) ApplyOver(ctx context.Context, owner, current client.Object, desired Configuration) (written bool, err error) {
	want, err := toUnstructured(desired)
	if err != nil {
		return false, err
	}
	return a.over(ctx, owner, current, want)
}

// over applies want over current, nil if there is none, unless that would change nothing. It reports whether it wrote.
func (a *Applier) over(ctx context.Context, owner, current client.Object, want *unstructured.Unstructured) (written bool, err error) {
	if uid := want.GetUID(); uid != "" && (current == nil || current.GetUID() != uid) {
		return false, apierrors.NewConflict(schema.GroupResource{Resource: want.GetKind()}, want.GetName(), errors.New("it was deleted meanwhile"))
	}
	version := want.GetResourceVersion()
	want.SetUID("")
	want.SetResourceVersion("")
	a.addMetadata(owner, want)
	ref := reference{want.GetKind(), want.GetName()}
	digest, err := digestOf(want) // without Fields, which follows from the rest
	if err != nil {
		return false, err
	}
	if current != nil && a.wrote(owner, ref, digest, current.GetResourceVersion()) {
		return false, nil
	}
	if err := a.prepare(want); err != nil {
		return false, err
	}
	if current != nil {
		differs, err := a.difference(current, want)
		if err != nil {
			return false, err
		}
		same := differs.IsSame()
		if !same {
			same, err = a.stored(owner, ref, digest, current, differs)
		}
		if err != nil {
			return false, err
		}
		if same {
			a.settle(owner, ref, digest, current.GetResourceVersion())
			return false, nil
		}
		if err := a.contested(ctx, owner, current, want, digest); err != nil {
			return false, err
		}
		want.SetUID(current.GetUID()) // refused if another object has taken the name meanwhile
		want.SetResourceVersion(version)
	}
	if err := a.write(ctx, current, want); err != nil {
		return false, fmt.Errorf("apply %s %s: %w", ref.kind, ref.name, err)
	}
	if err := a.remember(owner, ref, digest, want); err != nil {
		return true, err
	}
	log.FromContext(ctx).Info("Applied", "object", ref.kind+"/"+ref.name)
	return true, nil
}

// write applies want over current. What others put into the spec may be in the way, as a second port of the same name: the
// operator's own is then put back.
func (a *Applier) write(ctx context.Context, current client.Object, want *unstructured.Unstructured) error {
	options := []client.ApplyOption{client.FieldOwner(v1alpha1.OperatorFieldOwner), client.ForceOwnership}
	err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(want), options...)
	if current == nil || !apierrors.IsInvalid(err) {
		return err
	}
	if changed, failed := a.claimSpec(ctx, current); failed != nil || !changed {
		return cmp.Or(failed, err)
	}
	return a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(want), options...)
}

// remember notes what a write left behind.
func (a *Applier) remember(owner client.Object, ref reference, digest [sha256.Size]byte, written *unstructured.Unstructured) error {
	object, err := a.empty(written.GroupVersionKind())
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(written.Object, object); err != nil {
		return fmt.Errorf("decode %s %s: %w", ref.kind, ref.name, err)
	}
	spec, err := specDigest(object)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	left := record{digest: digest, uid: written.GetUID(), spec: spec,
		resourceVersion: written.GetResourceVersion(), generation: written.GetGeneration(), at: a.clock.Now()}
	if last, ok := a.memoryOf(owner).objects[ref]; ok && (last.digest == digest || ref.kind == secretKind) {
		left.overwritten = last.overwritten
	}
	a.memoryOf(owner).objects[ref] = left
	return nil
}

// Written is the generation that an object had after the last write of it for owner, or 0: one with an older
// generation was read from a cache that is behind. It is 0 too once the cache has had the time to show the write.
func (a *Applier) Written(owner client.Object, kind, name string) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, ok := a.memoryOf(owner).objects[reference{kind, name}]
	if !ok || a.clock.Since(last.at) >= awaited {
		return 0
	}
	return last.generation
}

// Delete deletes the object if owner controls it, and leaves it alone otherwise. What it controls itself goes after it,
// unless options say otherwise.
func (a *Applier) Delete(ctx context.Context, owner, object client.Object) error {
	// What is not in the cache does not carry the operator's label, and so is not the operator's.
	if err := a.client.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
		return client.IgnoreNotFound(err)
	}
	if !Owns(owner, object) || !object.GetDeletionTimestamp().IsZero() {
		return nil
	}
	if err := a.retainClaims(ctx, object); err != nil {
		return err
	}
	uid := object.GetUID()
	err := a.client.Delete(ctx, object, client.Preconditions{UID: &uid}, propagationOf(object))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %T %s: %w", object, object.GetName(), err)
	}
	log.FromContext(ctx).Info("Deleted", "object", fmt.Sprintf("%T/%s", object, object.GetName()))
	return nil
}

// current returns the object with the kind and name of want, or nil. If the cache does not have it, the API server is
// asked, so that an object that was created a moment ago is found. If owner does not control it, it is an Orphan, or the error is
// a *ConflictError.
func (a *Applier) current(ctx context.Context, owner client.Object, want *unstructured.Unstructured) (client.Object, error) {
	gvk := want.GroupVersionKind()
	object, err := a.empty(gvk)
	if err != nil {
		return nil, err
	}
	key := client.ObjectKeyFromObject(want)
	err = a.client.Get(ctx, key, object)
	if apierrors.IsNotFound(err) {
		err = a.live.Get(ctx, key, object)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", gvk.Kind, key.Name, err)
	}
	if !Owns(owner, object) {
		if object, err = a.Orphan(ctx, owner, object, ownLabels(want)); err != nil || object == nil {
			return nil, err
		}
	}
	object.SetManagedFields(nil)
	object.GetObjectKind().SetGroupVersionKind(gvk)
	return object, nil
}

// ownLabels are the labels of want that say what it is and whose.
func ownLabels(want *unstructured.Unstructured) map[string]string {
	own := want.GetLabels()
	maps.DeleteFunc(own, func(key, _ string) bool { return !strings.HasPrefix(key, "app.kubernetes.io/") })
	return own
}

// empty returns an object of a kind. One that the scheme does not know is unstructured.
func (a *Applier) empty(kind schema.GroupVersionKind) (client.Object, error) {
	if !a.client.Scheme().Recognizes(kind) {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(kind)
		return object, nil
	}
	made, err := a.client.Scheme().New(kind)
	if err != nil {
		return nil, fmt.Errorf("make a %s: %w", kind.Kind, err)
	}
	object, ok := made.(client.Object)
	if !ok {
		return nil, fmt.Errorf("%s is not an object", kind.Kind)
	}
	return object, nil
}

func describeOwner(object client.Object) string {
	if controller := metav1.GetControllerOf(object); controller != nil {
		return controller.Kind + " " + controller.Name
	}
	return "someone else (it has no controlling owner)"
}

// prepare adds the annotation Fields.
func (a *Applier) prepare(want *unstructured.Unstructured) error {
	value, err := a.typedValue(want)
	if err != nil {
		return err
	}
	set, err := value.ToFieldSet()
	if err != nil {
		return fmt.Errorf("fields of %s %s: %w", want.GetKind(), want.GetName(), err)
	}
	raw, err := set.ToJSON()
	if err != nil {
		return fmt.Errorf("fields of %s %s: %w", want.GetKind(), want.GetName(), err)
	}
	sum := sha256.Sum256(raw)
	annotations := want.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[Fields] = hex.EncodeToString(sum[:8])
	want.SetAnnotations(annotations)
	return nil
}

// difference is what applying want would change of current.
func (a *Applier) difference(current client.Object, want *unstructured.Unstructured) (*typed.Comparison, error) {
	before, err := a.typedValue(current, typed.AllowDuplicates)
	if err != nil {
		return nil, err
	}
	wanted, err := a.typedValue(want)
	if err != nil {
		return nil, err
	}
	after, err := before.Merge(wanted)
	if err != nil {
		return nil, fmt.Errorf("compare %s %s: %w", want.GetKind(), want.GetName(), err)
	}
	difference, err := before.Compare(after)
	if err != nil {
		return nil, fmt.Errorf("compare %s %s: %w", want.GetKind(), want.GetName(), err)
	}
	return difference, nil
}

// typedValue fails if the object has a field that the schema does not have, and names the path. The API server would
// refuse it too.
func (a *Applier) typedValue(object client.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	convert := a.convert
	if !a.client.Scheme().Recognizes(object.GetObjectKind().GroupVersionKind()) {
		convert = a.deduce
	}
	value, err := convert.ObjectToTyped(object, options...)
	if err != nil {
		return nil, &SchemaError{Kind: object.GetObjectKind().GroupVersionKind().Kind, Name: object.GetName(), Err: err}
	}
	return value, nil
}

// SchemaError reports that an object does not fit the schema of its kind.
type SchemaError struct {
	Kind, Name string
	Err        error
}

// Error names the object and what does not fit.
func (e *SchemaError) Error() string { return fmt.Sprintf("%s %s: %v", e.Kind, e.Name, e.Err) }

// Unwrap returns what does not fit.
func (e *SchemaError) Unwrap() error { return e.Err }

// wrote reports whether the last write had the same content, and nobody has changed the object since, as far as the
// cache shows, or this version was found to have that content. A version before the write shows nothing, unless the write
// is so long ago that it must have been lost.
func (a *Applier) wrote(owner client.Object, ref reference, digest [sha256.Size]byte, resourceVersion string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.memoryOf(owner)
	if resourceVersion != "" && m.settled[ref] == (sighting{digest, resourceVersion}) {
		return true
	}
	last, ok := m.objects[ref]
	if !ok || last.digest != digest {
		return false
	}
	return resourceVersion == last.resourceVersion ||
		newer(last.resourceVersion, resourceVersion) && a.clock.Since(last.at) < awaited
}

// memoryOf needs a.mu held.
func (a *Applier) memoryOf(owner client.Object) *memory {
	key := client.ObjectKeyFromObject(owner)
	m, ok := a.owners[key]
	if !ok || m.uid != owner.GetUID() {
		m = &memory{uid: owner.GetUID(), objects: map[reference]record{}, settled: map[reference]sighting{}}
		a.owners[key] = m
	}
	return m
}

func digestOf(want *unstructured.Unstructured) ([sha256.Size]byte, error) {
	raw, err := json.Marshal(want.Object)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("encode %s %s: %w", want.GetKind(), want.GetName(), err)
	}
	return sha256.Sum256(raw), nil
}

func toUnstructured(desired Configuration) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(desired)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", desired, err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("decode %T: %w", desired, err)
	}
	return u, nil
}
