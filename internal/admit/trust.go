package admit

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// Trust is what a master checks nodes against: its trust bundle and its shared certificates. It is never changed.
// A nil *Trust, and a new one, trust nobody.
type Trust struct {
	anchors     *pki.Anchors                   // nil without a trust bundle
	authorities map[[sha256.Size]byte]struct{} // of the SHA-256 of each anchor
	shared      []sharedCertificate            // several while one takes the place of another
}

// WithAnchors returns the same with another trust bundle.
func (t *Trust) WithAnchors(anchors []*x509.Certificate) *Trust {
	with := t.copy()
	with.anchors, with.authorities = pki.NewAnchors(anchors), map[[sha256.Size]byte]struct{}{}
	for _, anchor := range anchors {
		with.authorities[sha256.Sum256(anchor.Raw)] = struct{}{}
	}
	return with
}

// sharedCertificate is one that is accepted.
type sharedCertificate struct {
	sum   [sha256.Size]byte
	until time.Time // zero for always
}

// WithShared returns the same with other shared certificates; white space around one does not count.
func (t *Trust) WithShared(certificates ...[]byte) *Trust {
	with := t.copy()
	with.shared = nil
	for _, c := range certificates {
		with = with.AndShared(c, time.Time{})
	}
	return with
}

// AndShared returns the same with one more shared certificate, until it ends; with no time it does not.
func (t *Trust) AndShared(certificate []byte, until time.Time) *Trust {
	with := t.copy()
	with.shared = append(slices.Clip(with.shared), sharedCertificate{sha256.Sum256(bytes.TrimSpace(certificate)), until})
	return with
}

func (t *Trust) copy() *Trust {
	if t == nil {
		return &Trust{}
	}
	c := *t
	return &c
}

// HasShared reports whether there is a shared certificate.
func (t *Trust) HasShared() bool { return t != nil && len(t.shared) > 0 }

// accepts reports whether one of the shared certificates has this SHA-256, and until when that holds; zero for always. How long it
// takes depends on how many there are alone.
func (t *Trust) accepts(sum [sha256.Size]byte, now time.Time) (accepted bool, until time.Time) {
	if t == nil {
		return false, time.Time{}
	}
	for _, shared := range t.shared {
		equal := subtle.ConstantTimeCompare(sum[:], shared.sum[:]) == 1
		over := !shared.until.IsZero() && now.After(shared.until)
		if equal && !over && (!accepted || shared.until.IsZero()) {
			accepted, until = true, shared.until
		}
	}
	return accepted, until
}

// Authorities are the fingerprints of the trust bundle's, sorted.
func (t *Trust) Authorities() []string {
	if t == nil {
		return nil
	}
	fingerprints := make([]string, 0, len(t.authorities))
	for authority := range t.authorities {
		fingerprints = append(fingerprints, hex.EncodeToString(authority[:]))
	}
	slices.Sort(fingerprints)
	return fingerprints
}

// vouches reports whether the trust bundle holds the authority of this SHA-256.
func (t *Trust) vouches(authority [sha256.Size]byte) bool {
	if t == nil {
		return false
	}
	_, ok := t.authorities[authority]
	return ok
}
