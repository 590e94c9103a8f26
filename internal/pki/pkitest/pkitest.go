// Package pkitest makes the certificates of tests: authorities, chains of any length below them, and what they issue,
// right or wrong in whatever way a test needs. It imports the standard library alone, so that every package can use it.
//
//	root := pkitest.NewAuthority("plant")
//	server := root.Issue(pkitest.Server("localhost", "127.0.0.1"))
//	node := root.Intermediate("line 1").Issue(pkitest.Client("spiffe://plant/press"), pkitest.Valid(yesterday, today))
//
// Every function panics where it cannot make what is asked for. That is a mistake in the test, not a result of it.
package pkitest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Unless an Edit says otherwise, certificates are valid from an hour ago. An authority outlives what it issues.
const (
	backdated         = time.Hour
	leafLifetime      = time.Hour
	authorityLifetime = 24 * time.Hour
)

// Edit changes a certificate before it is signed.
type Edit func(*x509.Certificate)

// Authority signs certificates.
type Authority struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	// Chain is what a peer sends above the certificates that this authority issued, in DER form, the nearest first:
	// nothing for a root, and for an intermediate its own certificate and those above it, without the root.
	Chain [][]byte
}

// NewAuthority makes a root with a new P-256 key. name is its common name.
func NewAuthority(name string, edits ...Edit) *Authority {
	return NewAuthorityWithKey(name, NewKey(), edits...)
}

// NewAuthorityWithKey makes a root with a key of the caller's.
func NewAuthorityWithKey(name string, key crypto.Signer, edits ...Edit) *Authority {
	template := edited(authorityTemplate(name), edits)
	return &Authority{Certificate: parse(sign(template, template, key.Public(), key)), Key: key}
}

// AuthorityOf lets a certificate sign others, whether or not it is an authority's. Its chain goes with what it signs,
// unless it signed itself.
func AuthorityOf(c tls.Certificate) *Authority {
	a := &Authority{Certificate: parse(c.Certificate[0]), Key: c.PrivateKey.(crypto.Signer)}
	if !bytes.Equal(a.Certificate.RawIssuer, a.Certificate.RawSubject) {
		a.Chain = c.Certificate
	}
	return a
}

// Intermediate makes an authority below this one, with a new P-256 key.
func (a *Authority) Intermediate(name string, edits ...Edit) *Authority {
	return a.IntermediateWithKey(name, NewKey(), edits...)
}

// IntermediateWithKey makes an authority below this one, with a key of the caller's.
func (a *Authority) IntermediateWithKey(name string, key crypto.Signer, edits ...Edit) *Authority {
	der := sign(edited(authorityTemplate(name), edits), a.Certificate, key.Public(), a.Key)
	return &Authority{Certificate: parse(der), Key: key, Chain: append([][]byte{der}, a.Chain...)}
}

// Issue makes a certificate, with a new P-256 key, and the chain to its root. Its use and its names come from the edits:
// see Client and Server. Leaf is nil where crypto/x509 refuses to parse what the edits made.
func (a *Authority) Issue(edits ...Edit) tls.Certificate {
	return a.IssueWithKey(NewKey(), edits...)
}

// IssueWithKey is Issue with a key of the caller's.
func (a *Authority) IssueWithKey(key crypto.Signer, edits ...Edit) tls.Certificate {
	der := a.Sign(key.Public(), edits...)
	leaf, _ := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: append([][]byte{der}, a.Chain...), PrivateKey: key, Leaf: leaf}
}

// Sign makes a certificate for a public key whose private one it need not see, in DER form.
func (a *Authority) Sign(public crypto.PublicKey, edits ...Edit) []byte {
	return sign(edited(leafTemplate(), edits), a.Certificate, public, a.Key)
}

// Client adds TLS client authentication to the uses of a certificate, and these URIs to its names.
func Client(uris ...string) Edit {
	return func(c *x509.Certificate) {
		c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
		for _, text := range uris {
			c.URIs = append(c.URIs, must(url.Parse(text)))
		}
	}
}

// Server adds TLS server authentication to the uses of a certificate, and these host names and IP addresses to its names.
func Server(hosts ...string) Edit {
	return func(c *x509.Certificate) {
		c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		for _, host := range hosts {
			if address := net.ParseIP(host); address != nil {
				c.IPAddresses = append(c.IPAddresses, address)
			} else {
				c.DNSNames = append(c.DNSNames, host)
			}
		}
	}
}

// Named sets the common name of a certificate.
func Named(name string) Edit {
	return func(c *x509.Certificate) { c.Subject.CommonName = name }
}

// Valid sets when a certificate is valid.
func Valid(from, to time.Time) Edit {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to }
}

// Bundle is the certificates of authorities as PEM text, as ca.crt holds them.
func Bundle(authorities ...*Authority) []byte {
	var all []byte
	for _, a := range authorities {
		all = append(all, encode("CERTIFICATE", a.Certificate.Raw)...)
	}
	return all
}

// Pool holds authorities for a tls.Config or x509.VerifyOptions.
func Pool(authorities ...*Authority) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, a := range authorities {
		pool.AddCert(a.Certificate)
	}
	return pool
}

// PEM is a certificate with its chain, and its key in PKCS #8, as tls.crt and tls.key of a Secret hold them.
func PEM(c tls.Certificate) (certificate, key []byte) {
	for _, der := range c.Certificate {
		certificate = append(certificate, encode("CERTIFICATE", der)...)
	}
	return certificate, encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(c.PrivateKey)))
}

// PEM is a root's own certificate and key; see the function PEM.
func (a *Authority) PEM() (certificate, key []byte) {
	return PEM(tls.Certificate{Certificate: [][]byte{a.Certificate.Raw}, PrivateKey: a.Key})
}

// WriteFiles writes tls.crt, tls.key and ca.crt into a directory, as a mounted Secret has them.
func WriteFiles(directory string, c tls.Certificate, authorities ...*Authority) {
	certificate, key := PEM(c)
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": Bundle(authorities...)} {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
			panic(err)
		}
	}
}

// NewKey makes a key on P-256, the curve of the certificates that the operator issues.
func NewKey() *ecdsa.PrivateKey { return NewKeyOn(elliptic.P256()) }

// NewKeyOn makes a key on a curve.
func NewKeyOn(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

func authorityTemplate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdated), NotAfter: now.Add(authorityLifetime),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

func leafTemplate() *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		NotBefore: now.Add(-backdated), NotAfter: now.Add(leafLifetime), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func edited(template *x509.Certificate, edits []Edit) *x509.Certificate {
	for _, edit := range edits {
		edit(template)
	}
	return template
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) []byte {
	return must(x509.CreateCertificate(rand.Reader, template, parent, public, key))
}

func parse(der []byte) *x509.Certificate { return must(x509.ParseCertificate(der)) }

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
