package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// newKey makes a key of a kind: by default ECDSA P-256. What it makes, CheckClient accepts.
func newKey(kind v1alpha1.PrivateKeySpec) (key crypto.Signer, err error) {
	switch kind = kind.WithDefaults(); {
	case kind.Algorithm == v1alpha1.KeyECDSA && kind.Size == 256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case kind.Algorithm == v1alpha1.KeyECDSA && kind.Size == 384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case kind.Algorithm == v1alpha1.KeyRSA && kind.Size >= minRSABits:
		key, err = rsa.GenerateKey(rand.Reader, int(kind.Size))
	case kind.Algorithm == v1alpha1.KeyEd25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("%s of %d bits is not supported", kind.Algorithm, kind.Size)
	}
	if err != nil {
		return nil, fmt.Errorf("generate a key: %w", err)
	}
	return key, nil
}
