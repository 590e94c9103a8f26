package v1alpha1

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
)

// Names that the operator, the master and the nodes agree on.
const (
	// OperatorFieldOwner is the field owner of everything the operator applies.
	OperatorFieldOwner = "refinery-operator"
	// MasterFieldOwner is the field owner of the status that the active master applies.
	MasterFieldOwner = "refinery-master"

	// SharedCertificateKey is the key of the bearer secret in the Secret of SharedCertificate authentication.
	SharedCertificateKey = "certificate"
	// SharedNextKey and SharedFormerKey are the keys of the one that follows and of the one before, which a master lets in too
	// while the shared certificate changes, the latter until the time at SharedUntilKey. SharedGenerationKey is that of a number that
	// grows with every change of these keys.
	SharedNextKey       = "next"
	SharedFormerKey     = "former"
	SharedUntilKey      = "former-until"
	SharedGenerationKey = "generation"
	// AuthoritySuffix, CertificateSuffix, SharedSuffix and PeerSuffix follow the name of a ClusterMaster, and CertificateSuffix
	// that of a Refinery, in the names of the Secrets that the operator creates for it.
	AuthoritySuffix   = "-ca"
	CertificateSuffix = "-tls"
	SharedSuffix      = "-shared"
	PeerSuffix        = "-peer"
	// AuthorityKey is the key of the trust bundle in a certificate Secret, beside tls.crt and tls.key.
	AuthorityKey = "ca.crt"

	// RotateCAAnnotation on a ClusterMaster requests a rotation of the authority that the operator created. Each value that
	// it has not had before requests one.
	RotateCAAnnotation = "cluster.refinery.dev/rotate-ca"
	// ForceCARotationAnnotation on a ClusterMaster lets a rotation continue although it cuts off nodes. Its value is that of
	// RotateCAAnnotation, for the whole rotation, or the reason of condition CertificateAuthorityRotating, for that phase.
	ForceCARotationAnnotation = "cluster.refinery.dev/force-ca-rotation"

	// ReadmitAnnotation on a Refinery takes back the revocation of certificates. Its value is their fingerprints, separated
	// by commas.
	ReadmitAnnotation = "cluster.refinery.dev/readmit"

	// UpgradeAnnotation on a Refinery lets an upgrade of its pods go that waits. Its value is status.pendingUpgrade.
	UpgradeAnnotation = "cluster.refinery.dev/upgrade"

	// OwnerAnnotation on a Secret that outlives its ClusterMaster is the UID of that ClusterMaster. It takes the place of an
	// owner reference, by which the garbage collector would delete the Secret.
	OwnerAnnotation = "cluster.refinery.dev/owner-uid"
	// AdoptAnnotation on a ClusterMaster or Refinery lets the operator keep what a Secret holds that bears its labels and has lost
	// both owner and mark. Its value is the fingerprints of all certificates in such Secrets, separated by commas.
	AdoptAnnotation = "cluster.refinery.dev/adopt"
	// MarkAnnotation on a Secret is how the operator recognizes what it wrote itself.
	MarkAnnotation = "cluster.refinery.dev/mark"

	// DefaultMaxConcurrentUpgrades is that of spec.maxConcurrentUpgrades of a ClusterMaster.
	DefaultMaxConcurrentUpgrades int32 = 5

	// MaxListedCertificates bounds the entries of status.certificates of a Refinery.
	MaxListedCertificates = 8
	// MaxRevokedCertificates bounds the entries of status.revoked of a Refinery.
	MaxRevokedCertificates = 100
	// MaxNodeStatuses bounds the entries of status.nodes of a Refinery.
	MaxNodeStatuses = 100
	// MaxStrangers bounds the entries of status.strangers of a ClusterMaster.
	MaxStrangers = 16
	// MaxPresentedCertificates bounds the entries of status.authenticated.certificates of a Refinery.
	MaxPresentedCertificates = 8
	// MaxActiveAuthorities bounds the entries of status.active.authorities of a ClusterMaster.
	MaxActiveAuthorities = 64
	// MaxExternalEndpoints bounds the entries of status.externalEndpoints of a ClusterMaster.
	MaxExternalEndpoints = 16
)

