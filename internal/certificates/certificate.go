// Package certificates says what the Secret of a certificate is worth, and gets one: issued by the operator (Issued),
// by cert-manager (Sources.Obtain), or provided by a person, which nobody writes to (Secrets.Provided).
package certificates

import (
	"crypto/x509"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// Certificate is a certificate with its key and its trust bundle, as a Secret holds them.
type Certificate struct {
	// Chain is there, leaf first, as soon as it parses, also when the key is missing or does not fit.
	Chain []*x509.Certificate
	Pair  pki.PEMPair
	// Bundle is the trust bundle beside it, PEM.
	Bundle []byte
	// UID of the Secret; empty for one that is yet to be made.
	UID types.UID
	// FromCertManager reports whether cert-manager has filled the Secret, now or before.
	FromCertManager bool
}

// Parse reads certificate and key of a Secret. What is wrong is a *pki.Problem.
func Parse(secret *corev1.Secret) (Certificate, error) {
	c := Certificate{UID: secret.UID, Bundle: secret.Data[v1alpha1.AuthorityKey],
		Pair: pki.PEMPair{Certificate: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]}}
	_, c.FromCertManager = secret.Annotations[issuerNameAnnotation]
	var err error
	if c.Chain, err = pki.ParseCertificates(corev1.TLSCertKey, c.Pair.Certificate); err != nil {
		return c, err
	}
	_, err = pki.ParseKey(corev1.TLSPrivateKeyKey, c.Pair.Key, c.Chain[0])
	return c, err
}

// Leaf is the certificate itself; nil if it does not parse.
func (c Certificate) Leaf() *x509.Certificate {
	if len(c.Chain) == 0 {
		return nil
	}
	return c.Chain[0]
}

// ReplacedBy makes desired replace the Secret that c was read from. One that cert-manager filled names no issuer
// any more: were it named again, cert-manager would take the operator's certificate for its own.
func (c Certificate) ReplacedBy(desired *corev1ac.SecretApplyConfiguration) *corev1ac.SecretApplyConfiguration {
	if c.FromCertManager {
		desired.WithAnnotations(map[string]string{issuerNameAnnotation: ""})
	}
	return Over(desired, c.UID)
}
