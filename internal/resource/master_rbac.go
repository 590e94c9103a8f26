package resource

import (
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	v1 "k8s.io/client-go/applyconfigurations/rbac/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// MasterSuffix follows the name of a ClusterMaster in MasterServiceAccountName.
const MasterSuffix = "-master"

// MasterServiceAccountName names the ServiceAccount, Role and RoleBinding of a master's pods.
func MasterServiceAccountName(m *v1alpha1.ClusterMaster) string { return m.Name + MasterSuffix }

// MasterServiceAccount is who a master's pods are. Its pods mount the token themselves.
func MasterServiceAccount(m *v1alpha1.ClusterMaster) *corev1ac.ServiceAccountApplyConfiguration {
	return corev1ac.ServiceAccount(MasterServiceAccountName(m), m.Namespace).
		WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m)).
		WithAutomountServiceAccountToken(false)
}

// MasterRole is all that a master may do: see its ClusterMaster and the Refineries of its namespace,
// write what it owns of their status, hold its Lease, which the operator makes, be the endpoint of its Service, and tell
// events. If an upstream is a Service, it may also see the Services of its namespace and their endpoints.
func MasterRole(m *v1alpha1.ClusterMaster) *v1.RoleApplyConfiguration {
	const leases = "coordination.k8s.io"
	group := v1alpha1.GroupVersion.Group
	role := v1.Role(MasterServiceAccountName(m), m.Namespace).
		WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m)).
		WithRules(
			rule(group, "clustermasters", "get", "list", "watch").WithResourceNames(m.Name),
			rule(group, "clustermasters/status", "patch").WithResourceNames(m.Name),
			rule(group, "refineries", "list", "watch"),
			rule(group, "refineries/status", "patch"),
			rule(leases, "leases", "get", "update").WithResourceNames(m.LeaseName()),
			rule(discoveryv1.GroupName, "endpointslices", "get", "patch").WithResourceNames(m.EndpointSliceNames()...),
			rule("events.k8s.io", "events", "create", "patch"),
		)
	if slices.ContainsFunc(m.Spec.Upstreams, func(u v1alpha1.Upstream) bool { return u.Service != nil }) {
		role.WithRules(rule("", "services", "list", "watch"), rule(discoveryv1.GroupName, "endpointslices", "list", "watch"))
	}
	return role
}

// MasterRoleBinding gives MasterRole to MasterServiceAccount.
func MasterRoleBinding(m *v1alpha1.ClusterMaster) *v1.RoleBindingApplyConfiguration {
	name := MasterServiceAccountName(m)
	return v1.RoleBinding(name, m.Namespace).
		WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m)).
		WithRoleRef(v1.RoleRef().WithAPIGroup("rbac.authorization.k8s.io").WithKind("Role").WithName(name)).
		WithSubjects(v1.Subject().WithKind("ServiceAccount").WithName(name).WithNamespace(m.Namespace))
}

func rule(group, resource string, verbs ...string) *v1.PolicyRuleApplyConfiguration {
	return v1.PolicyRule().WithAPIGroups(group).WithResources(resource).WithVerbs(verbs...)
}
