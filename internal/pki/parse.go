package pki

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"errors"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pemtext"
)

// ParseCertificates reads the certificates of a Secret's value: at least one, the leaf first. field names the value in what
// is said about it. What is wrong comes back as a *Problem.
func ParseCertificates(field string, value []byte) ([]*x509.Certificate, error) {
	chain, err := pemtext.Certificates(field, value)
	if err != nil {
		return nil, unreadable(field, err)
	}
	return chain, nil
}

// ParseKey reads the private key of a Secret's value and checks that it is the leaf's. What is wrong comes back as a
// *Problem, which tells nothing of the key.
func ParseKey(field string, value []byte, leaf *x509.Certificate) (crypto.Signer, error) {
	key, err := pemtext.PrivateKey(field, value)
	if err != nil {
		return nil, unreadable(field, err)
	}
	if !pemtext.Belongs(key, leaf) {
		return nil, problemf(v1alpha1.ReasonKeyMismatch,
			"%s is not the key of the first certificate in tls.crt (%s); put in the key that belongs to it", field, nameOf(leaf))
	}
	return key, nil
}

// remedies say what to put into the keys of a Secret.
var remedies = map[string]string{
	"tls.crt": "put in the certificate and its intermediates as PEM text",
	"tls.key": "put in the private key of the certificate as PEM text",
}

// unreadable makes a *Problem of what the reader of PEM says.
func unreadable(field string, err error) error {
	switch {
	case errors.Is(err, pemtext.ErrEmpty):
		return problemf(v1alpha1.ReasonSecretKeyMissing, "key %s is missing or empty; %s", field,
			cmp.Or(remedies[field], "put in the certificates of authorities as PEM text"))
	case errors.Is(err, pemtext.ErrTooLarge):
		return problemf(v1alpha1.ReasonTooLarge, "%v", err)
	default:
		return problemf(v1alpha1.ReasonNotPEM, "%v", err)
	}
}
