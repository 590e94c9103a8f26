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
	"github.com/refinery-operator/refinery-operator/internal/podset"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// TheName stands for the kind in a *apply.ConflictError about the name of an object itself.
const TheName = "the name"

// RequireName refuses own if its name belongs to an object of the other kind: a ClusterMaster and a Refinery of one
// name would own objects of the same names, and the pods of one would mount the key of the other. The name belongs to
// the object that already controls the Secret or Deployment of that name (holder), and otherwise to the one that was
// created first. Before own is reconciled for the first time, the API server is asked too, because the cache may not
// have the other object yet.
func (e *Environment) RequireName(ctx context.Context, own client.Object) error {
	other, kind := client.Object(&v1alpha1.Refinery{}), KindRefinery
	if kindOf(own) == KindRefinery {
		other, kind = &v1alpha1.ClusterMaster{}, KindMaster
	}
	key := client.ObjectKeyFromObject(own)
	err := e.Client.Get(ctx, key, other)
	if apierrors.IsNotFound(err) && reconciled(own) == 0 {
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
	return &apply.ConflictError{Kind: TheName, Name: key.Name, Owner: kind + " " + key.Name}
}

// reconciled returns the generation that was last reconciled in full, or 0.
func reconciled(o client.Object) int64 {
	if m, ok := o.(*v1alpha1.ClusterMaster); ok {
		return m.Status.ReconciledGeneration
	}
	return o.(*v1alpha1.Refinery).Status.ReconciledGeneration
}

// wasFirst reports whether own was created before other. Of two that were created in the same second, the one that was
// already reconciled is first. If that does not decide, the ClusterMaster is.
func wasFirst(own, other client.Object) bool {
	made, otherMade := own.GetCreationTimestamp(), other.GetCreationTimestamp()
	switch {
	case !made.Equal(&otherMade):
		return made.Before(&otherMade)
	case (reconciled(own) == 0) != (reconciled(other) == 0):
		return reconciled(own) != 0
	default:
		return kindOf(own) == KindMaster
	}
}

// holder returns which of two objects of one name controls the Secret <name>-tls, or, if neither does, the Deployment or
// StatefulSet.
// It returns nil if neither controls either.
func (e *Environment) holder(ctx context.Context, key client.ObjectKey, own, other client.Object) (client.Object, error) {
	master := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Name: key.Name}}
	for _, made := range []struct {
		name   string
		object client.Object
	}{{master.CertificateSecretName(), &corev1.Secret{}}, {key.Name, &appsv1.Deployment{}}, {key.Name, &appsv1.StatefulSet{}}} {
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

// RequireUnmounted makes the pass wait while pods of another owner mount the name of a Secret that is not created yet:
// they would get its key. If the pods belong to a Refinery, its controller removes them as soon as it sees owner.
func (e *Environment) RequireUnmounted(ctx context.Context, owner client.Object, secret string) error {
	return e.RequireUnused(ctx, owner, SecretIndex, secret,
		"%[1]s %[2]s mounts Secret %[3]s, in which the operator would store a key that its pods must not have; remove the volume from the spec of its owner or delete the %[1]s, then the Secret is created")
}

// RequireUnused makes the pass wait while a Deployment or StatefulSet of another owner uses the name of an object that is still to be
// created for owner. message has the kind and name of the one, and the name of the other.
func (e *Environment) RequireUnused(ctx context.Context, owner client.Object, index, name, message string) error {
	using, err := ListPodSets(ctx, e.Client, client.InNamespace(owner.GetNamespace()), client.UnsafeDisableDeepCopy, client.MatchingFields{index: name})
	if err != nil {
		return err
	}
	for _, d := range using {
		shared, err := e.sharesWith(ctx, owner, name, d)
		if err != nil {
			return err
		}
		if !shared && !metav1.IsControlledBy(d, owner) {
			return &reconcile.WaitError{Reason: v1alpha1.ReasonNameConflict, Message: fmt.Sprintf(message, podset.KindOf(d), d.Name, name), Recheck: e.Recheck}
		}
	}
	return nil
}

// sharesWith reports whether a Secret is the shared certificate of a ClusterMaster and a Deployment runs nodes of it.
// These nodes have to mount the Secret.
func (e *Environment) sharesWith(ctx context.Context, owner client.Object, secret string, d *appsv1.Deployment) (bool, error) {
	master, ok := owner.(*v1alpha1.ClusterMaster)
	controller := metav1.GetControllerOf(d)
	if !ok || secret != master.SharedSecretName() || controller == nil || controller.Kind != KindRefinery {
		return false, nil
	}
	refinery := &v1alpha1.Refinery{}
	err := e.Client.Get(ctx, client.ObjectKey{Namespace: d.Namespace, Name: controller.Name}, refinery)
	return err == nil && refinery.Spec.MasterRef.Name == master.Name, client.IgnoreNotFound(err)
}

// KeptBy says what a Secret is for if only the ClusterMaster may use it, or "" for any other Secret.
func KeptBy(m *v1alpha1.ClusterMaster, secret string) string {
	authority, provided := m.NamedAuthority()
	switch {
	case secret == m.AuthoritySecretName(), provided && secret == authority:
		return ForAuthority(m)
	case secret == m.CertificateSecretName():
		return ForServing(m)
	case secret == m.PeerName():
		return ForPeers(m)
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

// ForPeers says that a Secret is for what the masters of a ClusterMaster know each other by.
func ForPeers(m *v1alpha1.ClusterMaster) string {
	return fmt.Sprintf("it is for the key pair by which the masters of ClusterMaster %s know each other", m.Name)
}

// RefusedShared says why the Secret that certificates.shared names may not be mounted by every node, or "" if it may.
func (e *Environment) RefusedShared(ctx context.Context, m *v1alpha1.ClusterMaster) (string, error) {
	name, provided := m.ProvidedSharedSecretName()
	if !provided {
		return "", nil
	}
	why := KeptBy(m, name)
	if why == "" && name != m.SharedSecretName() {
		secret := &corev1.Secret{}
		err := e.Client.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: name}, secret)
		if client.IgnoreNotFound(err) != nil {
			return "", fmt.Errorf("read Secret %s: %w", name, err)
		}
		if err == nil && secret.Labels[resource.LabelManagedBy] == resource.ManagedBy {
			why = "it is one that the operator created for " + CreatedFor(secret)
		}
	}
	if why == "" {
		return "", nil
	}
	return fmt.Sprintf("spec.certificates.shared.secretRef names Secret %s: %s; name one that holds key %s and nothing else",
		name, why, v1alpha1.SharedCertificateKey), nil
}

// CreatedFor says for what the operator created an object, by its labels.
func CreatedFor(object client.Object) string {
	kind := KindRefinery
	if object.GetLabels()[resource.LabelComponent] == resource.MasterComponent {
		kind = KindMaster
	}
	return kind + " " + object.GetLabels()[resource.LabelInstance]
}
