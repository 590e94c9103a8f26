package subject

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// Credentials are PEM. Keys are ECDSA P-256, as those that the operator issues.
type Credentials struct{ Authority, ServerCertificate, ServerKey, ClientCertificate, ClientKey []byte }

// NewCredentials makes an authority and what it issues: a certificate for servers on 127.0.0.1, and one for all of the load.
func NewCredentials() Credentials {
	authority := pkitest.NewAuthority("benchmark authority")
	valid := pkitest.Valid(authority.Certificate.NotBefore, authority.Certificate.NotAfter) // A benchmark may take hours.
	c := Credentials{Authority: pkitest.Bundle(authority)}
	c.ServerCertificate, c.ServerKey = pkitest.PEM(authority.Issue(valid, pkitest.Server("127.0.0.1")))
	c.ClientCertificate, c.ClientKey = pkitest.PEM(authority.Issue(valid, pkitest.Client("spiffe://alpha.plant.cluster.refinery.dev/refinery/press")))
	return c
}

// serverConfig is nil for Plaintext.
func (s Setting) serverConfig() (*tls.Config, error) {
	return s.config(s.Credentials.ServerCertificate, s.Credentials.ServerKey)
}

// ClientConfig is nil for Plaintext.
func (s Setting) ClientConfig() (*tls.Config, error) {
	return s.config(s.Credentials.ClientCertificate, s.Credentials.ClientKey)
}

// config serves both ends: a client shows its certificate only if the server asks for it.
func (s Setting) config(certificate, key []byte) (*tls.Config, error) {
	if s.Transport == Plaintext {
		return nil, nil //nolint:nilnil // Without TLS there is none.
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(s.Credentials.Authority)
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: authorities, ClientCAs: authorities,
		ServerName: "127.0.0.1", SessionTicketsDisabled: true,
	}
	if s.X25519Only {
		config.CurvePreferences = []tls.CurveID{tls.X25519}
	}
	if s.Transport == MutualTLS {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}
