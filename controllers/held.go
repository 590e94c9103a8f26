package controllers

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// Who holds the name of a Secret. A ClusterMaster, or a Refinery of other nodes, needs it for a key; the spec of a Refinery
// brings the Secret into pods. Whoever has it in use holds it: the one because the Secret, or what goes with it, was made, the
// other because a Deployment mounts it. While nobody does, whoever was created first holds it. Both sides decide it from the same
// objects, so that one of them gives way, in whatever order they are reconciled.

// RequireSecretNames refuses owner, before anything is made for it, if the spec of a Refinery brings one of the Secrets that
// owner needs into pods, and holds the name.
func (e *Environment) RequireSecretNames(ctx context.Context, owner client.Object, names ...string) error {
	held, err := e.HoldsNames(ctx, e.Client, owner)
	if err != nil || held {
		return err
	}
	for _, name := range names {
		r, err := e.BroughtBy(ctx, owner, name)
		if err != nil {
			return err
		}
		if r == "" {
			continue
		}
		secret := &corev1.Secret{}
		err = e.Live.Get(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: name}, secret)
		if err == nil {
			continue // whoever made it, its name is not free for a key
		}
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("read Secret %s: %w", name, err)
		}
		return &reconcile.StalledError{Reason: v1alpha1.ReasonNameConflict, Recheck: e.Recheck, Message: fmt.Sprintf(
			"Secret %s is needed for a key, and Refinery %s had the name first: its spec brings that Secret into pods, which must not have the key; remove it from the spec of Refinery %s, or give %s %s another name",
			name, r, r, kindOf(owner), owner.GetName())}
	}
	return nil
}

// RefusedAuthority says why a ClusterMaster may not use the authority that its spec names, or "" if it may: pods that read it
// already would have its key.
func (e *Environment) RefusedAuthority(ctx context.Context, m *v1alpha1.ClusterMaster) (string, error) {
	name, provided := m.NamedAuthority()
	if !provided {
		return "", nil
	}
	used, err := e.UsesAuthority(ctx, e.Client, m)
	if err != nil || used {
		return "", err
	}
	r, err := e.BroughtBy(ctx, m, name)
	if err != nil || r == "" {
		return "", err
	}
	return fmt.Sprintf("spec.certificates.authority.secretRef names Secret %s, which the spec of Refinery %s brought into pods before: these could have its key; "+
		"name an authority that no pods read", name, r), nil
}

// RequireAccountName refuses a ClusterMaster if the pods of a Refinery use the name of the ServiceAccount that it needs, and hold
// it: they would act as a master.
func (e *Environment) RequireAccountName(ctx context.Context, m *v1alpha1.ClusterMaster, account string) error {
	held, err := e.HoldsNames(ctx, e.Client, m)
	if err != nil || held {
		return err
	}
	r, err := e.firstOf(ctx, m, nil, func(pods *corev1.PodSpec) bool { return resource.UsesAccount(pods, account) })
	if err != nil || r == "" {
		return err
	}
	err = e.Live.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: account}, &corev1.ServiceAccount{})
	if !apierrors.IsNotFound(err) {
		return err // whoever made it, its name is not free
	}
	return &reconcile.StalledError{Reason: v1alpha1.ReasonNameConflict, Recheck: e.Recheck, Message: fmt.Sprintf(
		"ServiceAccount %s is needed for the master, and Refinery %s had the name first: its pods use it, and would act as a master; name another one in the spec of Refinery %s, or give ClusterMaster %s another name",
		account, r, r, m.Name)}
}

// BroughtBy names the Refinery that brings a Secret into pods which are not for it, and that goes before owner; "" if there is none.
func (e *Environment) BroughtBy(ctx context.Context, owner client.Object, secret string) (string, error) {
	return e.firstOf(ctx, owner, client.MatchingFields{BroughtIndex: secret}, func(pods *corev1.PodSpec) bool {
		return slices.Contains(resource.PodSecrets(pods), secret)
	})
}

