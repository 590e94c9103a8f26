package resource

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// Keys of the Secret of an authority, beside tls.crt and tls.key, while it is being replaced.
const (
	nextCertKey     = "next.crt"
	nextKeyKey      = "next.key"
	previousCertKey = "previous.crt"
)

// Annotations of the Secret of an authority, and, the last two, of a master's certificate.
const (
	rotatedFor    = "cluster.refinery.dev/rotated-for"
	rotationCause = "cluster.refinery.dev/rotation-cause"
	phaseBegan    = "cluster.refinery.dev/rotation-phase-began"
	signedBy      = "cluster.refinery.dev/authority"

	causeRequested = "Requested"
	causeDue       = "Due"
)

// AuthorityRecord is what the Secret of an authority tells beside its values.
type AuthorityRecord struct {
	// Asked is the last value of the annotation that asks for a rotation which was taken up.
	Asked string
	// Requested reports whether it began the rotation that is under way; false where that became due.
	Requested bool
	// Began is when the phase of the rotation began; zero with none.
	Began time.Time
}

// MasterAuthoritySecret holds the authority that the operator made for a ClusterMaster. No pod mounts it.
func MasterAuthoritySecret(m *v1alpha1.ClusterMaster, authority pki.AuthorityFiles, record AuthorityRecord) *v1.SecretApplyConfiguration {
	values := map[string][]byte{
		corev1.TLSCertKey:       authority.Current.Certificate,
		corev1.TLSPrivateKeyKey: authority.Current.Key,
	}
	for key, value := range map[string][]byte{
		nextCertKey: authority.Next.Certificate, nextKeyKey: authority.Next.Key, previousCertKey: authority.Previous,
	} {
		if len(value) > 0 {
			values[key] = value
		}
	}
	secret := retainedSecret(m, m.AuthoritySecretName()).WithType(corev1.SecretTypeTLS).WithData(values)
	annotations := map[string]string{}
	if record.Asked != "" {
		annotations[rotatedFor] = record.Asked
	}
	if authority.Phase() != pki.RotationIdle {
		annotations[rotationCause] = causeDue
		if record.Requested {
			annotations[rotationCause] = causeRequested
		}
		annotations[phaseBegan] = record.Began.UTC().Format(time.RFC3339)
	}
	if len(annotations) > 0 {
		secret.WithAnnotations(annotations)
	}
	return secret
}

// ReadMasterAuthority is what MasterAuthoritySecret wrote.
func ReadMasterAuthority(secret *corev1.Secret) (pki.AuthorityFiles, AuthorityRecord) {
	return pki.AuthorityFiles{
			Current:  pki.PEMPair{Certificate: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]},
			Next:     pki.PEMPair{Certificate: secret.Data[nextCertKey], Key: secret.Data[nextKeyKey]},
			Previous: secret.Data[previousCertKey],
		}, AuthorityRecord{
			Asked:     secret.Annotations[rotatedFor],
			Requested: secret.Annotations[rotationCause] == causeRequested,
			Began:     PhaseBegan(secret),
		}
}

// MasterCertificateSecret holds the certificate that a master serves, and bundle, by which it and the
// nodes verify each other.
func MasterCertificateSecret(m *v1alpha1.ClusterMaster, certificate pki.PEMPair, bundle []byte) *v1.SecretApplyConfiguration {
	return masterSecret(m, m.CertificateSecretName()).WithType(corev1.SecretTypeTLS).WithData(map[string][]byte{
		corev1.TLSCertKey:       certificate.Certificate,
		corev1.TLSPrivateKeyKey: certificate.Key,
		v1alpha1.AuthorityKey:   bundle,
	})
}

// WithProvidedAuthority marks the Secret of a master's certificate with the name of the Secret that its authority was provided in.
func WithProvidedAuthority(secret *v1.SecretApplyConfiguration, name string) *v1.SecretApplyConfiguration {
	return secret.WithAnnotations(map[string]string{signedBy: name})
}

// ProvidedAuthority returns the name that WithProvidedAuthority marked the Secret of a master's certificate with, or "".
func ProvidedAuthority(secret *corev1.Secret) string { return secret.Annotations[signedBy] }

// HasProvidedAuthority reports whether the Secret of a master's certificate is marked with a provided authority, or with
// a phase in which one authority takes the place of another.
func HasProvidedAuthority(secret *corev1.Secret) bool {
	return ProvidedAuthority(secret) != "" || !PhaseBegan(secret).IsZero()
}

// WithPhaseBegan marks the Secret of a certificate with when the phase of a rotation began.
func WithPhaseBegan(secret *v1.SecretApplyConfiguration, began time.Time) *v1.SecretApplyConfiguration {
	return secret.WithAnnotations(map[string]string{phaseBegan: began.UTC().Format(time.RFC3339)})
}

// PhaseBegan is when the phase of a rotation began, as the Secret of an authority or a certificate is marked with,
// or zero: nothing waits for a time that nobody can read.
func PhaseBegan(secret *corev1.Secret) time.Time {
	began, err := time.Parse(time.RFC3339, secret.Annotations[phaseBegan])
	if err != nil {
		return time.Time{}
	}
	return began
}

// MasterPeerSecret holds the key pair by which the masters of a ClusterMaster know each other.
func MasterPeerSecret(m *v1alpha1.ClusterMaster, pair pki.PEMPair) *v1.SecretApplyConfiguration {
	return masterSecret(m, m.PeerName()).WithType(corev1.SecretTypeTLS).WithData(map[string][]byte{
		corev1.TLSCertKey:       pair.Certificate,
		corev1.TLSPrivateKeyKey: pair.Key,
	})
}

func masterSecret(m *v1alpha1.ClusterMaster, name string) *v1.SecretApplyConfiguration {
	return v1.Secret(name, m.Namespace).WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m))
}

// retainedSecret outlives its ClusterMaster if that says so. The annotation then tells whose it is.
func retainedSecret(m *v1alpha1.ClusterMaster, name string) *v1.SecretApplyConfiguration {
	if !m.RetainsSecrets() {
		return masterSecret(m, name)
	}
	return v1.Secret(name, m.Namespace).WithLabels(MasterLabels(m)).
		WithAnnotations(map[string]string{v1alpha1.OwnerAnnotation: string(m.UID)})
}
