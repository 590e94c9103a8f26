package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

const (
	pemCertificate = "CERTIFICATE"
	pemPrivateKey  = "PRIVATE KEY"
)

// ErrWithoutKey is returned when an authority that came without its key is asked to issue.
var ErrWithoutKey = errors.New("the certificate authority has no key to issue with")

// IssueServer issues a certificate for TLS server authentication under the given DNS names and IP addresses. One that
// VerifyServer would refuse, since a constraint of the authority forbids it, is not returned: the error is its *Problem.
func (a *Authority) IssueServer(commonName string, names []string, now time.Time) (PEMPair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return a.issue(template, now, func(signing *Authority, chain []*x509.Certificate) error {
		return signing.VerifyServer(chain, names, now)
	})
}

// IssueClient issues a certificate for TLS client authentication whose one URI SAN is identity. One that VerifyClient
// would refuse is not returned, as with IssueServer.
func (a *Authority) IssueClient(commonName string, identity *url.URL, now time.Time) (PEMPair, error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName},
		URIs:        []*url.URL{identity},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, now, func(signing *Authority, chain []*x509.Certificate) error {
		return signing.VerifyClient(chain, identity, now)
	})
}

// issue signs template for a new key. A key of RSA takes seconds to make, so what is refused is found out before, with one
// that takes none.
func (a *Authority) issue(template *x509.Certificate, now time.Time,
	verify func(signing *Authority, chain []*x509.Certificate) error,
) (PEMPair, error) {
	if a.Key == nil {
		return PEMPair{}, ErrWithoutKey
	}
	if a.LeafKey.Algorithm == v1alpha1.KeyRSA {
		if _, err := a.issueWith(v1alpha1.PrivateKeySpec{}, template, now, verify); err != nil {
			return PEMPair{}, err
		}
	}
	return a.issueWith(a.LeafKey, template, now, verify)
}

// issueWith signs template for a new key of a kind. The certificate comes with the intermediates above it, so that it is also
// verified by who trusts the root alone. The result is verified against the signing certificate alone, because the other
// trusted certificates may be removed later, and against the certificate at the end of the chain alone.
func (a *Authority) issueWith(kind v1alpha1.PrivateKeySpec, template *x509.Certificate, now time.Time,
	verify func(signing *Authority, chain []*x509.Certificate) error,
) (PEMPair, error) {
	key, err := newKey(kind)
	if err != nil {
		return PEMPair{}, err
	}
	leaf, err := a.sign(template, key.Public(), now)
	if err != nil {
		return PEMPair{}, err
	}
	intermediates, top := a.above()
	chain := append([]*x509.Certificate{leaf}, intermediates...)
	if err := verify(&Authority{Certificates: a.Certificates[:1]}, chain); err != nil {
		return PEMPair{}, err
	}
	if p := AsProblem(verify(&Authority{Certificates: []*x509.Certificate{top}}, chain)); p != nil && p.Reason == v1alpha1.ReasonAuthorityConstrained {
		return PEMPair{}, p // one that expired is no reason: who trusts what is below it goes on
	}
	return encodePair(chain, key)
}

// sign makes a certificate for a key that is valid from now on, for as long as the authority lets it be.
func (a *Authority) sign(template *x509.Certificate, key crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	signing := a.Certificates[0]
	template.SerialNumber = serial
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	template.NotBefore = now.Add(-Backdating)
	if template.NotAfter = now.Add(a.LeafDuration); template.NotAfter.After(signing.NotAfter) {
		template.NotAfter = signing.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signing, key, a.Key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the signed certificate: %w", err)
	}
	return leaf, nil
}

// above returns what is served above a certificate that the authority signs: the signing certificate and those above it,
// each the issuer of the one before, without a root. Top is the last one, or the root if the authority has it.
func (a *Authority) above() (intermediates []*x509.Certificate, top *x509.Certificate) {
	top = a.Certificates[0]
	for range a.Certificates {
		if issued(top, top) {
			return intermediates, top
		}
		intermediates = append(intermediates, top)
		next := slices.IndexFunc(a.Certificates, func(c *x509.Certificate) bool {
			return !slices.ContainsFunc(intermediates, c.Equal) && issued(c, top) && top.CheckSignatureFrom(c) == nil
		})
		if next < 0 {
			return intermediates, top
		}
		top = a.Certificates[next]
	}
	return intermediates, top
}

// newSerial returns 128 random bits, which is more than the 64 that the CA/Browser Forum asks for
// and fits the 20 octets of RFC 5280, section 4.1.2.2.
func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil // RFC 5280: positive
}

func encodePair(chain []*x509.Certificate, key crypto.Signer) (PEMPair, error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return PEMPair{}, errors.New("encode a key")
	}
	return PEMPair{
		Certificate: EncodeCertificates(chain),
		Key:         pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: pkcs8}),
	}, nil
}

// EncodeCertificates writes certificates as PEM, in their order.
func EncodeCertificates(all []*x509.Certificate) (text []byte) {
	for _, c := range all {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Raw})...)
	}
	return text
}
