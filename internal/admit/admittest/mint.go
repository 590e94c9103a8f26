package admittest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// Mint makes certificates of all kinds for the Refinery press of plant/alpha.
type Mint struct {
	// Trusted signs what is right. Stranger has the same name and key id, and another key.
	Trusted, Stranger *pkitest.Authority
	// Identity is the URI that names the Refinery.
	Identity string
	// Key is that of leaves.
	Key *ecdsa.PrivateKey
}

// NewMint makes one with new keys.
func NewMint() *Mint {
	return &Mint{
		Trusted: pkitest.NewAuthority("plant/alpha", sameKeyID), Stranger: pkitest.NewAuthority("plant/alpha", sameKeyID),
		Identity: v1alpha1.RefineryIdentity("alpha", "plant", "press").String(), Key: pkitest.NewKey(),
	}
}

func sameKeyID(c *x509.Certificate) { c.SubjectKeyId = []byte("the same for all") }

// intermediate makes an authority below another.
func intermediate(above *pkitest.Authority, name string, key crypto.Signer, edits ...pkitest.Edit) *pkitest.Authority {
	return above.IntermediateWithKey(name, key, append([]pkitest.Edit{sameKeyID}, edits...)...)
}

// Leaf is the exactly right certificate, then edited.
func (m *Mint) Leaf(by *pkitest.Authority, edits ...pkitest.Edit) tls.Certificate {
	return m.leafFor(by, m.Key, edits...)
}

func (m *Mint) leafFor(by *pkitest.Authority, key crypto.Signer, edits ...pkitest.Edit) tls.Certificate {
	right := []pkitest.Edit{pkitest.Client(), pkitest.Named("press"), pkitest.SANs(pkitest.URISAN(m.Identity))}
	return by.IssueWithKey(key, append(right, edits...)...)
}

// named has these SANs in place of the right one.
func named(all ...asn1.RawValue) pkitest.Edit {
	return func(c *x509.Certificate) { c.ExtraExtensions[0] = pkitest.SANExtension(all...) }
}

// also has these SANs beside the right one.
func (m *Mint) also(all ...asn1.RawValue) pkitest.Edit {
	return named(append([]asn1.RawValue{pkitest.URISAN(m.Identity)}, all...)...)
}
