package controllers

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

// served reads the Secret of a master's certificate. It is nil while there is none, or someone else's.
func (e *Environment) served(ctx context.Context, a *apply.Applier, m *v1alpha1.ClusterMaster) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = m.Namespace, m.CertificateSecretName()
	found, err := a.Read(ctx, m, secret)
	if _, taken := errors.AsType[*apply.ConflictError](err); taken || (err == nil && !found) {
		return nil, nil
	}
	return secret, err
}

// rotateAuthority takes a rotation between two authorities of the operator's making forward. One in which either is
// provided is part of the certificate that the master serves: rotateServed.
func (r *ClusterMasterReconciler) rotateAuthority(ctx context.Context, s *masterScope) error {
	if s.master.Issuer() != nil {
		s.rotation = &rotation.Rotation{}
		return nil
	}
	served, err := r.served(ctx, r.apply, s.master)
	if err != nil || rotation.InServedStore(s.master, served) {
		return err
	}
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = s.master.Namespace, s.master.AuthoritySecretName()
	if found, err := r.apply.Read(ctx, s.master, secret); err != nil || !found {
		return err
	}
	return r.rotate(ctx, s, &rotation.OwnStore{Secret: secret,
		Apply: func(ctx context.Context, m *v1alpha1.ClusterMaster, secret *corev1ac.SecretApplyConfiguration) error {
			return r.apply.Apply(ctx, m, secret)
		}})
}

// rotateServed takes a rotation forward in which the authority before or the one to come is provided. The certificate that
// is in use stays so while the new authority is not trusted by everybody, and is to be renewed as soon as it is.
func (r *ClusterMasterReconciler) rotateServed(ctx context.Context, s *masterScope, secret *issuedSecret, current held, v *verdict) error {
	store := &rotation.ServedStore{Authority: s.authority, Served: current.certificate(), Good: v.good}
	if err := r.rotate(ctx, s, store); err != nil {
		return err
	}
	s.authority, secret.authority = store.Authority, store.Authority
	if s.rotation.Phase == pki.RotationPreparing {
		*v = verdict{good: true, due: current.leaf().NotAfter}
	}
	v.renew = v.renew || !store.Good
	return nil
}

func (r *ClusterMasterReconciler) rotate(ctx context.Context, s *masterScope, store rotation.Store) (err error) {
	rotator := rotation.Rotator{Cache: r.Client, Live: r.Live, Provided: r.namedSecret}
	if s.rotation, err = rotator.Rotate(ctx, s.master, store, s.now); s.rotation != nil {
		s.agenda.atFuture(s.rotation.RecheckAt(s.now), s.now)
	}
	return err
}

// addIgnoredRequest adds to a good CertificateReady that annotation rotate-ca asks for what the operator cannot do,
// unless it did so when the authority was its own.
func (r *ClusterMasterReconciler) addIgnoredRequest(ctx context.Context, s *masterScope) error {
	words := rotation.IgnoredRequest(s.master)
	if words == "" || s.certificate.condition.Status != metav1.ConditionTrue {
		return nil
	}
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = s.master.Namespace, s.master.AuthoritySecretName()
	found, err := r.apply.Read(ctx, s.master, secret)
	if _, taken := errors.AsType[*apply.ConflictError](err); err != nil && !taken {
		return err
	}
	if _, record := resource.ReadMasterAuthority(secret); !found || record.Asked != s.master.Annotations[v1alpha1.RotateCAAnnotation] {
		s.certificate.condition.Message += "; " + words
	}
	return nil
}
