package resource

import (
	corev1 "k8s.io/api/core/v1"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// MasterAuthoritySecret holds the authority that the operator made for a ClusterMaster. No pod mounts it.
func MasterAuthoritySecret(m *v1alpha1.ClusterMaster, authority pki.PEMPair) *v1.SecretApplyConfiguration {
	return masterSecret(m, m.AuthoritySecretName()).WithType(corev1.SecretTypeTLS).WithData(map[string][]byte{
		corev1.TLSCertKey:       authority.Certificate,
		corev1.TLSPrivateKeyKey: authority.Key,
	})
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

// MasterSharedSecret holds the shared certificate that the operator made for SharedCertificate authentication.
func MasterSharedSecret(m *v1alpha1.ClusterMaster, certificate []byte) *v1.SecretApplyConfiguration {
	return masterSecret(m, m.SharedSecretName()).WithType(corev1.SecretTypeOpaque).WithData(map[string][]byte{
		v1alpha1.SharedCertificateKey: certificate,
	})
}

// MasterDNSNames are the names under which a master is reached: as a Service, and through kubectl port-forward.
func MasterDNSNames(m *v1alpha1.ClusterMaster) []string {
	service := m.Name + "." + m.Namespace
	return []string{m.Name, service, service + ".svc", service + ".svc.cluster.local", "localhost"}
}

func masterSecret(m *v1alpha1.ClusterMaster, name string) *v1.SecretApplyConfiguration {
	return v1.Secret(name, m.Namespace).WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m))
}
