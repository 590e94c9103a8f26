package controllers

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// requireOwnName lets a Refinery make nothing under a name that a ClusterMaster has.
func (r *RefineryReconciler) requireOwnName(ctx context.Context, s *refineryScope) error {
	master := &v1alpha1.ClusterMaster{}
	return r.env.requireName(ctx, s.refinery, master, s.refinery.Status.ObservedGeneration == 0, func() bool {
		return wasFirst(s.refinery, master, s.refinery.Status.ObservedGeneration, master.Status.ObservedGeneration, false)
	})
}

// requireOwnName lets a ClusterMaster make nothing under a name that a Refinery has.
func (r *ClusterMasterReconciler) requireOwnName(ctx context.Context, s *masterScope) error {
	refinery := &v1alpha1.Refinery{}
	return r.env.requireName(ctx, s.master, refinery, s.master.Status.ObservedGeneration == 0, func() bool {
		return wasFirst(s.master, refinery, s.master.Status.ObservedGeneration, refinery.Status.ObservedGeneration, true)
	})
}

// wasFirst reports whether own was made before other. Of two that were made in the same second it is the one that was
// ever carried out, and while neither was, what otherwise says.
func wasFirst(own, other metav1.Object, ownObserved, otherObserved int64, otherwise bool) bool {
	made, otherMade := own.GetCreationTimestamp(), other.GetCreationTimestamp()
	switch {
	case !made.Equal(&otherMade):
		return made.Before(&otherMade)
	case (ownObserved == 0) != (otherObserved == 0):
		return ownObserved != 0
	default:
		return otherwise
	}
}

// requireName refuses the name of own to the second of a ClusterMaster and a Refinery: their objects have the same
// names, and the pods of one would mount the key of the other. Whoever is the holder has the name, and with none who was
// made first. other is read; one that the cache may not have yet is looked for at the API server.
func (e *Environment) requireName(ctx context.Context, own, other client.Object, isNew bool, first func() bool) error {
	key := client.ObjectKeyFromObject(own)
	err := e.Client.Get(ctx, key, other)
	if apierrors.IsNotFound(err) && isNew {
		err = e.Live.Get(ctx, key, other)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %T %s: %w", other, key.Name, err)
	}
	holder, err := e.holder(ctx, key, own, other)
	if err != nil {
		return err
	}
	if holder == own || (holder == nil && first()) {
		return nil
	}
	kind := kindRefinery
	if _, isMaster := other.(*v1alpha1.ClusterMaster); isMaster {
		kind = kindMaster
	}
	return &apply.ConflictError{Kind: "the name", Name: key.Name, Owner: kind + " " + key.Name}
}

// holder is the one of two objects of a name that controls its Secret <name>-tls, or, where neither does, its Deployment. It
// is nil where neither controls either.
func (e *Environment) holder(ctx context.Context, key client.ObjectKey, own, other client.Object) (client.Object, error) {
	master := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Name: key.Name}}
	for _, made := range []struct {
		name   string
		object client.Object
	}{{master.CertificateSecretName(), &corev1.Secret{}}, {key.Name, &appsv1.Deployment{}}} {
		err := e.Client.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: made.name}, made.object)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("read %T %s: %w", made.object, made.name, err)
		}
		switch {
		case metav1.IsControlledBy(made.object, own):
			return own, nil
		case metav1.IsControlledBy(made.object, other):
			return other, nil
		}
	}
	return nil, nil
}

// requireUnmounted waits with a Secret that is still to be made while pods of someone else mount its name: the key would
// land in them. Their Refinery removes them as soon as it sees owner.
func (e *Environment) requireUnmounted(ctx context.Context, owner client.Object, secret string) error {
	return e.requireUnused(ctx, owner, secretIndex, secret,
		"Deployment %s mounts Secret %s, in which the operator would store a key that its pods must not have; remove the volume from the spec of its owner or delete the Deployment, then the Secret is created")
}

// requireUnused waits while the pods of someone else's Deployment use a name that is still to be made for owner.
func (e *Environment) requireUnused(ctx context.Context, owner client.Object, index, name, message string) error {
	list := &appsv1.DeploymentList{}
	if err := e.Client.List(ctx, list, client.InNamespace(owner.GetNamespace()), client.UnsafeDisableDeepCopy, client.MatchingFields{index: name}); err != nil {
		return fmt.Errorf("list Deployments: %w", err)
	}
	for i := range list.Items {
		d := &list.Items[i]
		shared, err := e.sharesWith(ctx, owner, name, d)
		if err != nil {
			return err
		}
		if !shared && !metav1.IsControlledBy(d, owner) {
			return &reconcile.WaitError{Reason: v1alpha1.ReasonNameConflict, Message: fmt.Sprintf(message, d.Name, name), Recheck: e.Recheck}
		}
	}
	return nil
}

// sharesWith reports whether a Secret is the shared certificate of a ClusterMaster, and a Deployment runs nodes of it, which
// are to have that.
func (e *Environment) sharesWith(ctx context.Context, owner client.Object, secret string, d *appsv1.Deployment) (bool, error) {
	master, ok := owner.(*v1alpha1.ClusterMaster)
	controller := metav1.GetControllerOf(d)
	if !ok || secret != master.OwnSharedSecretName() || controller == nil || controller.Kind != kindRefinery {
		return false, nil
	}
	refinery := &v1alpha1.Refinery{}
	err := e.Client.Get(ctx, client.ObjectKey{Namespace: d.Namespace, Name: controller.Name}, refinery)
	return err == nil && refinery.Spec.MasterRef.Name == master.Name, client.IgnoreNotFound(err)
}

// ofMounted returns a map function from a Deployment to the owners of the Secrets that it mounts, and of the ServiceAccount
// that it uses: "<name><suffix>" is for the ClusterMaster or Refinery <name>.
func ofMounted(suffixes ...string) handler.MapFunc {
	return func(_ context.Context, o client.Object) []ctrl.Request {
		var requests []ctrl.Request
		pods := &o.(*appsv1.Deployment).Spec.Template.Spec
		for _, used := range append(resource.PodSecrets(pods), pods.ServiceAccountName) {
			for _, suffix := range suffixes {
				if name, ok := strings.CutSuffix(used, suffix); ok {
					requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: name}})
				}
			}
		}
		return requests
	}
}
