package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// credentials are a certificate with its key, as a Secret of type kubernetes.io/tls holds them.
type credentials struct{ certificate, key []byte }

// pair is the TLS form.
func (c credentials) pair() tls.Certificate {
	GinkgoHelper()
	pair, err := tls.X509KeyPair(c.certificate, c.key)
	Expect(err).NotTo(HaveOccurred())
	return pair
}

// fingerprint is the SHA-256 of the leaf's DER form, in hexadecimal.
func (c credentials) fingerprint() string {
	GinkgoHelper()
	sum := sha256.Sum256(c.pair().Certificate[0])
	return hex.EncodeToString(sum[:])
}

// credentialsIn are those of a Secret.
func credentialsIn(s *corev1.Secret) credentials {
	return credentials{certificate: s.Data[corev1.TLSCertKey], key: s.Data[corev1.TLSPrivateKeyKey]}
}

// authority signs certificates that the operator would not issue. pem is all that its Secret holds as tls.crt.
type authority struct {
	*pkitest.Authority
	pem []byte
}

// authorityOf is the master's own authority, taken from the Secret that only an administrator can read.
func authorityOf(ctx context.Context, m *v1alpha1.ClusterMaster) authority {
	GinkgoHelper()
	stored := credentialsIn(secret(ctx, m.Namespace, m.AuthoritySecretName()))
	return authority{pkitest.AuthorityOf(stored.pair()), stored.certificate}
}

// strangeAuthority is one that no master trusts, with the same name as the trusted one.
func strangeAuthority(like authority) authority {
	strange := pkitest.NewAuthority("", func(c *x509.Certificate) { c.Subject = like.Certificate.Subject })
	return authority{strange, pkitest.Bundle(strange)}
}

// sign makes a client certificate with exactly these URI SANs, which outlives the suite.
func (a authority) sign(identities ...*url.URL) credentials {
	lasting := pkitest.Valid(time.Now().Add(-time.Minute), time.Now().Add(12*time.Hour))
	certificate, key := pkitest.PEM(a.Issue(pkitest.Named("provided"), pkitest.Client(), lasting, func(c *x509.Certificate) { c.URIs = identities }))
	return credentials{certificate, key}
}

// identity is the URI SAN that names a Refinery of this master.
func identity(m *v1alpha1.ClusterMaster, refinery string) *url.URL {
	return v1alpha1.RefineryIdentity(m.Name, m.Namespace, refinery)
}

// providedSecret is a Secret as a user provides it. The bundle is the master's: a node that does not trust its
// master would never present its certificate.
func providedSecret(m *v1alpha1.ClusterMaster, name string, c credentials, bundle []byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: name},
		Type:       corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       c.certificate,
			corev1.TLSPrivateKeyKey: c.key,
			v1alpha1.AuthorityKey:   bundle,
		},
	}
}
