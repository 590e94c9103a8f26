package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

const (
	// contestWindow is how soon after a write an overwrite of it counts as one of a contest.
	contestWindow = time.Minute
	// secretKind is the kind of what the operator fills with something new each time.
	secretKind = "Secret"
	// contestPause is how long an object that is contested is left alone.
	contestPause = 5 * time.Minute
)

// ContestedError reports that someone else keeps overwriting what the operator writes. The object is left alone for a while.
type ContestedError struct {
	Kind, Name string
	// Writer is the field manager of the other.
	Writer string
	// Recheck is how long it is left alone.
	Recheck time.Duration
}

// Error says who writes and what to do.
func (e *ContestedError) Error() string {
	return fmt.Sprintf("%s %s is the operator's, and %s keeps overwriting it (managedFields tell); it is left as it is for now: have %s leave it alone",
		e.Kind, e.Name, e.Writer, e.Writer)
}

// Disclaim has contested start anew for an object that somebody else was to write until now.
func (a *Applier) Disclaim(owner client.Object, kind, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.memoryOf(owner).objects, reference{kind, name})
	delete(a.memoryOf(owner).settled, reference{kind, name})
}

// contested returns a *ContestedError if current, which is not as want says, is to be left alone: someone overwrote it for the second
// time in a short while, each time soon after the operator had written it, or did so less than contestPause ago. For the operator to
// have been overwritten it has to want what it wrote. It does not of a Secret, whose keys it makes anew each time.
func (a *Applier) contested(ctx context.Context, owner, current client.Object, want *unstructured.Unstructured, digest [32]byte) error {
	ref, now := reference{want.GetKind(), want.GetName()}, a.clock.Now()
	a.mu.Lock()
	last, known := a.memoryOf(owner).objects[ref]
	made := ref.kind == secretKind && newer(current.GetResourceVersion(), last.resourceVersion)
	if !known || (last.digest != digest && !made) {
		a.mu.Unlock()
		return nil
	}
	if last.writer == "" {
		if now.Sub(last.at) >= contestWindow {
			last.overwritten = 0
		}
		last.overwritten++
		a.memoryOf(owner).objects[ref] = last
	}
	a.mu.Unlock()
	switch {
	case last.writer != "" && now.Before(last.leaveUntil):
		return &ContestedError{ref.kind, ref.name, last.writer, last.leaveUntil.Sub(now)}
	case last.writer != "":
		last.writer, last.overwritten = "", 1 // one more try
	case last.overwritten >= 2:
		writer, err := a.writerOf(ctx, current, want)
		if err != nil {
			return err
		}
		last.writer, last.leaveUntil = writer, now.Add(contestPause)
	default:
		return nil
	}
	a.mu.Lock()
	a.memoryOf(owner).objects[ref] = last
	a.mu.Unlock()
	if last.writer == "" {
		return nil
	}
	return &ContestedError{ref.kind, ref.name, last.writer, contestPause}
}

// writerOf names who wrote the fields of an object that differ from want: the last one of those whose managed fields have any.
func (a *Applier) writerOf(ctx context.Context, current client.Object, want *unstructured.Unstructured) (string, error) {
	live, err := a.empty(want.GroupVersionKind())
	if err != nil {
		return "", err
	}
	if err := a.live.Get(ctx, client.ObjectKeyFromObject(want), live); err != nil {
		return "", fmt.Errorf("read %s %s: %w", want.GetKind(), want.GetName(), err)
	}
	difference, err := a.difference(current, want)
	if err != nil {
		return "", err
	}
	differ, writer, at := paths(difference), "someone else", time.Time{}
	owns := false
	for _, entry := range live.GetManagedFields() {
		if entry.Subresource != "" || (entry.Manager == v1alpha1.OperatorFieldOwner && entry.Operation == metav1.ManagedFieldsOperationApply) || entry.Time == nil {
			continue
		}
		set, err := fieldSet(entry)
		if err != nil {
			return "", err
		}
		has := !set.Intersection(differ).Empty()
		if (has && !owns) || (has == owns && !entry.Time.Time.Before(at)) {
			writer, at, owns = entry.Manager, entry.Time.Time, has
		}
	}
	return writer, nil
}

func fieldSet(entry metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	set := &fieldpath.Set{}
	if entry.FieldsV1 == nil {
		return set, nil
	}
	if err := set.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
		return nil, fmt.Errorf("managed fields of %s: %w", entry.Manager, err)
	}
	return set, nil
}

// claimSpec makes the spec of an object that owner controls the operator's, so that applying takes out of it what others put
// there. It reports whether that changed anything: without others there is nothing to take out.
func (a *Applier) claimSpec(ctx context.Context, current client.Object) (changed bool, err error) {
	live, err := a.empty(current.GetObjectKind().GroupVersionKind())
	if err != nil {
		return false, err
	}
	if err := a.live.Get(ctx, client.ObjectKeyFromObject(current), live); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	live.GetObjectKind().SetGroupVersionKind(current.GetObjectKind().GroupVersionKind())
	all, err := a.fieldsOf(live)
	if err != nil {
		return false, err
	}
	spec := &fieldpath.Set{}
	if err := spec.FromJSON(bytes.NewReader(all)); err != nil {
		return false, err
	}
	spec = under(spec, "spec")
	var entries []metav1.ManagedFieldsEntry
	for _, entry := range live.GetManagedFields() {
		set, err := fieldSet(entry)
		if err != nil {
			return false, err
		}
		kept := set
		if own := entry.Manager == v1alpha1.OperatorFieldOwner && entry.Operation == metav1.ManagedFieldsOperationApply; own {
			kept = set.Union(spec)
		} else if entry.Subresource == "" {
			kept = set.Difference(under(set, "spec"))
		}
		if kept.Empty() {
			changed = true
			continue
		}
		if changed = changed || !kept.Equals(set); !kept.Equals(set) {
			raw, err := kept.ToJSON()
			if err != nil {
				return false, fmt.Errorf("managed fields of %s: %w", entry.Manager, err)
			}
			entry.FieldsV1 = metav1.NewFieldsV1(string(raw))
		}
		entries = append(entries, entry)
	}
	if !changed {
		return false, nil
	}
	raw, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
		{"op": "add", "path": "/metadata/managedFields", "value": entries},
	})
	if err != nil {
		return false, fmt.Errorf("encode the patch of %s: %w", live.GetName(), err)
	}
	if err := a.client.Patch(ctx, live, client.RawPatch(types.JSONPatchType, raw), client.FieldOwner(v1alpha1.OperatorFieldOwner)); err != nil {
		return false, fmt.Errorf("claim %T %s: %w", live, live.GetName(), err)
	}
	return true, nil
}

// under are the members of a set that begin with a field.
func under(set *fieldpath.Set, field string) *fieldpath.Set {
	found := fieldpath.NewSet()
	set.Iterate(func(path fieldpath.Path) {
		if len(path) > 0 && path[0].FieldName != nil && *path[0].FieldName == field {
			found.Insert(path.Copy())
		}
	})
	return found
}
