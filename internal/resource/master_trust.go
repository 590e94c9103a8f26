package resource

import (
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// MasterTrust publishes the trust bundle of a master: by it, whoever may not read its Secrets can verify the master and its nodes.
func MasterTrust(m *v1alpha1.ClusterMaster, bundle []byte) *v1.ConfigMapApplyConfiguration {
	return v1.ConfigMap(m.TrustName(), m.Namespace).WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m)).
		WithData(map[string]string{v1alpha1.AuthorityKey: string(bundle)})
}
