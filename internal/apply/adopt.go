package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/podset"
)

// PendingError reports that an object is about to change by itself, as one that is being deleted. Then it is looked at again.
type PendingError struct{ Message string }

// Error says what is waited for.
func (e *PendingError) Error() string { return e.Message }

// Orphan returns object as the API server has it, if it lost the owner: it bears all the labels of what owner owns, and no object
// that exists controls it. So it is after a deletion with --cascade=orphan and after a restore. It is nil if it is gone, and comes
// with a *ConflictError if it is someone else's. Labels prove nothing about the content.
func (a *Applier) Orphan(ctx context.Context, owner, object client.Object, labels map[string]string) (client.Object, error) {
	gvk, err := a.client.GroupVersionKindFor(object)
	if err != nil {
		return nil, err
	}
	ownerKind, err := a.client.GroupVersionKindFor(owner)
	if err != nil {
		return nil, err
	}
	if !LostOwner(object, owner, ownerKind.Kind, labels) {
		return nil, Conflict(gvk.Kind, object)
	}
	live, err := a.empty(gvk)
	if err != nil {
		return nil, err
	}
	err = a.live.Get(ctx, client.ObjectKeyFromObject(object), live)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", gvk.Kind, object.GetName(), err)
	}
	live.GetObjectKind().SetGroupVersionKind(gvk)
	if Owns(owner, live) { // object was read from a cache that is behind
		return live, nil
	}
	if !LostOwner(live, owner, ownerKind.Kind, labels) || isRemnant(live) {
		return nil, Conflict(gvk.Kind, live)
	}
	if !live.GetDeletionTimestamp().IsZero() {
		return nil, &PendingError{fmt.Sprintf("%s %s is being deleted; it is made again when it is gone", gvk.Kind, live.GetName())}
	}
	return live, a.requireOwner(ctx, owner)
}

// LostOwner reports whether an object bears the labels and is controlled by nothing, or by an owner of the same kind and name that
// was another: names are unique, and so it does not exist any more.
func LostOwner(object, owner client.Object, ownerKind string, labels map[string]string) bool {
	has := object.GetLabels()
	for key, value := range labels {
		if has[key] != value {
			return false
		}
	}
	controller := metav1.GetControllerOf(object)
	if controller == nil {
		return len(labels) > 0
	}
	gv, err := schema.ParseGroupVersion(controller.APIVersion)
	return err == nil && gv.Group == v1alpha1.GroupVersion.Group && controller.Kind == ownerKind &&
		controller.Name == owner.GetName() && controller.UID != owner.GetUID()
}

// isRemnant reports whether the operator itself wrote who controls an object. If that owner is gone, it was deleted together with
// all that it owned, and the garbage collector has only not come to this object yet. One that was restored was written by another.
func isRemnant(object client.Object) bool {
	controller := metav1.GetControllerOf(object)
	if controller == nil {
		return false
	}
	for _, entry := range object.GetManagedFields() {
		if entry.Manager == v1alpha1.OperatorFieldOwner && entry.Operation == metav1.ManagedFieldsOperationApply && entry.FieldsV1 != nil &&
			strings.Contains(entry.FieldsV1.GetRawString(), string(controller.UID)) {
			return true
		}
	}
	return false
}

// requireOwner makes sure that owner is the object of its name that exists. A cache that is behind may still show one that was
// deleted, whose successor owns the orphan.
func (a *Applier) requireOwner(ctx context.Context, owner client.Object) error {
	live := owner.DeepCopyObject().(client.Object)
	if err := a.live.Get(ctx, client.ObjectKeyFromObject(owner), live); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read %T %s: %w", owner, owner.GetName(), err)
	} else if err != nil || live.GetUID() != owner.GetUID() {
		return apierrors.NewConflict(schema.GroupResource{}, owner.GetName(), errors.New("the owner was deleted meanwhile"))
	}
	return nil
}

// Adopt makes owner the owner of an orphan, which is overwritten in full: what desired does not have is gone afterwards. If a field
// is in the way that cannot be changed, the error is the API server's.
func (a *Applier) Adopt(ctx context.Context, owner, orphan client.Object, desired Configuration) error {
	want, err := toUnstructured(desired)
	if err != nil {
		return err
	}
	return a.adopt(ctx, owner, orphan, want)
}

