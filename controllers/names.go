package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

// RequireName refuses the name of own to the second of a ClusterMaster and a Refinery: their objects have the same
// names, and the pods of one would mount the key of the other. Whoever is the holder has the name, and with none who was
// made first. One that the cache may not have yet is looked for at the API server.
func (e *Environment) RequireName(ctx context.Context, own client.Object) error {
	other, kind := client.Object(&v1alpha1.Refinery{}), KindRefinery
	if kindOf(own) == KindRefinery {
		other, kind = &v1alpha1.ClusterMaster{}, KindMaster
	}
	key := client.ObjectKeyFromObject(own)
	err := e.Client.Get(ctx, key, other)
	if apierrors.IsNotFound(err) && observed(own) == 0 {
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
	if holder == own || (holder == nil && wasFirst(own, other)) {
		return nil
	}
	return &apply.ConflictError{Kind: "the name", Name: key.Name, Owner: kind + " " + key.Name}
}

// observed is the generation that was carried out last, or 0.
func observed(o client.Object) int64 {
	if m, ok := o.(*v1alpha1.ClusterMaster); ok {
		return m.Status.ObservedGeneration
	}
	return o.(*v1alpha1.Refinery).Status.ObservedGeneration
}

// wasFirst reports whether own was made before other. Of two that were made in the same second it is the one that was
// ever carried out, and while neither was, the ClusterMaster.
func wasFirst(own, other client.Object) bool {
	made, otherMade := own.GetCreationTimestamp(), other.GetCreationTimestamp()
	switch {
	case !made.Equal(&otherMade):
		return made.Before(&otherMade)
	case (observed(own) == 0) != (observed(other) == 0):
		return observed(own) != 0
	default:
		return kindOf(own) == KindMaster
	}
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

// RequireUnmounted waits with a Secret that is still to be made while pods of someone else mount its name: the key would
// land in them. Their Refinery removes them as soon as it sees owner.
func (e *Environment) RequireUnmounted(ctx context.Context, owner client.Object, secret string) error {
	return e.RequireUnused(ctx, owner, SecretIndex, secret,
		"Deployment %s mounts Secret %s, in which the operator would store a key that its pods must not have; remove the volume from the spec of its owner or delete the Deployment, then the Secret is created")
}

// RequireUnused waits while the pods of someone else's Deployment use a name that is still to be made for owner.
func (e *Environment) RequireUnused(ctx context.Context, owner client.Object, index, name, message string) error {
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
	if !ok || secret != master.OwnSharedSecretName() || controller == nil || controller.Kind != KindRefinery {
		return false, nil
	}
	refinery := &v1alpha1.Refinery{}
	err := e.Client.Get(ctx, client.ObjectKey{Namespace: d.Namespace, Name: controller.Name}, refinery)
	return err == nil && refinery.Spec.MasterRef.Name == master.Name, client.IgnoreNotFound(err)
}

// KeptBy says what a Secret is for that a ClusterMaster keeps to itself, or "" for all others.
func KeptBy(m *v1alpha1.ClusterMaster, secret string) string {
	authority, provided := m.NamedAuthority()
	switch {
	case secret == m.AuthoritySecretName(), provided && secret == authority:
		return ForAuthority(m)
	case secret == m.CertificateSecretName():
		return ForServing(m)
	}
	return ""
}

// ForAuthority says that a Secret is for the authority of a ClusterMaster.
func ForAuthority(m *v1alpha1.ClusterMaster) string {
	return fmt.Sprintf("it is for the certificate authority of ClusterMaster %s", m.Name)
}

// ForServing says that a Secret is for what a ClusterMaster serves.
func ForServing(m *v1alpha1.ClusterMaster) string {
	return fmt.Sprintf("it is for the certificate that ClusterMaster %s serves, and its key", m.Name)
}

// RefusedShared says why the Secret that certificates.shared names may not be mounted by every node, or nothing.
func RefusedShared(m *v1alpha1.ClusterMaster) string {
	why := KeptBy(m, m.SharedSecretName())
	if why == "" {
		return ""
	}
	return fmt.Sprintf("spec.certificates.shared.secretRef names Secret %s: %s; name one that holds key %s and nothing else",
		m.SharedSecretName(), why, v1alpha1.SharedCertificateKey)
}