// firstOf names the Refinery whose spec uses something, by an index of Refineries if one is given, and that has pods which do, or goes
// before owner.
func (e *Environment) firstOf(ctx context.Context, owner client.Object, index client.MatchingFields, use func(*corev1.PodSpec) bool) (string, error) {
	list, reader, options := &v1alpha1.RefineryList{}, client.Reader(e.Client), []client.ListOption{client.InNamespace(owner.GetNamespace())}
	if kindOf(owner) == KindMaster && reconciled(owner) == 0 { // the cache may not have a Refinery yet that was created before
		reader = e.Live
	} else if options = append(options, client.UnsafeDisableDeepCopy); index != nil {
		options = append(options, index)
	}
	if err := reader.List(ctx, list, options...); err != nil {
		return "", fmt.Errorf("list Refineries: %w", err)
	}
	for i := range list.Items {
		r := &list.Items[i]
		if r.UID == owner.GetUID() || !use(resource.SpecifiedPods(r)) {
			continue
		}
		d, err := e.OwnPodSet(ctx, r)
		if err != nil {
			return "", err
		}
		if (d != nil && use(&d.Spec.Template.Spec)) || GoesBefore(r, owner) {
			return r.Name, nil
		}
	}
	return "", nil
}

// GoesBefore reports whether a Refinery was created before owner, so that the names of Secrets are its own that neither has in
// use. A Refinery never goes before its own ClusterMaster, without which it has no pods. Of two that were created in the same
// second, a ClusterMaster goes first, and then what the alphabet says.
func GoesBefore(r *v1alpha1.Refinery, owner client.Object) bool {
	made, otherMade := r.GetCreationTimestamp(), owner.GetCreationTimestamp()
	switch {
	case kindOf(owner) == KindMaster && r.Spec.MasterRef.Name == owner.GetName():
		return false
	case !made.Equal(&otherMade):
		return made.Before(&otherMade)
	default:
		return kindOf(owner) == KindRefinery && r.Name < owner.GetName()
	}
}

// HoldsNames reports whether owner has the names in use of the Secrets that it needs. A Secret that was deleted, to revoke what it
// held, is still in use.
func (e *Environment) HoldsNames(ctx context.Context, reader client.Reader, owner client.Object) (bool, error) {
	if r, ok := owner.(*v1alpha1.Refinery); ok && UsesCertificate(r, r.IssuedSecretName()) {
		return true, nil
	}
	type made struct {
		name   string
		object client.Object
	}
	all := []made{{owner.GetName() + v1alpha1.CertificateSuffix, &corev1.Secret{}}}
	if m, ok := owner.(*v1alpha1.ClusterMaster); ok { // the Deployment first: then no Secret is read in nearly every pass
		all = append([]made{{m.Name, &appsv1.Deployment{}}, {m.AuthoritySecretName(), &corev1.Secret{}}}, all...)
	}
	for _, m := range all {
		err := reader.Get(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: m.name}, m.object)
		if client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("read %T %s: %w", m.object, m.name, err)
		}
		if err == nil && apply.Owns(owner, m.object) {
			return true, nil
		}
	}
	return false, nil
}

// UsesCertificate reports whether a Refinery has, or had, the certificate in a Secret in use.
func UsesCertificate(r *v1alpha1.Refinery, secret string) bool {
	return slices.ContainsFunc(r.Status.Certificates, func(c v1alpha1.ListedCertificate) bool { return r.ListedFrom(&c) == secret }) ||
		slices.ContainsFunc(r.Status.Revoked, func(c v1alpha1.RevokedCertificate) bool { return c.Secret == secret })
}

// UsesAuthority reports whether a ClusterMaster has the authority in use that its spec names: the certificate that it serves is
// marked with it, or, if the authority has no key, what the user provided was found good.
func (e *Environment) UsesAuthority(ctx context.Context, reader client.Reader, m *v1alpha1.ClusterMaster) (bool, error) {
	name, provided := m.NamedAuthority()
	if !provided {
		return false, nil
	}
	c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionCertificateReady)
	if c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == m.Generation {
		return true, nil
	}
	served := &corev1.Secret{}
	err := reader.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: m.CertificateSecretName()}, served)
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return apply.Owns(m, served) && resource.ProvidedAuthority(served) == name, nil
}
