package pki

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"errors"
	"strings"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pemtext"
)

// ParseCertificates reads the CERTIFICATE blocks of a Secret's value: at least one, the leaf first.
// field names the value in what is said about it. What is wrong comes back as a *Problem.
func ParseCertificates(field string, value []byte) ([]*x509.Certificate, error) {
	if err := checkSize(field, value); err != nil {
		return nil, err
	}
	chain, err := pemtext.Certificates(field, value)
	switch {
	case errors.Is(err, pemtext.ErrNoCertificate):
		return nil, problemf(v1alpha1.ReasonNotPEM, "%v; it has to be PEM text with a block that begins -----BEGIN CERTIFICATE-----", err)
	case err != nil:
		return nil, problemf(v1alpha1.ReasonNotPEM, "%v; put it in again", err)
	}
	return chain, nil
}

// ParseKey reads the private key of a Secret's value (PKCS #8, PKCS #1 or SEC 1) and checks that it
// is the leaf's. What is wrong comes back as a *Problem, which tells nothing of the key.
func ParseKey(field string, value []byte, leaf *x509.Certificate) (crypto.Signer, error) {
	if err := checkSize(field, value); err != nil {
		return nil, err
	}
	der, found := privateKeyBlock(value)
	if !found {
		return nil, problemf(v1alpha1.ReasonNotPEM, "%s holds no private key; it has to be PEM text with a block that begins -----BEGIN PRIVATE KEY-----", field)
	}
	key := parsePrivateKey(der)
	if key == nil {
		return nil, problemf(v1alpha1.ReasonNotPEM,
			"%s: the private key does not parse; it has to be PKCS #8, PKCS #1 or SEC 1, and not encrypted", field)
	}
	public, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return nil, problemf(v1alpha1.ReasonKeyMismatch,
			"%s is not the key of the first certificate in tls.crt (%s); put in the key that belongs to it", field, nameOf(leaf))
	}
	return key, nil
}

// privateKeyBlock returns what the first PEM block with a private key holds.
func privateKeyBlock(value []byte) (der []byte, found bool) {
	for block := range pemtext.Blocks(value) {
		if strings.HasSuffix(block.Type, pemPrivateKey) {
			return block.Bytes, true
		}
	}
	return nil, false
}

// parsePrivateKey returns nil if no parser accepts the key. The parsers' errors are dropped: they do not help a user.
func parsePrivateKey(der []byte) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := key.(crypto.Signer)
		return signer
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	return nil
}

// remedies say what to put into the keys of a Secret.
var remedies = map[string]string{
	"tls.crt": "put in the certificate and its intermediates as PEM text",
	"tls.key": "put in the private key of the certificate as PEM text",
}

// checkSize refuses a value that is missing, empty or too large.
func checkSize(field string, value []byte) error {
	remedy := cmp.Or(remedies[field], "put in the certificates of authorities as PEM text")
	if len(value) == 0 {
		return problemf(v1alpha1.ReasonSecretKeyMissing, "key %s is missing or empty; %s", field, remedy)
	}
	if len(value) > MaxPEMBytes {
		return problemf(v1alpha1.ReasonTooLarge, "%s has %d bytes, more than the %d that are read; %s, and nothing else", field, len(value), MaxPEMBytes, remedy)
	}
	return nil
}
