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

// retain makes an authority keep trusting those before it that are in the trust bundle of served, the Secret of the
// certificate that the master serves, or nil, where a ServedStore holds the state of the rotation: if a provided authority
// signs, or signed before the one that replaces it now, or if the Secret of the one before was deleted. A rotation between
// two authorities that the operator has does not need this: their own Secret holds both. An issuer rotates its authority
// itself, or not.
func retain(authority *pki.Authority, m *v1alpha1.ClusterMaster, served *corev1.Secret, now time.Time) {
	_, provided := m.NamedAuthority()
	if m.Issuer() != nil {
		return
	}
	if served == nil {
		authority.InServed = provided
		return
	}
	bundle, _ := pki.ParseCertificates(v1alpha1.AuthorityKey, served.Data[v1alpha1.AuthorityKey]) // if not, it is about to be written anew
	former, marked := plan.Retained(authority, bundle, m, now), provided || resource.HasProvidedAuthority(served)
	if !marked && len(former) == 0 {
		return // nothing to be parsed for: so it is in nearly every pass
	}
	cert, _ := certificates.Parse(served)
	if !marked && !isLost(authority, former, cert.Leaf()) {
		return
	}
	authority.InServed, authority.Since = true, resource.PhaseBegan(served)
	authority.Rotating = authority.Rotating || !authority.Since.IsZero() || cert.Leaf() == nil || !authority.Signed(cert.Leaf())
	authority.Retain(former...)
}

// isLost reports whether one of those before an authority signed what the master serves, and the authority's own Secret does
// not hold it any more.
func isLost(authority *pki.Authority, former []*x509.Certificate, leaf *x509.Certificate) bool {
	signed := func(a *x509.Certificate) bool { return leaf.CheckSignatureFrom(a) == nil }
	return leaf != nil && !slices.ContainsFunc(authority.Certificates, signed) && slices.ContainsFunc(former, signed)
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