func (a *Applier) adopt(ctx context.Context, owner, orphan client.Object, want *unstructured.Unstructured) error {
	a.addMetadata(owner, want)
	digest, err := digestOf(want) // as over does
	if err != nil {
		return err
	}
	if err := a.prepare(want); err != nil {
		return err
	}
	claimed, err := a.claim(ctx, orphan)
	if err != nil {
		return err
	}
	ref := reference{want.GetKind(), want.GetName()}
	want.SetUID(claimed.GetUID())
	want.SetResourceVersion(claimed.GetResourceVersion())
	if podset.Of(claimed) != nil {
		if err := a.requireSamePods(ctx, claimed, want); err != nil {
			return err
		}
	}
	if err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(want),
		client.FieldOwner(v1alpha1.OperatorFieldOwner), client.ForceOwnership); err != nil {
		return fmt.Errorf("adopt %s %s: %w", ref.kind, ref.name, err)
	}
	if err := a.remember(owner, ref, digest, want); err != nil {
		return err
	}
	log.FromContext(ctx).Info("Adopted", "object", ref.kind+"/"+ref.name)
	return nil
}

// adoptOrReplace is adopt, and deletes an orphan that cannot become what is wanted. It is made anew when it is gone.
func (a *Applier) adoptOrReplace(ctx context.Context, owner, orphan client.Object, want *unstructured.Unstructured) error {
	err := a.adopt(ctx, owner, orphan, want)
	if !apierrors.IsInvalid(err) {
		return err
	}
	return a.replace(ctx, orphan, want.GetKind())
}

// replace deletes an orphan, which is made again when it is gone.
func (a *Applier) replace(ctx context.Context, orphan client.Object, kind string) error {
	if err := a.remove(ctx, orphan, kind); err != nil {
		return err
	}
	return &PendingError{fmt.Sprintf("%s %s was not as the operator made it and is being deleted; it is made again when it is gone", kind, orphan.GetName())}
}

// RemoveOrphan deletes what ran pods of an owner and was left behind, if it has lost the owner. The error is a *PendingError until its
// pods are gone.
func (a *Applier) RemoveOrphan(ctx context.Context, owner, object client.Object) error {
	gvk, err := a.client.GroupVersionKindFor(object)
	if err != nil {
		return err
	}
	if err := a.client.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
		return client.IgnoreNotFound(err)
	}
	orphan, err := a.Orphan(ctx, owner, object, object.GetLabels())
	if err != nil || orphan == nil || Owns(owner, orphan) {
		return err
	}
	if err := a.remove(ctx, orphan, gvk.Kind); err != nil {
		return err
	}
	return &PendingError{fmt.Sprintf("%s %s ran the pods before, and is being deleted; pods are created again when these are gone", gvk.Kind, orphan.GetName())}
}

func (a *Applier) remove(ctx context.Context, orphan client.Object, kind string) error {
	if err := a.retainClaims(ctx, orphan); err != nil {
		return err
	}
	uid := orphan.GetUID()
	err := a.client.Delete(ctx, orphan, client.Preconditions{UID: &uid}, propagationOf(orphan))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %s %s: %w", kind, orphan.GetName(), err)
	}
	log.FromContext(ctx).Info("Deleted an object that bore the operator's labels and was not as it has to be", "object", kind+"/"+orphan.GetName())
	return nil
}

// propagationOf is how an object is deleted: a Deployment or StatefulSet stays until its pods are gone, so that they do not run any more
// when another one of its name is made.
func propagationOf(object client.Object) client.PropagationPolicy {
	if podset.Of(object) != nil {
		return client.PropagationPolicy(metav1.DeletePropagationForeground)
	}
	return client.PropagationPolicy(metav1.DeletePropagationBackground)
}

