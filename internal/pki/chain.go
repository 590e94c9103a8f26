package pki

import (
	"cmp"
	"crypto/x509"
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

// NewAnchors trusts these.
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