// identityDomain is the end of every identity's trust domain.
const identityDomain = ".cluster.refinery.dev"

// AuthoritySecretName names the Secret of the authority that the operator creates.
func (m *ClusterMaster) AuthoritySecretName() string { return m.Name + AuthoritySuffix }

// CertificateSecretName names the Secret of the certificate that the master serves, and of its trust bundle.
func (m *ClusterMaster) CertificateSecretName() string { return m.Name + CertificateSuffix }

// SharedSecretName names the Secret of the shared certificate that master and nodes read.
func (m *ClusterMaster) SharedSecretName() string { return m.Name + SharedSuffix }

// ProvidedSharedSecretName names the Secret from which a person provides the shared certificate; false if the spec names none.
func (m *ClusterMaster) ProvidedSharedSecretName() (string, bool) {
	if c := m.Spec.Certificates; c != nil && c.Shared != nil {
		return c.Shared.SecretRef.Name, true
	}
	return "", false
}

// PeerName names the Secret with the key pair by which the masters of a ClusterMaster know each other, and the Service through
// which they find each other.
func (m *ClusterMaster) PeerName() string { return m.Name + PeerSuffix }

// NodesName names the ConfigMap that tells the nodes in pods where the master is and how often it wants to hear from them.
func (m *ClusterMaster) NodesName() string { return m.Name + "-nodes" }

// TrustName names the ConfigMap in which the trust bundle of the master is published.
func (m *ClusterMaster) TrustName() string { return m.Name + "-trust" }

// OwnSecretNames are the names of the Secrets that the operator creates for a ClusterMaster, whatever its spec says now.
func (m *ClusterMaster) OwnSecretNames() []string {
	return []string{m.AuthoritySecretName(), m.CertificateSecretName(), m.SharedSecretName(), m.PeerName()}
}

// NamedAuthority returns the name of the Secret of a provided authority; false if the spec names none.
func (m *ClusterMaster) NamedAuthority() (string, bool) {
	if c := m.Spec.Certificates; c != nil && c.Authority != nil {
		return c.Authority.SecretRef.Name, true
	}
	return "", false
}

// RetainsSecrets reports whether the Secrets that nodes' trust rests on outlive the ClusterMaster.
func (m *ClusterMaster) RetainsSecrets() bool {
	return m.Spec.Certificates == nil || m.Spec.Certificates.DeletionPolicy != DeletionPolicyDelete
}

// LeaseName names the Lease that the active master holds.
func (m *ClusterMaster) LeaseName() string { return m.Name + "-active" }

// EndpointSliceName names the EndpointSlice in which the active master is the endpoint of the Service, by the family of its cluster IP.
func (m *ClusterMaster) EndpointSliceName() string { return m.EndpointSliceNames()[0] }

// EndpointSliceNames are those of the EndpointSlices of the Service, in the order of its families. The second one is there for a
// Service of two families only.
func (m *ClusterMaster) EndpointSliceNames() []string {
	return []string{m.Name + "-active", m.Name + "-active-second"}
}

const (
	// MaxEpoch is the last epoch that there can be: one a second lasts for thirty years.
	MaxEpoch = 1_000_000_000
	// MaxEpochStep is how many epochs a master can be ahead of the one before it.
	MaxEpochStep = 1000
)

// ActivePod is the pod that is active, by the status, or "" while none is.
func (m *ClusterMaster) ActivePod() string {
	if m.Status.Active == nil {
		return ""
	}
	return m.Status.Active.Pod
}

// Issuer returns the issuer of cert-manager that issues for this master and its Refineries, or nil.
func (m *ClusterMaster) Issuer() *IssuerReference {
	if c := m.Spec.Certificates; c != nil {
		return c.IssuerRef
	}
	return nil
}