// claim makes all fields of an orphan the operator's, so that applying takes out what is not wanted. The owners that it names go too:
// an object cannot have two that control it.
func (a *Applier) claim(ctx context.Context, orphan client.Object) (client.Object, error) {
	fields, err := a.fieldsOf(orphan)
	if err != nil {
		return nil, err
	}
	gv := orphan.GetObjectKind().GroupVersionKind().GroupVersion().String()
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value,omitempty"`
	}
	patch := []operation{
		{"replace", "/metadata/resourceVersion", orphan.GetResourceVersion()}, // refused if it has changed meanwhile
		{"add", "/metadata/managedFields", []metav1.ManagedFieldsEntry{{Manager: v1alpha1.OperatorFieldOwner, Operation: metav1.ManagedFieldsOperationApply,
			APIVersion: gv, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(fields))}}},
	}
	if len(orphan.GetOwnerReferences()) > 0 {
		patch = append(patch, operation{Op: "remove", Path: "/metadata/ownerReferences"})
	}
	raw, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("encode the patch of %s: %w", orphan.GetName(), err)
	}
	claimed := orphan.DeepCopyObject().(client.Object)
	if err := a.client.Patch(ctx, claimed, client.RawPatch(types.JSONPatchType, raw), client.FieldOwner(v1alpha1.OperatorFieldOwner)); err != nil {
		return nil, fmt.Errorf("claim %T %s: %w", orphan, orphan.GetName(), err)
	}
	return claimed, nil
}

// claimedMetadata are the parts of metadata that belong to whoever writes an object. Finalizers stay with those that wait for them.
var claimedMetadata = []string{"labels", "annotations"}

// fieldsOf are the fields of an object that a person could have written, in the form of managed fields.
func (a *Applier) fieldsOf(object client.Object) ([]byte, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("encode %T %s: %w", object, object.GetName(), err)
	}
	content = runtime.DeepCopyJSON(content)
	delete(content, "status")
	metadata := map[string]any{}
	for _, key := range claimedMetadata {
		if value, found, _ := unstructured.NestedFieldNoCopy(content, "metadata", key); found {
			metadata[key] = value
		}
	}
	content["metadata"] = metadata
	bare := &unstructured.Unstructured{Object: content}
	bare.SetGroupVersionKind(object.GetObjectKind().GroupVersionKind())
	value, err := a.typedValue(bare, typed.AllowDuplicates)
	if err != nil {
		return nil, err
	}
	set, err := value.ToFieldSet()
	if err != nil {
		return nil, fmt.Errorf("fields of %T %s: %w", object, object.GetName(), err)
	}
	return set.Difference(fieldpath.NewSet(fieldpath.MakePathOrDie("apiVersion"), fieldpath.MakePathOrDie("kind"))).ToJSON()
}

// samePods reports whether pods of two templates run the same. Annotations, such as that of kubectl rollout restart, give nobody a key.
func samePods(a, b *corev1.PodTemplateSpec) bool {
	return equality.Semantic.DeepEqual(a.Spec, b.Spec) && equality.Semantic.DeepEqual(a.Labels, b.Labels)
}

// requireSamePods deletes a Deployment or StatefulSet that was claimed if its pods are not as want has them, now or still from a former
// template: none of those may go on with what the operator gives to the pods of the name.
func (a *Applier) requireSamePods(ctx context.Context, claimed client.Object, want *unstructured.Unstructured) error {
	d, after := podset.Of(claimed), podset.New(want.GetKind(), "", "")
	tried := want.DeepCopy()
	err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(tried),
		client.FieldOwner(v1alpha1.OperatorFieldOwner), client.ForceOwnership, client.DryRunAll)
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(tried.Object, after)
	}
	switch {
	case apierrors.IsInvalid(err):
		return a.replace(ctx, claimed, want.GetKind())
	case err != nil:
		return fmt.Errorf("try to adopt %s %s: %w", want.GetKind(), d.Name, err)
	case !samePods(&podset.Of(after).Spec.Template, &d.Spec.Template), d.Status.UpdatedReplicas < d.Status.Replicas:
		return a.replace(ctx, claimed, want.GetKind())
	case d.Generation > 1 && d.Status.ObservedGeneration < d.Generation:
		return &PendingError{fmt.Sprintf("%s %s is adopted when Kubernetes has told which pods it has", want.GetKind(), d.Name)}
	}
	return nil
}
