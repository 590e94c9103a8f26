package v1alpha1

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/url"
)

// Names that operator, master and node agree on.
const (
	// OperatorFieldOwner is the field owner of everything the operator applies.
	OperatorFieldOwner = "refinery-operator"
	// MasterFieldOwner is the field owner of the status that the active master applies.
	MasterFieldOwner = "refinery-master"

	// SharedCertificateKey is the key of the bearer secret in the Secret of SharedCertificate authentication.
	SharedCertificateKey = "certificate"
	// AuthorityKey is the key of the trust bundle in a certificate Secret, beside tls.crt and tls.key.
	AuthorityKey = "ca.crt"

	// RotateCAAnnotation on a ClusterMaster asks for a new authority of the operator's making: each value that it
	// has not had before asks for one.
	RotateCAAnnotation = "cluster.refinery.dev/rotate-ca"
	// ForceCARotationAnnotation on a ClusterMaster lets a rotation go on although nodes are cut off by that. Its
	// value is that of RotateCAAnnotation, for the whole rotation, or the reason of condition
	// CertificateAuthorityRotating, for that phase only.
	ForceCARotationAnnotation = "cluster.refinery.dev/force-ca-rotation"

	// MaxNodeStatuses is the number of entries of Refinery status.nodes.
	MaxNodeStatuses = 100
	// MaxPresentedCertificates is the number of entries of Refinery status.authenticated.certificates.
	MaxPresentedCertificates = 8
	// MaxActiveAuthorities is the number of entries of ClusterMaster status.active.authorities.
	MaxActiveAuthorities = 64
)

// identityDomain ends the trust domain of every identity.
const identityDomain = ".cluster.refinery.dev"

// AuthoritySecretName is the Secret of the certificate authority that the operator made.
func (m *ClusterMaster) AuthoritySecretName() string { return m.Name + "-ca" }

// CertificateSecretName is the Secret of the certificate that the master serves, and of its trust bundle.
func (m *ClusterMaster) CertificateSecretName() string { return m.Name + "-tls" }

// SharedSecretName is the Secret of the shared certificate: the one the spec names, or the operator's own.
func (m *ClusterMaster) SharedSecretName() string {
	if c := m.Spec.Certificates; c != nil && c.Shared != nil {
		return c.Shared.SecretRef.Name
	}
	return m.OwnSharedSecretName()
}

// OwnSharedSecretName is the Secret of the shared certificate that the operator makes where the spec names none.
func (m *ClusterMaster) OwnSharedSecretName() string { return m.Name + "-shared" }

// NamedAuthority is the Secret of an authority that the user brings; false where the spec names none.
func (m *ClusterMaster) NamedAuthority() (string, bool) {
	if c := m.Spec.Certificates; c != nil && c.Authority != nil {
		return c.Authority.SecretRef.Name, true
	}
	return "", false
}

// LeaseName is the Lease that the active master holds.
func (m *ClusterMaster) LeaseName() string { return m.Name + "-active" }

// Issuer is the issuer of cert-manager that issues for this master and its Refineries, or nil.
func (m *ClusterMaster) Issuer() *IssuerReference {
	if c := m.Spec.Certificates; c != nil {
		return c.IssuerRef
	}
	return nil
}

// IssuedSecretName is the Secret, and with certificates.issuerRef the Certificate too, of a Refinery that brings none.
func (r *Refinery) IssuedSecretName() string { return r.Name + "-tls" }

// CertificateSecretName is the Secret of the nodes' certificate: the one the spec names, or the operator's own.
func (r *Refinery) CertificateSecretName() string {
	if ref := r.Spec.CertificateSecretRef; ref != nil {
		return ref.Name
	}
	return r.IssuedSecretName()
}

// Identity is the one URI SAN by which a certificate names this Refinery:
// spiffe://<master>.<namespace>.cluster.refinery.dev/refinery/<name>.
func (r *Refinery) Identity() *url.URL {
	return RefineryIdentity(r.Spec.MasterRef.Name, r.Namespace, r.Name)
}

// RefineryIdentity is Identity for names that are not those of an object at hand.
func RefineryIdentity(master, namespace, refinery string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: master + "." + namespace + identityDomain, Path: "/refinery/" + refinery}
}

// Fingerprint is by what a certificate is listed: the SHA-256 of its DER form in 64 lower-case hexadecimal digits.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
