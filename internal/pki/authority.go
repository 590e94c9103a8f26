package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Authority is a certificate authority: its certificates, the signing one first, and its key.
type Authority struct {
	// Certificates are the trust anchors, at least one. The first one signs.
	Certificates []*x509.Certificate
	// Key signs. It is nil when the authority came without one: it then verifies and issues nothing.
	Key crypto.Signer
	// LeafDuration is the validity of server and client certificates, unless the authority ends sooner.
	LeafDuration time.Duration
	// LeafKey is the kind of their keys. The zero value is the default.
	LeafKey v1alpha1.PrivateKeySpec
	// Outgoing is the number of the last of Certificates that sign no more, and are trusted until nobody needs them.
	Outgoing int
	// Since is when Certificates became what they are, or zero if that is not known.
	Since time.Time
	// Rotating reports whether it is taking the place of another, or another is taking its place.
	Rotating bool
	// InServed reports whether those before it are known only from the trust bundle that the master serves.
	InServed bool
}

// PEMPair is a certificate chain and its key as PEM, as kubernetes.io/tls Secrets hold them.
type PEMPair struct {
	Certificate, Key []byte
}

// NewAuthority makes an authority with a new key of the default kind, valid for duration. Its common name is for people;
// nothing reads it.
func NewAuthority(commonName string, duration time.Duration, now time.Time) (PEMPair, error) {
	return NewAuthorityWithKey(commonName, v1alpha1.PrivateKeySpec{}, duration, now)
}

// NewAuthorityWithKey is NewAuthority with the kind of its key.
func NewAuthorityWithKey(commonName string, kind v1alpha1.PrivateKeySpec, duration time.Duration, now time.Time) (PEMPair, error) {
	return selfSigned(kind, &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             now.Add(-Backdating),
		NotAfter:              now.Add(duration),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	})
}

// NewKeyPair makes a key with a certificate for it that says nothing and never ends: those who use it know the certificate.
func NewKeyPair(commonName string, now time.Time) (PEMPair, error) {
	return selfSigned(v1alpha1.PrivateKeySpec{}, &x509.Certificate{
		Subject:   pkix.Name{CommonName: commonName},
		NotBefore: now.Add(-Backdating),
		NotAfter:  time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280, section 4.1.2.5: there is no end
		KeyUsage:  x509.KeyUsageDigitalSignature,
	})
}

func selfSigned(kind v1alpha1.PrivateKeySpec, template *x509.Certificate) (PEMPair, error) {
	serial, err := newSerial()
	if err != nil {
		return PEMPair{}, err
	}
	template.SerialNumber = serial
	key, err := newKey(kind)
	if err != nil {
		return PEMPair{}, fmt.Errorf("certificate %s: %w", template.Subject.CommonName, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return PEMPair{}, fmt.Errorf("sign %s: %w", template.Subject.CommonName, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return PEMPair{}, fmt.Errorf("parse %s: %w", template.Subject.CommonName, err)
	}
	return encodePair([]*x509.Certificate{certificate}, key)
}

// ParseAuthority reads an authority and checks that it may sign now. keyPEM may be empty. What it issues has
// the default duration, unless the caller sets another.
// What is wrong comes back as a *Problem.
func ParseAuthority(certificatePEM, keyPEM []byte, now time.Time) (*Authority, error) {
	chain, err := ParseCertificates("tls.crt", certificatePEM)
	if err != nil {
		return nil, err
	}
	signing := chain[0]
	if !signing.BasicConstraintsValid || !signing.IsCA {
		return nil, problemf(v1alpha1.ReasonWrongUsage,
			"the first certificate of tls.crt (%s) is not a certificate authority: it lacks the basic constraint CA", nameOf(signing))
	}
	if signing.KeyUsage != 0 && signing.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, problemf(v1alpha1.ReasonWrongUsage,
			"the certificate authority %s may not sign certificates: its key usage lacks certificate signing", nameOf(signing))
	}
	if err := checkValidity(signing, now); err != nil {
		return nil, err
	}
	a := &Authority{Certificates: chain, LeafDuration: v1alpha1.DefaultCertificateDuration}
	if len(bytes.TrimSpace(keyPEM)) == 0 {
		return a, nil
	}
	if a.Key, err = ParseKey("tls.key", keyPEM, signing); err != nil {
		return nil, err
	}
	return a, nil
}

// BundlePEM is the trust bundle: every certificate of the authority, in order.
func (a *Authority) BundlePEM() []byte { return EncodeCertificates(a.Certificates) }

// RenewAt returns when to replace a certificate: the given time before it expires, or before its LeafDuration ends, if
// LeafDuration has become shorter since. It is zero, for never, if the certificate lives as long as the authority: a
// new one would not live longer.
func (a *Authority) RenewAt(leaf *x509.Certificate, before time.Duration) time.Time {
	end := leaf.NotBefore.Add(Backdating + a.LeafDuration)
	if leaf.NotAfter.Before(end) {
		end = leaf.NotAfter
	}
	if !end.Before(a.Certificates[0].NotAfter) {
		return time.Time{}
	}
	return end.Add(-before)
}

// Name names the authority for people.
func (a *Authority) Name() string { return nameOf(a.Certificates[0]) }
