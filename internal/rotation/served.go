package rotation

import (
	"context"
	"crypto/x509"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/rotation/plan"
)

// ServedStore keeps the state of a rotation in which either authority is provided, or the Secret of the one before was
// deleted, in the Secret of the certificate that the master serves: who signed that, which authorities are in its bundle,
// and, in an annotation, since when. The master serves the certificate of the one before until everybody has been seen to
// trust the new one, and what is provided no more, or lost, is trusted until nobody needs it. Other than in an OwnStore,
// nothing can be issued from the one before: nodes get their certificates from the new one as soon as the master lets these
// in.
//
// A step changes the fields; it is done when they are written, with the certificate.
type ServedStore struct {
	// Authority is the new one, and what it retains of those before.
	Authority *pki.Authority
	// Served is in use. Good reports whether it may stay so.
	Served certificates.Certificate
	Good   bool
}

// inServedStore reports whether a ServedStore holds the state of a rotation to authority: if a provided authority signs, or
// signed before the one that replaces it now, or if the Secret of the one before was deleted. served is the Secret.
func inServedStore(authority *pki.Authority, m *v1alpha1.ClusterMaster, served *corev1.Secret, leaf *x509.Certificate, bundle []*x509.Certificate, now time.Time) bool {
	if m.Issuer() != nil {
		return false // which rotates its authority, or not
	}
	_, provided := m.NamedAuthority()
	return provided || resource.HasProvidedAuthority(served) || isLost(authority, m, leaf, bundle, now)
}

// isLost reports whether what the master serves was signed by an authority of the operator of which nothing is left but the
// trust in it.
func isLost(authority *pki.Authority, m *v1alpha1.ClusterMaster, leaf *x509.Certificate, bundle []*x509.Certificate, now time.Time) bool {
	signed := func(a *x509.Certificate) bool { return leaf.CheckSignatureFrom(a) == nil }
	return leaf != nil && !slices.ContainsFunc(authority.Certificates, signed) &&
		slices.ContainsFunc(plan.Retained(authority, bundle, m, now), signed)
}

// retain makes an authority keep trusting those before it that are in the trust bundle of served, the Secret of the
// certificate that the master serves, or nil. A rotation between two authorities that the operator created does not
// need this: their own Secret holds both.
func retain(authority *pki.Authority, m *v1alpha1.ClusterMaster, served *corev1.Secret, now time.Time) {
	if served == nil {
		_, provided := m.NamedAuthority()
		authority.InServed = provided && m.Issuer() == nil
		return
	}
	cert, _ := certificates.Parse(served)
	bundle, err := pki.ParseCertificates(v1alpha1.AuthorityKey, cert.Bundle)
	if !inServedStore(authority, m, served, cert.Leaf(), bundle, now) {
		return
	}
	authority.InServed, authority.Since = true, resource.PhaseBegan(served)
	authority.Rotating = authority.Rotating || !authority.Since.IsZero() || cert.Leaf() == nil || !authority.Signed(cert.Leaf())
	if err != nil {
		return // it is about to be written anew
	}
	authority.Retain(plan.Retained(authority, bundle, m, now)...)
}

//nolint:unparam // a Store may fail
func (s *ServedStore) load(_ context.Context, _ client.Reader, m *v1alpha1.ClusterMaster, now time.Time) (*State, *pki.Authority, error) {
	state := &State{Began: s.Authority.Since, LeafDuration: m.CertificatePeriods().Duration, Incoming: v1alpha1.Fingerprint(s.Authority.Certificates[0])}
	switch {
	case s.Good && !s.Authority.Signed(s.Served.Leaf()):
		state.Phase = pki.RotationPreparing
	case s.Authority.Outgoing > 0: // also when what the one before signed has expired
		state.Phase = pki.RotationActivating
	default:
		return &State{}, nil, nil
	}
	if state.Began.IsZero() || !s.Authority.IsIn(s.Served.Bundle) {
		state.Began = now
	}
	state.Forced = plan.Forces(m, state.Phase, "")
	return state, s.Authority, nil
}

//nolint:unparam // a Store may fail
func (s *ServedStore) take(_ context.Context, step Step, now time.Time) error {
	switch step {
	case Activate: // what the one before signed is replaced
		s.Good, s.Authority.Since = false, now
	case Retire:
		s.Authority = s.Authority.Staying()
	}
	return nil
}
