package master

import (
	"fmt"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// reportedCertificates is what a master shows of its certificates in its ClusterMaster's status.
type reportedCertificates struct {
	// Certificate that it serves, by fingerprint; "" for none.
	Certificate string
	// Authorities of its trust bundle by fingerprint, sorted.
	Authorities []string
}

// Equal reports whether there is nothing to write.
func (l reportedCertificates) Equal(other reportedCertificates) bool {
	return l.Certificate == other.Certificate && slices.Equal(l.Authorities, other.Authorities)
}

// certificatesIn is what stands in a ClusterMaster's status.
func certificatesIn(status *v1alpha1.ClusterMasterStatus) (l reportedCertificates) {
	if status.Active != nil {
		l.Certificate, l.Authorities = status.Active.Certificate, status.Active.Authorities
	}
	return l
}

// masterTotals is what a master owns of its ClusterMaster's status, beside active.
type masterTotals struct {
	Refineries v1alpha1.RefineryTotals
	Nodes      v1alpha1.NodeTotals
	Upstreams  []v1alpha1.UpstreamStatus
}

// Equal reports whether there is nothing to write.
func (t *masterTotals) Equal(other *masterTotals) bool {
	return other != nil && apiequality.Semantic.DeepEqual(t, other)
}

// totalsIn are those that stand in a ClusterMaster's status; nil when it has none.
func totalsIn(status *v1alpha1.ClusterMasterStatus) *masterTotals {
	if status.Refineries == nil || status.Nodes == nil {
		return nil
	}
	return &masterTotals{Refineries: *status.Refineries, Nodes: *status.Nodes, Upstreams: status.Upstreams}
}

// newTotals counts. partial is true while nodes are presumed authenticated whose upstream is not known: then
// assigned counts are too low.
func newTotals(d *directory, r *registry) (totals *masterTotals, partial bool) {
	policy := d.Policy()
	if policy == nil {
		return &masterTotals{}, true
	}
	totals = &masterTotals{}
	assigned := map[string]int32{}
	for _, name := range d.Names() {
		refinery := d.Refinery(name)
		if refinery == nil {
			continue
		}
		s := r.Snapshot(name)
		wanted, authenticated := wantedNodes(refinery), s.Authenticated()
		totals.Refineries.Total++
		if isAuthenticated(refinery, authenticated, wanted) {
			totals.Refineries.Authenticated++
		}
		totals.Nodes.Wanted += int32(wanted)               //nolint:gosec // bounded by the API
		totals.Nodes.Authenticated += int32(authenticated) //nolint:gosec // bounded by maxSessions
		partial = partial || s.Unlisted > 0
		for i := range s.Nodes {
			if s.Nodes[i].State == v1alpha1.NodeAuthenticated {
				assigned[s.Nodes[i].Upstream]++
			}
		}
	}
	totals.Refineries.Summary = fmt.Sprintf("%d/%d", totals.Refineries.Authenticated, totals.Refineries.Total)
	for _, u := range policy.Placement.Upstreams() {
		totals.Upstreams = append(totals.Upstreams, v1alpha1.UpstreamStatus{
			Name: u.Name, Address: u.Address, Ready: u.Weight > 0, Assigned: assigned[u.Name],
		})
	}
	return totals, partial
}
