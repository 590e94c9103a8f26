package subject

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"time"
)

// Credentials are PEM. Keys are ECDSA P-256, as those that the operator issues.
type Credentials struct{ Authority, ServerCertificate, ServerKey, ClientCertificate, ClientKey []byte }

// NewCredentials makes an authority and what it issues: a certificate for servers on 127.0.0.1, and one for all of the load.
func NewCredentials() (Credentials, error) {
	var c Credentials
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "benchmark authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	if c.Authority, err = issue(authority, authority, authorityKey, authorityKey); err != nil {
		return c, err
	}
	for _, leaf := range []struct {
		template         *x509.Certificate
		certificate, key *[]byte
	}{
		{&x509.Certificate{
			SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, &c.ServerCertificate, &c.ServerKey},
		{&x509.Certificate{
			SerialNumber: big.NewInt(3), URIs: []*url.URL{{Scheme: "spiffe", Host: "alpha.plant.cluster.refinery.dev", Path: "/refinery/press"}},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, &c.ClientCertificate, &c.ClientKey},
	} {
		leaf.template.NotBefore, leaf.template.NotAfter = authority.NotBefore, authority.NotAfter
		leaf.template.KeyUsage = x509.KeyUsageDigitalSignature
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return c, err
		}
		if *leaf.certificate, err = issue(leaf.template, authority, key, authorityKey); err != nil {
			return c, err
		}
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return c, err
		}
		*leaf.key = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	}
	return c, nil
}

func issue(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func (s Setting) curves() []tls.CurveID {
	if s.X25519Only {
		return []tls.CurveID{tls.X25519}
	}
	return nil
}

// serverConfig is nil for Plaintext.
func (s Setting) serverConfig() (*tls.Config, error) {
	if s.Transport == Plaintext {
		return nil, nil //nolint:nilnil // Without TLS there is none.
	}
	pair, err := tls.X509KeyPair(s.Credentials.ServerCertificate, s.Credentials.ServerKey)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, CurvePreferences: s.curves(),
		SessionTicketsDisabled: true,
	}
	if s.Transport == MutualTLS {
		config.ClientAuth = tls.RequireAndVerifyClientCert
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AppendCertsFromPEM(s.Credentials.Authority)
	}
	return config, nil
}

// ClientConfig is nil for Plaintext.
func (s Setting) ClientConfig() (*tls.Config, error) {
	if s.Transport == Plaintext {
		return nil, nil //nolint:nilnil // Without TLS there is none.
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.Credentials.Authority)
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "127.0.0.1", CurvePreferences: s.curves()}
	if s.Transport == MutualTLS {
		pair, err := tls.X509KeyPair(s.Credentials.ClientCertificate, s.Credentials.ClientKey)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
