package admit

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// Announced is what a node announced in conn:establish, and what TLS proved of it.
type Announced struct {
	ID, Version, Type string
	// TLS carries the connection.
	TLS   bool
	Proof Proof
}

// Proof is what TLS proved of a peer: the results of check 1, its chain, and check 2, the Refinery that it names. Both are made
// once for a connection. The zero Proof proves nothing.
type Proof struct {
	// Leaf is the peer's certificate, whose key it holds; nil on plaintext.
	Leaf *x509.Certificate
	// Fingerprint of Leaf; "" without one.
	Fingerprint string
	// Vouched is the chain of Leaf, if check 1 passed.
	Vouched
	// Refinery is the one that Leaf names, if checks 1 and 2 passed.
	Refinery string

	chain, identity *Denial // why check 1 and check 2 failed; nil if they passed
}

// Vouched is the chain from a certificate to the trust bundle, as far as a session rests on it.
type Vouched struct {
	// Authority is the SHA-256 of the trust bundle's certificate at the end of the chain.
	Authority [sha256.Size]byte
	// NotAfter is when the first certificate of the chain expires: leaf, intermediate or authority.
	NotAfter time.Time
	// Above reports whether that is one above the leaf.
	Above bool
}

// vouchedBy reads a chain, leaf first.
func vouchedBy(chain []*x509.Certificate) Vouched {
	v := Vouched{Authority: sha256.Sum256(chain[len(chain)-1].Raw), NotAfter: chain[0].NotAfter}
	for _, c := range chain[1:] {
		if c.NotAfter.Before(v.NotAfter) {
			v.NotAfter, v.Above = c.NotAfter, true
		}
	}
	return v
}

// expired is why a session ends whose chain has expired.
func (v Vouched) expired() *Denial {
	end := v.NotAfter.UTC().Format(time.RFC3339)
	message := fmt.Sprintf("the node's certificate expired on %s; put in a new one", end)
	if v.Above {
		message = fmt.Sprintf("a certificate above the node's expired on %s; put in a chain that is valid now", end)
	}
	return &Denial{Reason: v1alpha1.ReasonExpired, Message: message}
}

// Prove makes the checks that need nothing but TLS: 1, the chain, and 2, the identity. peer are the TLS peer's certificates,
// leaf first.
func (a *Authenticator) Prove(peer []*x509.Certificate) Proof {
	if len(peer) == 0 {
		return Proof{}
	}
	p := Proof{Leaf: peer[0], Fingerprint: v1alpha1.Fingerprint(peer[0])}
	if p.Vouched, p.chain = a.verifyChain(a.Trust(), peer); p.chain == nil {
		p.Refinery, p.identity = a.identify(p.Leaf)
	}
	return p
}

// chainDenial says why check 1 failed, or nil.
func (p *Proof) chainDenial() *Denial {
	if p.Leaf == nil {
		return &Denial{Reason: v1alpha1.ReasonDenied, Message: "presents no certificate over TLS"}
	}
	return p.chain.clone()
}

// verifyChain is check 1.
func (a *Authenticator) verifyChain(trust *Trust, peer []*x509.Certificate) (Vouched, *Denial) {
	if trust == nil || trust.anchors == nil {
		return Vouched{}, &Denial{Reason: v1alpha1.ReasonWrongAuthority, Message: "the master has no trust bundle loaded, so nobody is let in"}
	}
	return longest(trust.anchors.ClientChains(peer, a.Clock.Now()))
}

// longest returns the chain that lasts longest of those that vouch for a leaf. Without one, for whatever reason, it is a denial.
func longest(chains [][]*x509.Certificate, err error) (Vouched, *Denial) {
	if p := pki.AsProblem(err); p != nil {
		return Vouched{}, &Denial{Reason: p.Reason, Message: p.Message}
	}
	if err != nil || len(chains) == 0 {
		err = cmp.Or(err, errors.New("no chain leads to the trust bundle"))
		return Vouched{}, &Denial{Reason: v1alpha1.ReasonDenied, Message: "its certificate cannot be verified: " + Truncate(err.Error(), 256)}
	}
	var best Vouched
	for _, chain := range chains {
		if v := vouchedBy(chain); v.NotAfter.After(best.NotAfter) {
			best = v
		}
	}
	return best, nil
}

// identify is check 2: exactly one URI SAN, exactly that of a Refinery of this master.
func (a *Authenticator) identify(leaf *x509.Certificate) (refinery string, denial *Denial) {
	policy := a.Directory.Policy()
	if policy == nil {
		return "", masterGone()
	}
	prefix := v1alpha1.RefineryIdentity(policy.Name, policy.Namespace, "").String()
	names := pki.Names(leaf)
	if len(names) != 1 {
		return "", &Denial{Reason: v1alpha1.ReasonWrongIdentity,
			Message: fmt.Sprintf("its certificate has %d URI SANs; it must have exactly one, %s<name>", len(names), prefix)}
	}
	identity := names[0]
	name, ok := strings.CutPrefix(identity, prefix)
	r := a.Directory.Refinery(name)
	if !ok || r == nil || r.Identity().String() != identity {
		return "", &Denial{Reason: v1alpha1.ReasonWrongIdentity,
			Message: fmt.Sprintf("its certificate is for %q, which is not a Refinery of this master; it must be for %s<name>", Truncate(identity, 256), prefix)}
	}
	return name, nil
}

// Attribute returns the Refinery in whose status a denial may show: the one whose certificate the TLS peer holds the key of,
// whatever the node claims, or "". That certificate chains to the trust bundle with exactly that Refinery's identity, or the
// Refinery lists it by fingerprint.
func (a *Authenticator) Attribute(n Announced) string {
	if n.Proof.Leaf == nil {
		return ""
	}
	if n.Proof.Refinery != "" {
		return n.Proof.Refinery
	}
	listing := a.Directory.Listing(n.Proof.Fingerprint)
	claimed := NamedIn(n.ID)
	switch {
	case slices.Contains(listing, claimed): // several may list it; the claim only chooses among them
		return claimed
	case len(listing) == 1:
		return listing[0]
	}
	return ""
}

// sameCertificate reports whether presented is one PEM block with exactly the leaf's bytes, and nothing else.
// What was presented is compared and never parsed.
func sameCertificate(presented string, leaf *x509.Certificate) bool {
	text := strings.TrimSpace(presented)
	block, rest := pem.Decode([]byte(text))
	return block != nil && strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----") && block.Type == "CERTIFICATE" && len(block.Headers) == 0 &&
		len(bytes.TrimSpace(rest)) == 0 && bytes.Equal(block.Bytes, leaf.Raw)
}
