package resource

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Shared is what Secret <master>-shared holds. Nodes mount Certificate alone, masters all of it.
type Shared struct {
	// Certificate is what nodes send.
	Certificate []byte
	// Next is let in already, and takes the place of Certificate when the active master has loaded it; nil for none.
	Next []byte
	// Former is let in until Until; nil for none.
	Former []byte
	Until  time.Time
	// Generation grows with every change of the above. It is 0 where there is no Secret.
	Generation int64
}

// ReadMasterShared reads what the Secret holds.
func ReadMasterShared(secret *corev1.Secret) Shared {
	s := Shared{
		Certificate: secret.Data[v1alpha1.SharedCertificateKey],
		Next:        secret.Data[v1alpha1.SharedNextKey],
		Former:      secret.Data[v1alpha1.SharedFormerKey],
		Generation:  v1alpha1.SharedGeneration(secret.Data),
	}
	if len(s.Former) > 0 {
		s.Until = v1alpha1.SharedUntil(secret.Data)
	}
	return s
}

// MasterSharedSecret holds the shared certificate of SharedCertificate authentication, and those before and after it while it
// changes.
func MasterSharedSecret(m *v1alpha1.ClusterMaster, s Shared) *v1.SecretApplyConfiguration {
	values := map[string][]byte{v1alpha1.SharedCertificateKey: s.Certificate}
	if len(s.Next) > 0 {
		values[v1alpha1.SharedNextKey] = s.Next
	}
	if s.Generation > 1 {
		values[v1alpha1.SharedGenerationKey] = strconv.AppendInt(nil, s.Generation, 10)
	}
	if len(s.Former) > 0 {
		values[v1alpha1.SharedFormerKey], values[v1alpha1.SharedUntilKey] = s.Former, []byte(s.Until.UTC().Format(time.RFC3339))
	}
	return retainedSecret(m, m.SharedSecretName()).WithType(corev1.SecretTypeOpaque).WithData(values)
}
