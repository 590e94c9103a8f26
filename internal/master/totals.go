package master

import (
	"fmt"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Loaded is what a master shows of its certificates in its ClusterMaster's status.
type Loaded struct {
	// Certificate that it serves, by fingerprint; "" for none.
	Certificate string
	// Authorities of its trust bundle by fingerprint, sorted.
	Authorities []string
}

// Equal reports whether there is nothing to write.
func (l Loaded) Equal(other Loaded) bool {
	return l.Certificate == other.Certificate && slices.Equal(l.Authorities, other.Authorities)
}

// reportedLoaded is what stands in a ClusterMaster's status.
func reportedLoaded(status *v1alpha1.ClusterMasterStatus) (l Loaded) {
	if status.Active != nil {
		l.Certificate, l.Authorities = status.Active.Certificate, status.Active.Authorities
	}
	return l
}

// Totals is what a master owns of its ClusterMaster's status, beside active.
type Totals struct {
	Refineries v1alpha1.RefineryTotals
	Nodes      v1alpha1.NodeTotals
	Upstreams  []v1alpha1.UpstreamStatus
}

// Equal reports whether there is nothing to write.
func (t *Totals) Equal(other *Totals) bool {
	return other != nil && apiequality.Semantic.DeepEqual(t, other)
}

// ReportedTotals are those that stand in a ClusterMaster's status; nil when it has none.
func ReportedTotals(status *v1alpha1.ClusterMasterStatus) *Totals {
	if status.Refineries == nil || status.Nodes == nil {
		return nil
	}
	return &Totals{Refineries: *status.Refineries, Nodes: *status.Nodes, Upstreams: status.Upstreams}
}

// NewTotals counts. partial is true while nodes are presumed authenticated whose upstream is not known: then
// assigned counts are too low.
func NewTotals(d *Directory, r *Registry) (totals *Totals, partial bool) {
	policy := d.Policy()
	if policy == nil {
		return &Totals{}, true
	}
	totals = &Totals{}
	assigned := map[string]int32{}
	for _, name := range d.Names() {
		refinery := d.Refinery(name)
		if refinery == nil {
			continue
		}
		s := r.Snapshot(name)
		wanted, authenticated := Wanted(refinery), s.Authenticated()
		totals.Refineries.Total++
		if Standing(refinery, authenticated, wanted) {
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
