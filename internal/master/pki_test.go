package master

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
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// authority is a certificate authority of a test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	return &authority{certificate: sign(t, template, template, &key.PublicKey, key), key: key}
}

// issue signs a certificate for TLS client authentication with these URI SANs; edit may change it first.
func (a *authority) issue(t *testing.T, uris []string, edit ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, text := range uris {
		uri, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, uri)
	}
	for _, e := range edit {
		e(template)
	}
	leaf := sign(t, template, a.certificate, &key.PublicKey, a.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// forRefinery signs the certificate of a Refinery.
func (a *authority) forRefinery(t *testing.T, master, namespace, refinery string, edit ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	return a.issue(t, []string{v1alpha1.RefineryIdentity(master, namespace, refinery).String()}, edit...)
}

// middle signs an intermediate authority; edit may change its certificate first.
func (a *authority) middle(t *testing.T, edit ...func(*x509.Certificate)) *authority {
	t.Helper()
	middle := &authority{key: newKey(t)}
	template := *a.certificate
	template.SerialNumber, template.Subject.CommonName = big.NewInt(7), "middle"
	for _, e := range edit {
		e(&template)
	}
	middle.certificate = sign(t, &template, a.certificate, &middle.key.PublicKey, a.key)
	return middle
}

// directory writes a mounted Secret: a server certificate of this authority, its key, and the trust bundle.
func (a *authority) directory(t *testing.T, bundle ...*authority) string {
	t.Helper()
	dir := t.TempDir()
	a.write(t, dir, bundle...)
	return dir
}

func (a *authority) write(t *testing.T, dir string, bundle ...*authority) {
	t.Helper()
	served := a.issue(t, nil, func(c *x509.Certificate) {
		c.DNSNames = []string{"localhost"}
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	key, err := x509.MarshalPKCS8PrivateKey(served.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	ca := ""
	for _, b := range append([]*authority{a}, bundle...) {
		ca += pemOf(b.certificate)
	}
	for name, content := range map[string]string{
		"tls.crt": pemOf(served.Leaf),
		"tls.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		"ca.crt":  ca,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
