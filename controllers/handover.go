package controllers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
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

// takesOver reports whether the operator's own authority takes the place of one that was brought, and is named no more:
// from the time on when that is taken out of the spec until nobody needs it.
func (e *Environment) takesOver(ctx context.Context, a *apply.Applier, m *v1alpha1.ClusterMaster) (bool, error) {
	if _, named := m.NamedAuthority(); named || m.Issuer() != nil {
		return false, nil
	}
	secret, err := e.served(ctx, a, m)
	return secret != nil && resource.HasBroughtAuthority(secret), err
}

// retainAuthorities goes on trusting what was trusted before authority, if either was brought, for as long as it
// stands in the trust bundle of the master. Only what the operator has put there itself counts. Where an authority
// of the operator's follows another of the operator's, that Secret tells what is trusted.
func (e *Environment) retainAuthorities(ctx context.Context, a *apply.Applier, m *v1alpha1.ClusterMaster, authority *pki.Authority) error {
	if authority.Key == nil {
		return nil // nothing is issued, and so that bundle is brought too
	}
	secret, err := e.served(ctx, a, m)
	if err != nil || secret == nil {
		return err
	}
	if _, named := m.NamedAuthority(); !named && !resource.HasBroughtAuthority(secret) {
		return nil
	}
	authority.Since = resource.PhaseBegan(secret)
	served, _ := parseHeld(secret)
	authority.Rotating = authority.Rotating || !authority.Since.IsZero() || served.leaf() == nil || !authority.Signed(served.leaf())
	bundle, err := pki.ParseCertificates(v1alpha1.AuthorityKey, secret.Data[v1alpha1.AuthorityKey])
	if err != nil {
		return nil //nolint:nilerr // it is about to be written anew
	}
	former := pki.Retained(bundle, m.Status.Authorities, e.Clock.Now())
	authority.Retain(slices.DeleteFunc(former, func(c *x509.Certificate) bool {
		return slices.ContainsFunc(authority.Certificates, c.Equal)
	})...)
	return nil
}

// handOver lets another authority take the place of the one before, where either was brought, as rotateAuthority does
// where both are of the operator's making. Its state is the Secret of the master's certificate: who signed that, and
// which authorities go with it. The master serves the certificate of the one before until everybody has been seen to
// trust the new one, and what is brought no more is trusted until nobody needs it. Other than there, nothing can be
// issued from the one before: nodes get their certificates from the new one as soon as the master lets these in.
func (r *ClusterMasterReconciler) handOver(ctx context.Context, s *masterScope, secret *issuedSecret, current held, v *verdict) error {
	var phase pki.RotationPhase
	switch {
	case v.good && !s.authority.Signed(current.leaf()):
		phase = pki.RotationPreparing
	case s.authority.Outgoing > 0: // also when what the one before signed has expired
		phase = pki.RotationActivating
	default:
		s.rotation = &rotation{}
		return nil
	}
	began := s.authority.Since
	if began.IsZero() || !s.authority.IsIn(current.bundle) {
		began = s.now
	}
	s.rotation = &rotation{phase: phase, incoming: v1alpha1.Fingerprint(s.authority.Certificates[0]),
		forced: forcesRotation(s.master, phase, "")}
	next, err := r.seen(ctx, s, began)
	if err != nil {
		return err
	}
	if s.rotation.forced && s.rotation.held() && next != stay {
		s.forced = s.rotation.waiting()
	}
	switch {
	case next == activate: // and what signed it is no longer in need of a bundle of its own
		began = s.now
		s.rotation.phase = pki.RotationActivating
		if s.authority.Outgoing == 0 {
			s.rotation.phase = pki.RotationIdle
		}
	case next == retire:
		s.rotation.phase = pki.RotationIdle
		s.authority = s.authority.Staying()
		secret.authority = s.authority
	case phase == pki.RotationPreparing:
		*v = verdict{good: true, due: current.leaf().NotAfter}
	}
	if s.rotation.phase == pki.RotationIdle {
		return nil
	}
	s.handingOver = began
	s.agenda.at(s.now.Add(rotationRecheck))
	s.agenda.atFuture(s.rotation.until, s.now)
	if next == activate {
		log.FromContext(ctx).Info("The new authority signs", "forced", s.forced != "")
	}
	return nil
}

// seen counts who has followed, and tells the transition that is to be made. What the cache says is enough to wait;
// a transition is decided on what the API server has.
func (r *ClusterMasterReconciler) seen(ctx context.Context, s *masterScope, began time.Time) (next step, err error) {
	s.rotation.progress, err = r.count(ctx, r.Client, s.master, s.rotation.phase, s.authority)
	s.rotation.settle(s.master, began)
	if err != nil || s.rotation.next(s.now) == stay {
		return stay, err
	}
	m := &v1alpha1.ClusterMaster{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(s.master), m); err != nil {
		return stay, fmt.Errorf("read ClusterMaster %s: %w", s.master.Name, err)
	}
	s.rotation.progress, err = r.count(ctx, r.Live, m, s.rotation.phase, s.authority)
	s.rotation.settle(m, began)
	return s.rotation.next(s.now), err
}
