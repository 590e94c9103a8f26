package master

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// mint makes certificates of all kinds for the Refinery plant/press of the master alpha.
type mint struct {
	testing.TB
	trusted, stranger *issuer
	identity          string
	key               *ecdsa.PrivateKey // of leaves
}

// issuer signs.
type issuer struct {
	certificate *x509.Certificate
	key         crypto.Signer
	// chain is what is sent of it, above what it signs; the anchor is not.
	chain [][]byte
}

func newMint(t testing.TB) *mint {
	t.Helper()
	m := &mint{TB: t, identity: v1alpha1.RefineryIdentity("alpha", "plant", "press").String(), key: p256(t)}
	m.trusted, m.stranger = m.root("plant/alpha", p256(t)), m.root("plant/alpha", p256(t))
	m.stranger.certificate.SubjectKeyId = m.trusted.certificate.SubjectKeyId
	return m
}

func p256(t testing.TB) *ecdsa.PrivateKey { return onCurve(t, elliptic.P256()) }

func onCurve(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (m *mint) authorityTemplate(name string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), SubjectKeyId: []byte("the same for all")}
}

func (m *mint) root(name string, key crypto.Signer) *issuer {
	m.Helper()
	template := m.authorityTemplate(name)
	return &issuer{certificate: m.parsed(m.sign(template, template, key.Public(), key)), key: key}
}

// middle makes an intermediate below an issuer.
func (m *mint) middle(above *issuer, name string, key crypto.Signer, edit ...func(*x509.Certificate)) *issuer {
	m.Helper()
	template := m.authorityTemplate(name)
	for _, e := range edit {
		e(template)
	}
	der := m.sign(template, above.certificate, key.Public(), above.key)
	return &issuer{m.parsed(der), key, append([][]byte{der}, above.chain...)}
}

// leaf is the exactly right certificate, then edited.
func (m *mint) leaf(by *issuer, edit ...func(*x509.Certificate)) tls.Certificate {
	m.Helper()
	return m.leafFor(by, m.key, edit...)
}

func (m *mint) leafFor(by *issuer, key crypto.Signer, edit ...func(*x509.Certificate)) tls.Certificate {
	m.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "press"}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		ExtraExtensions: []pkix.Extension{names(uri(m.identity))},
	}
	for _, e := range edit {
		e(template)
	}
	return tls.Certificate{Certificate: append([][]byte{m.sign(template, by.certificate, key.Public(), by.key)}, by.chain...), PrivateKey: key}
}

// named has these SANs in place of the right one.
func named(all ...asn1.RawValue) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExtraExtensions[0] = names(all...) }
}

// also has these SANs beside the right one.
func (m *mint) also(all ...asn1.RawValue) func(*x509.Certificate) {
	return named(append([]asn1.RawValue{uri(m.identity)}, all...)...)
}

func (m *mint) sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) []byte {
	m.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		m.Fatal(err)
	}
	return der
}

func (m *mint) parsed(der []byte) *x509.Certificate {
	m.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		m.Fatal(err)
	}
	return c
}

// resigned edits what is signed of a certificate, as bytes, and signs it again: what no template lets through.
func (m *mint) resigned(der []byte, by crypto.Signer, edit func(tbs []byte)) []byte {
	m.Helper()
	var c struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		m.Fatal(err)
	}
	edit(c.TBS.FullBytes)
	if by != nil {
		sum := sha256.Sum256(c.TBS.FullBytes)
		signature, err := by.Sign(rand.Reader, sum[:], crypto.SHA256)
		if err != nil {
			m.Fatal(err)
		}
		c.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	}
	out, err := asn1.Marshal(c)
	if err != nil {
		m.Fatal(err)
	}
	return out
}

// names is a subjectAltName extension of any content (RFC 5280, section 4.2.1.6).
func names(all ...asn1.RawValue) pkix.Extension {
	value, err := asn1.Marshal(all)
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}
}

func san(tag int, content string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(content)}
}

func email(s string) asn1.RawValue { return san(1, s) }
func dns(s string) asn1.RawValue   { return san(2, s) }
func uri(s string) asn1.RawValue   { return san(6, s) }
func ip(s string) asn1.RawValue    { return san(7, s) }

func directoryName(cn string) asn1.RawValue {
	der, err := asn1.Marshal(pkix.Name{CommonName: cn}.ToRDNSequence())
	if err != nil {
		panic(err)
	}
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: der}
}

// many makes a number of SANs.
func many(count int, of func(string) asn1.RawValue, form string) []asn1.RawValue {
	all := make([]asn1.RawValue, count)
	for i := range all {
		name := form
		if strings.Contains(form, "%") {
			name = fmt.Sprintf(form, i)
		}
		all[i] = of(name)
	}
	return all
}

// trust is the trust bundle that holds the trusted authority alone.
func (m *mint) trust() *Trust {
	return trusting(&authority{certificate: m.trusted.certificate})
}
