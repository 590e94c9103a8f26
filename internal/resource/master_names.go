package resource

import (
	"cmp"
	"slices"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// DefaultClusterDomain is the DNS domain of the Services of most clusters.
const DefaultClusterDomain = "cluster.local"

// MasterServerName is the DNS name of a master inside the cluster, by which nodes verify it: one of MasterDNSNames.
func MasterServerName(m *v1alpha1.ClusterMaster) string {
	return m.Name + "." + m.Namespace + ".svc"
}

// MasterDNSNames are the DNS names that a master's certificate is issued for: those of its Service, and those that the spec
// adds. Short names and localhost, as through kubectl port-forward, are the same in every cluster. So they are left to the
// authority that the operator made for this master, which nobody else trusts. An empty clusterDomain is the default.
func MasterDNSNames(m *v1alpha1.ClusterMaster, clusterDomain string) []string {
	names := []string{MasterServerName(m), MasterServerName(m) + "." + cmp.Or(clusterDomain, DefaultClusterDomain)}
	if _, provided := m.NamedAuthority(); !provided && m.Issuer() == nil {
		names = append(names, m.Name, m.Name+"."+m.Namespace, "localhost")
	}
	if c := m.Spec.Certificates; c != nil {
		names = append(names, c.DNSNames...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// MasterNames are MasterDNSNames, and the IP addresses that the spec adds.
func MasterNames(m *v1alpha1.ClusterMaster, clusterDomain string) []string {
	return append(MasterDNSNames(m, clusterDomain), MasterIPAddresses(m)...)
}

// MasterIPAddresses are the IP addresses that a master's certificate is issued for.
func MasterIPAddresses(m *v1alpha1.ClusterMaster) []string {
	if c := m.Spec.Certificates; c != nil {
		return c.IPAddresses
	}
	return nil
}
