package resource

import (
	v1 "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// RefineryServiceAccountName names the ServiceAccount of a Refinery's pods.
func RefineryServiceAccountName(r *v1alpha1.Refinery) string { return r.Name + "-refinery" }

// RefineryServiceAccount is who a Refinery's pods are. They talk to no API server, so no token is mounted.
func RefineryServiceAccount(r *v1alpha1.Refinery) *v1.ServiceAccountApplyConfiguration {
	return v1.ServiceAccount(RefineryServiceAccountName(r), r.Namespace).
		WithLabels(RefineryLabels(r)).WithOwnerReferences(refineryOwner(r)).
		WithAutomountServiceAccountToken(false)
}
