package pki

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Anchors are the certificate authorities that are trusted.
type Anchors struct {
	certificates []*x509.Certificate
	pool         *x509.CertPool
}

// NewAnchors returns anchors that trust these authorities.
func NewAnchors(certificates []*x509.Certificate) *Anchors {
	a := &Anchors{certificates: certificates, pool: x509.NewCertPool()}
	for _, c := range certificates {
		a.pool.AddCert(c)
	}
	return a
}

// ClientChains verifies the chain that a node presents, leaf first, as that of a TLS client now: what CheckClient does,
// validity, signatures up to an anchor, and usage. It returns every chain from the leaf to an anchor. A failure is a
// *Problem.
func (a *Anchors) ClientChains(chain []*x509.Certificate, now time.Time) ([][]*x509.Certificate, error) {
	if err := CheckClient(chain); err != nil {
		return nil, err
	}
	if err := checkValidity(chain[0], now); err != nil {
		return nil, err
	}
	intermediates, err := Intermediates(chain, a.certificates)
	if err != nil {
		return nil, a.untrusted(chain[0])
	}
	return a.verify(chain[0], intermediates, x509.ExtKeyUsageClientAuth, "client", now)
}

// untrusted reports that no anchor vouches for a certificate.
func (a *Anchors) untrusted(leaf *x509.Certificate) error {
	var names []string
	for _, c := range a.certificates {
		names = append(names, nameOf(c))
	}
	names = slices.Compact(names) // an authority that was renewed has its name twice
	trusted := strings.Join(names[:min(len(names), maxNamed)], ", ")
	if len(names) > maxNamed {
		trusted += fmt.Sprintf(" and %d more", len(names)-maxNamed)
	}
	return problemf(v1alpha1.ReasonWrongAuthority,
		"the certificate %s was issued by %.256q and is not signed by the authority that the master trusts, %s; put in one that is, followed by its intermediates in order if it has any",
		nameOf(leaf), leaf.Issuer.String(), cmp.Or(trusted, "since it trusts none"))
}

// errUntrusted reports that no anchor vouches for a chain.
var errUntrusted = errors.New("none of its certificates is signed by a trusted authority")

// Intermediates returns the certificates of a chain that lead from its leaf to one of the anchors. The chain is in the
// order in which TLS sends it (RFC 8446, section 4.4.2: each certifies the one before it). It is checked from the
// anchor down, so that no signature is ever checked with a key that no anchor vouches for: otherwise an attacker who
// makes up a chain could choose how expensive it is to verify, and how many ways lead through it.
func Intermediates(chain, anchors []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(chain) == 1 {
		return nil, nil // whoever verifies it has the anchors alone to try
	}
	for top, c := range chain {
		if top > 0 && !issued(c, chain[top-1]) {
			break
		}
		if !vouched(c, anchors) {
			continue
		}
		for i := top - 1; i >= 0; i-- {
			if err := chain[i].CheckSignatureFrom(chain[i+1]); err != nil {
				return nil, fmt.Errorf("certificate %d of its chain: %w", i+1, err)
			}
		}
		return chain[1 : top+1], nil
	}
	return nil, errUntrusted
}

// issued reports whether the issuer name of c is the subject name of issuer. It compares names and checks no signature.
func issued(issuer, c *x509.Certificate) bool { return bytes.Equal(issuer.RawSubject, c.RawIssuer) }

func vouched(c *x509.Certificate, anchors []*x509.Certificate) bool {
	for _, anchor := range anchors {
		if issued(anchor, c) && c.CheckSignatureFrom(anchor) == nil {
			return true
		}
	}
	return false
}
