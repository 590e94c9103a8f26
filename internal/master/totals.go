package master

import (
	"fmt"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// reportedCertificates is what the ClusterMaster's status shows of the certificates that its master has loaded.
type reportedCertificates struct {
	// Certificate that it serves, by fingerprint; "" for none.
	Certificate string
	// Authorities of its trust bundle by fingerprint, sorted.
	Authorities []string
	// Shared is the generation of the Secret of the shared certificate; 0 for none.
	Shared int64
}

// Equal reports whether there is nothing to write.
func (l reportedCertificates) Equal(other reportedCertificates) bool {
	return l.Certificate == other.Certificate && l.Shared == other.Shared && slices.Equal(l.Authorities, other.Authorities)
}

// certificatesIn reads them from a ClusterMaster's status.
func certificatesIn(status *v1alpha1.ClusterMasterStatus) (l reportedCertificates) {
	if status.Active != nil {
		l.Certificate, l.Authorities, l.Shared = status.Active.Certificate, status.Active.Authorities, status.Active.SharedGeneration
	}
	return l
}

// masterTotals is the part of a ClusterMaster's status that its master owns, except active.
type masterTotals struct {
	Refineries v1alpha1.RefineryTotals
	Nodes      v1alpha1.NodeTotals
	Upstreams  []v1alpha1.UpstreamStatus
	Strangers  []v1alpha1.StrangerStatus
}

// Equal reports whether there is nothing to write.
func (t *masterTotals) Equal(other *masterTotals) bool {
	return other != nil && apiequality.Semantic.DeepEqual(t, other)
}

// totalsIn reads them from a ClusterMaster's status; nil if it has none.
func totalsIn(status *v1alpha1.ClusterMasterStatus) *masterTotals {
	if status.Refineries == nil || status.Nodes == nil {
		return nil
	}
	return &masterTotals{Refineries: *status.Refineries, Nodes: *status.Nodes, Upstreams: status.Upstreams, Strangers: status.Strangers}
}

// newTotals counts. partial reports whether counts of assigned nodes are too low, as nodes are presumed to be authenticated
// whose upstream is not known.
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
		wanted, authenticated := int(refinery.WantedNodes()), s.Authenticated()
		totals.Refineries.Total++
		if isAuthenticated(refinery, s.Nodes, authenticated, wanted) {
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
		reason, message := d.notReady(u)
		totals.Upstreams = append(totals.Upstreams, v1alpha1.UpstreamStatus{
			Name: u.Name, Address: u.Address, Ready: reason == "", Reason: reason, Message: message, Assigned: assigned[u.Name],
		})
	}
	totals.Strangers, _ = r.Strangers()
	return totals, partial
}
