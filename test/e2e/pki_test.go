package e2e

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
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

// authority signs certificates that the operator would not issue.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	pem         []byte
}

// authorityOf is the master's own authority, taken from the Secret that only an administrator can read.
func authorityOf(ctx context.Context, m *v1alpha1.ClusterMaster) authority {
	GinkgoHelper()
	stored := credentialsIn(secret(ctx, m.Namespace, m.AuthoritySecretName()))
	pair := stored.pair()
	certificate, err := x509.ParseCertificate(pair.Certificate[0])
	Expect(err).NotTo(HaveOccurred())
	return authority{certificate: certificate, key: pair.PrivateKey.(crypto.Signer), pem: stored.certificate}
}

// strangeAuthority is one that no master trusts, with the same name as the trusted one.
func strangeAuthority(like authority) authority {
	GinkgoHelper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber:          serialNumber(),
		Subject:               like.certificate.Subject,
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	Expect(err).NotTo(HaveOccurred())
	certificate, err := x509.ParseCertificate(der)
	Expect(err).NotTo(HaveOccurred())
	return authority{certificate: certificate, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// sign makes a client certificate with exactly these URI SANs.
func (a authority) sign(identities ...*url.URL) credentials {
	GinkgoHelper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: serialNumber(),
		Subject:      pkix.Name{CommonName: "brought"},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(12 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:         identities,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	Expect(err).NotTo(HaveOccurred())
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	Expect(err).NotTo(HaveOccurred())
	return credentials{
		certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

func serialNumber() *big.Int {
	GinkgoHelper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	Expect(err).NotTo(HaveOccurred())
	return n
}

// identity is the URI SAN that names a Refinery of this master.
func identity(m *v1alpha1.ClusterMaster, refinery string) *url.URL {
	return v1alpha1.RefineryIdentity(m.Name, m.Namespace, refinery)
}

// broughtSecret is a Secret as a user brings it. The bundle is the master's: a node that does not trust its
// master would never present its certificate.
func broughtSecret(m *v1alpha1.ClusterMaster, name string, c credentials, bundle []byte) *corev1.Secret {
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
