package resource

import (
	corev1 "k8s.io/api/core/v1"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// RefineryCertificateSecret holds the certificate that the operator issued to the nodes of a Refinery,
// and bundle, by which they verify the master.
func RefineryCertificateSecret(r *v1alpha1.Refinery, certificate pki.PEMPair, bundle []byte) *v1.SecretApplyConfiguration {
	return v1.Secret(r.IssuedSecretName(), r.Namespace).
		WithLabels(RefineryLabels(r)).WithOwnerReferences(refineryOwner(r)).
		WithType(corev1.SecretTypeTLS).
		WithData(map[string][]byte{
			corev1.TLSCertKey:       certificate.Certificate,
			corev1.TLSPrivateKeyKey: certificate.Key,
			v1alpha1.AuthorityKey:   bundle,
		})
}
