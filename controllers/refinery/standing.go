package refinery

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

// inspectListed finds out which of the listed certificates are revoked. It is part of every pass, whatever keeps that
// from its other work.
func (r *Reconciler) inspectListed(ctx context.Context, s *scope) error {
	return r.revokeListed(ctx, s, "")
}

// revokeListed is inspectListed where it is known already that the Secret of one name is gone.
func (r *Reconciler) revokeListed(ctx context.Context, s *scope, deleted string) (failed error) {
	s.standing = certificates.Revoke(s.refinery, func(c v1alpha1.ListedCertificate) types.UID {
		if s.refinery.ListedFrom(&c) == deleted {
			return ""
		}
		uid, err := r.uidOf(ctx, s, c)
		failed = cmp.Or(failed, err)
		return uid
	}, s.now)
	if failed != nil { // what is not known revokes nothing
		s.standing = certificates.Standing{Listed: s.refinery.Status.Certificates, Revoked: s.refinery.Status.Revoked}
	}
	return failed
}

// uidOf is the UID of the Secret that has the name of the one that a certificate was listed from, or "". The cache, which has
// the operator's own Secrets, is enough to see that it is there; a Secret that is deleted meanwhile brings another pass.
func (r *Reconciler) uidOf(ctx context.Context, s *scope, c v1alpha1.ListedCertificate) (types.UID, error) {
	name := s.refinery.ListedFrom(&c)
	cached, err := s.secrets.Cached(ctx, s.refinery.Namespace, name)
	if err != nil {
		return "", err
	}
	if cached != nil && (c.SecretUID == "" || c.SecretUID == cached.UID) {
		return cached.UID, nil
	}
	secret, err := s.secrets.Provided(ctx, s.refinery.Namespace, name)
	switch {
	case pki.AsProblem(err) != nil:
		return "", nil
	case err != nil:
		return "", err
	}
	return secret.UID, nil
}

// requireRoomToRevoke ends the pass while a certificate is revoked that status.revoked has no room for.
func (s *scope) requireRoomToRevoke() error {
	if s.standing.Unrecorded == 0 {
		return nil
	}
	return &reconcile.StalledError{Reason: v1alpha1.ReasonTooManyRevoked, Recheck: max(time.Second, s.standing.FirstEnd().Sub(s.now)),
		Message: fmt.Sprintf("status.revoked is full (%d): no other certificate is listed until one of them expires, at %s, or annotation %s names one that may be let in again",
			v1alpha1.MaxRevokedCertificates, s.standing.FirstEnd().UTC().Format(time.RFC3339), v1alpha1.ReadmitAnnotation)}
}

// lists reports whether the status that was read lists a certificate from a Secret of this name.
func (s *scope) lists(name string) bool {
	return slices.ContainsFunc(s.refinery.Status.Certificates, func(c v1alpha1.ListedCertificate) bool { return s.refinery.ListedFrom(&c) == name })
}

// revoked says that a certificate is revoked, if it is. The error is a *pki.Problem.
func (s *scope) revoked(leaf *x509.Certificate) error {
	c := s.standing.Revocation(v1alpha1.Fingerprint(leaf))
	if c == nil {
		return nil
	}
	return &pki.Problem{Reason: v1alpha1.ReasonRevoked, Message: fmt.Sprintf(
		"its certificate is revoked: Secret %s, which held it, was deleted (seen at %s); put in another certificate, or let it in again: kubectl annotate refinery %s -n %s --overwrite %s=%s",
		c.Secret, c.Since.UTC().Format(time.RFC3339), s.refinery.Name, s.refinery.Namespace, v1alpha1.ReadmitAnnotation, c.Fingerprint)}
}
