package pki

import (
	"crypto/x509"
	"slices"
	"time"
)

// RotationPhase is how far the replacement of an authority has come.
type RotationPhase string

const (
	// RotationIdle means: no replacement is under way.
	RotationIdle RotationPhase = ""
	// RotationPreparing means: the next authority is trusted, and signs nothing yet.
	RotationPreparing RotationPhase = "Preparing"
	// RotationActivating means: the new authority signs, and the one before is still trusted.
	RotationActivating RotationPhase = "Activating"
)

// AuthorityFiles are an authority that can be replaced, as the values of a Secret. They alone are the state of
// a rotation: Prepare, Activate and Retire are its transitions, each a single change of these values.
type AuthorityFiles struct {
	// Current signs.
	Current PEMPair
	// Next is empty but for RotationPreparing.
	Next PEMPair
	// Previous are certificates, empty but for RotationActivating. Their key is gone.
	Previous []byte
}

// Phase tells it from what there is.
func (f AuthorityFiles) Phase() RotationPhase {
	switch {
	case len(f.Next.Certificate) > 0:
		return RotationPreparing
	case len(f.Previous) > 0:
		return RotationActivating
	default:
		return RotationIdle
	}
}

// Prepare adds the authority that is to take over.
func (f AuthorityFiles) Prepare(next PEMPair) AuthorityFiles {
	f.Next = next
	return f
}

// Activate makes the next authority the current one, and keeps trusting the one before.
func (f AuthorityFiles) Activate() AuthorityFiles {
	return AuthorityFiles{Current: f.Next, Previous: slices.Concat(f.Current.Certificate, f.Previous)}
}

// Retire stops trusting the authorities before the current one.
func (f AuthorityFiles) Retire() AuthorityFiles {
	return AuthorityFiles{Current: f.Current}
}

// Parse reads the authority that signs; those that are trusted beside it follow it in Certificates. What is
// wrong comes back as a *Problem.
func (f AuthorityFiles) Parse(now time.Time) (*Authority, error) {
	a, err := ParseAuthority(f.Current.Certificate, f.Current.Key, now)
	if err != nil {
		return nil, err
	}
	a.Certificates = a.Certificates[:1:1] // the operator makes no more, and trusts no more
	a.Rotating = f.Phase() != RotationIdle
	if len(f.Next.Certificate) > 0 {
		next, err := ParseCertificates("next.crt", f.Next.Certificate)
		if err != nil {
			return nil, err
		}
		if _, err := ParseKey("next.key", f.Next.Key, next[0]); err != nil {
			return nil, err
		}
		a.Certificates = append(a.Certificates, next...)
	}
	if len(f.Previous) > 0 {
		previous, err := ParseCertificates("previous.crt", f.Previous)
		if err != nil {
			return nil, err
		}
		a.Retain(previous...)
	}
	return a, nil
}

// Retain keeps trusting the certificates of former authorities. They are outgoing.
func (a *Authority) Retain(former ...*x509.Certificate) {
	a.Certificates = append(a.Certificates, former...)
	a.Outgoing += len(former)
}

// Staying returns the authority without its outgoing certificates.
func (a *Authority) Staying() *Authority {
	staying := *a
	staying.Certificates, staying.Outgoing = a.Certificates[:len(a.Certificates)-a.Outgoing], 0
	return &staying
}

// Signed reports whether the signing certificate, the first one of the authority, signed leaf.
func (a *Authority) Signed(leaf *x509.Certificate) bool {
	return leaf.CheckSignatureFrom(a.Certificates[0]) == nil
}

// IsIn reports whether a trust bundle holds every certificate of the authority.
func (a *Authority) IsIn(bundle []byte) bool {
	trusted, err := ParseCertificates("ca.crt", bundle)
	if err != nil {
		return false
	}
	for _, c := range a.Certificates {
		if !slices.ContainsFunc(trusted, c.Equal) {
			return false
		}
	}
	return true
}

// RotateAt is when an authority is to be replaced: at two thirds of its life, or of duration, should that have
// become shorter since.
func (a *Authority) RotateAt(duration time.Duration) time.Time {
	begin := a.Certificates[0].NotBefore.Add(Backdating)
	return begin.Add(min(duration, a.Certificates[0].NotAfter.Sub(begin)) / 3 * 2)
}