// IsRotating reports whether the authority is being replaced, by the status.
func (m *ClusterMaster) IsRotating() bool {
	return meta.FindStatusCondition(m.Status.Conditions, ConditionCertificateAuthorityRotating) != nil
}

// IssuedSecretName names the Secret of a Refinery without a provided certificate and, with certificates.issuerRef, the
// Certificate object.
func (r *Refinery) IssuedSecretName() string { return r.Name + CertificateSuffix }

// CertificateSecretName names the Secret of the nodes' certificate: the provided one, or the operator's.
func (r *Refinery) CertificateSecretName() string {
	if ref := r.Spec.CertificateSecretRef; ref != nil {
		return ref.Name
	}
	return r.IssuedSecretName()
}

// IsProvided reports whether a user provides the certificate in a Secret that this Refinery uses, or has used.
func (r *Refinery) IsProvided(secret string) bool {
	ref := r.Spec.CertificateSecretRef
	return secret != r.IssuedSecretName() || (ref != nil && ref.Name == secret)
}

// ListedFrom names the Secret that a certificate of status.certificates was read from.
func (r *Refinery) ListedFrom(c *ListedCertificate) string {
	if c.Secret != "" {
		return c.Secret
	}
	return r.IssuedSecretName()
}

// CurrentCertificate is the Current one of those that are listed, or nil.
func CurrentCertificate(listed []ListedCertificate) *ListedCertificate {
	for i := range listed {
		if listed[i].Use == CertificateCurrent {
			return &listed[i]
		}
	}
	return nil
}

// RevocationOf returns the revocation of a fingerprint, or nil.
func RevocationOf(revoked []RevokedCertificate, fingerprint string) *RevokedCertificate {
	for i := range revoked {
		if revoked[i].Fingerprint == fingerprint {
			return &revoked[i]
		}
	}
	return nil
}

// SecretInUse names the Secret that the nodes read, by the status: the one that the spec asks for, unless the certificate
// of another is in use until that one holds a good certificate.
func (r *Refinery) SecretInUse() string {
	if c := CurrentCertificate(r.Status.Certificates); c != nil {
		return r.ListedFrom(c)
	}
	return r.CertificateSecretName()
}

// Identity returns the one URI SAN by which a certificate names this Refinery:
// spiffe://<master>.<namespace>.cluster.refinery.dev/refinery/<name>.
func (r *Refinery) Identity() *url.URL {
	return RefineryIdentity(r.Spec.MasterRef.Name, r.Namespace, r.Name)
}

// RefineryIdentity is Identity for a Refinery that is known by its names only.
func RefineryIdentity(master, namespace, refinery string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: master + "." + namespace + identityDomain, Path: "/refinery/" + refinery}
}

// Fingerprint returns what a certificate is listed by: the SHA-256 of its DER form, in 64 lower-case hexadecimal digits.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// DefaultPort is the port of a master's Service unless spec.service.port says otherwise, and that of the Cluster Protocol.
const DefaultPort = 34308

// PeerPort is the port at which the masters of a ClusterMaster answer each other.
const PeerPort = 34309

// ProxyPort is the port at which a master takes connections with a header of the PROXY protocol.
const ProxyPort = 34310

// APIServerOutage is for how long the active master serves while it cannot reach the API server.
func (m *ClusterMaster) APIServerOutage() time.Duration {
	return time.Duration(ptr.Deref(m.Spec.APIServerOutageSeconds, 3600)) * time.Second
}

// WantedPods is the number of master pods that the spec asks for.
func (m *ClusterMaster) WantedPods() int32 { return ptr.Deref(m.Spec.Replicas, 2) }

// WantedNodes is the number of nodes that the spec asks for.
func (r *Refinery) WantedNodes() int32 { return ptr.Deref(r.Spec.Replicas, 1) }
