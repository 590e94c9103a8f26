package admit

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"

	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// Trust is what a master checks nodes against: its trust bundle and its shared certificate. It is never changed.
// A nil *Trust, and a new one, trust nobody.
type Trust struct {
	anchors     *pki.Anchors                   // nil without a trust bundle
	authorities map[[sha256.Size]byte]struct{} // of the SHA-256 of each anchor
	shared      [sha256.Size]byte              // of the shared certificate
	hasShared   bool
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

// WithShared returns the same with another shared certificate; white space around it does not count.
func (t *Trust) WithShared(certificate []byte) *Trust {
	with := t.copy()
	with.shared, with.hasShared = sha256.Sum256(bytes.TrimSpace(certificate)), true
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
func (t *Trust) HasShared() bool { return t != nil && t.hasShared }

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
