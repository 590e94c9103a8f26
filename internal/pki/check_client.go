package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Bounds of the chain that a node presents, leaf first. A master looks at no more of it.
const (
	// MaxChainCertificates is the number of its certificates.
	MaxChainCertificates = 5
	// MaxChainBytes is the size of all of them together, in DER form. Leaf, issuing and policy authority have 6 KiB with keys
	// of RSA-4096. Seven fit into what a master reads of them in TLS (TLSFlightBytes), with the proof of such a key.
	MaxChainBytes = 7 << 10
	// MaxCertificateBytes is the size of each. What a certificate costs to verify grows faster than what is in it.
	MaxCertificateBytes = 5 << 10
)

const (
	// minRSABits is what NIST SP 800-57, part 1, asks for until 2030.
	minRSABits = 2048
	// maxRSAExponent is the exponent of nearly every key. With an exponent that is four times as long, a signature is
	// four times as expensive to verify.
	maxRSAExponent = 65537
)

// CheckClient checks what costs nothing to check of the chain that a node presents, before anything in it is trusted:
// its bounds, the strength of its keys, and that the leaf is no certificate authority. A failure is a *Problem.
func CheckClient(chain []*x509.Certificate) error {
	if len(chain) > MaxChainCertificates {
		return problemf(v1alpha1.ReasonTooLarge, "the chain has %d certificates, more than the %d that a master accepts; "+
			"leave out those that do not lead from the first one to the authority", len(chain), MaxChainCertificates)
	}
	size := 0
	for _, c := range chain {
		size += len(c.Raw)
	}
	if size > MaxChainBytes {
		return problemf(v1alpha1.ReasonTooLarge, "the chain has %d bytes in DER form, more than the %d that a master accepts; "+
			"use certificates with fewer names and smaller keys, ECDSA P-256 for example", size, MaxChainBytes)
	}
	for _, c := range chain {
		if len(c.Raw) > MaxCertificateBytes {
			return problemf(v1alpha1.ReasonTooLarge, "the certificate %s has %d bytes in DER form, more than the %d that a master accepts; "+
				"use one with fewer names", nameOf(c), len(c.Raw), MaxCertificateBytes)
		}
		if what := refusedKey(c.PublicKey); what != "" {
			return problemf(v1alpha1.ReasonUnsupportedKey, "the certificate %s has %s; "+
				"use ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits or more", nameOf(c), what)
		}
	}
	if leaf := chain[0]; leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return problemf(v1alpha1.ReasonWrongUsage,
			"the certificate %s is that of a certificate authority, and a node's must not be; put in one that is issued to the node", nameOf(leaf))
	}
	return nil
}

// refusedKey says what is wrong with a key, or nothing.
func refusedKey(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits {
			return fmt.Sprintf("an RSA key of %d bits, which is too weak", bits)
		}
		if key.E > maxRSAExponent {
			return fmt.Sprintf("an RSA key with the public exponent %d, which makes it costly to verify", key.E)
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			return fmt.Sprintf("a key on the curve %s, which TLS 1.3 does not support", key.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return "a key of a kind that TLS 1.3 does not support"
	}
	return ""
}

// CheckExponent refuses a certificate, in DER form, whose RSA key is made to be expensive to verify. It parses nothing
// but the key. TLS verifies a signature with the client's key before any other check of the certificate, so this check
// has to come first.
func CheckExponent(der []byte) error {
	var certificate struct {
		Signed struct {
			Version                                   int `asn1:"optional,explicit,default:0,tag:0"`
			Serial, Algorithm, Issuer, Valid, Subject asn1.RawValue
			Key                                       asn1.RawValue
		}
	}
	if _, err := asn1.Unmarshal(der, &certificate); err != nil {
		return fmt.Errorf("find the key of a certificate: %w", err)
	}
	key, err := x509.ParsePKIXPublicKey(certificate.Signed.Key.FullBytes)
	if err != nil {
		return fmt.Errorf("parse the key of a certificate: %w", err)
	}
	if key, ok := key.(*rsa.PublicKey); ok && key.E > maxRSAExponent {
		return errors.New(refusedKey(key))
	}
	return nil
}
