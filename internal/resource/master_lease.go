package resource

import (
	coordinationv1ac "k8s.io/client-go/applyconfigurations/coordination/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// MasterLease is what a master's pods elect the active one by. Its spec is theirs: the operator writes none.
func MasterLease(m *v1alpha1.ClusterMaster) *coordinationv1ac.LeaseApplyConfiguration {
	return coordinationv1ac.Lease(m.LeaseName(), m.Namespace).
		WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m))
}
