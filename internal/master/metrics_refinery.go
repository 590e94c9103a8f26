package master

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var (
	wantedNodes = prometheus.NewDesc("refinery_master_nodes_wanted",
		"Nodes of a Refinery that should be authenticated; 0 while its spec.access is Suspended.", []string{"refinery"}, nil)
	authenticatedNodesNow = prometheus.NewDesc("refinery_master_nodes_authenticated",
		"Nodes of a Refinery that are authenticated, or were at the former master and still have time to come back.", []string{"refinery"}, nil)
	deniedHandshakes = prometheus.NewDesc("refinery_master_denied_handshakes_total",
		"Handshakes that were denied since this process became active, by the Refinery that the node proved to be of and by reason.", []string{"refinery", "reason"}, nil)
)

// refineryMetrics are those of each Refinery in a term. They are registered while the term lasts, so that a standby has none.
type refineryMetrics struct {
	directory *directory
	registry  *registry
}

// Describe implements prometheus.Collector.
func (m *refineryMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- wantedNodes
	to <- authenticatedNodesNow
	to <- deniedHandshakes
}

// Collect implements prometheus.Collector. A Refinery that was deleted has no series any more, though sessions of it may still
// be closing.
func (m *refineryMetrics) Collect(to chan<- prometheus.Metric) {
	for name, count := range m.registry.Counts() {
		refinery := m.directory.Refinery(name)
		if refinery == nil {
			continue
		}
		wanted := refinery.WantedNodes()
		if refinery.Spec.Access == v1alpha1.AccessSuspended {
			wanted = 0
		}
		to <- prometheus.MustNewConstMetric(wantedNodes, prometheus.GaugeValue, float64(wanted), name)
		to <- prometheus.MustNewConstMetric(authenticatedNodesNow, prometheus.GaugeValue, float64(count.Authenticated), name)
		for reason, denied := range count.Denied {
			to <- prometheus.MustNewConstMetric(deniedHandshakes, prometheus.CounterValue, float64(denied), name, reason)
		}
	}
}

// nodeCount is what the registry counts of one Refinery.
type nodeCount struct {
	// Authenticated are the nodes that are, or are presumed to be.
	Authenticated int
	// Denied counts handshakes by reason.
	Denied map[string]int
}

// Counts returns those of all Refineries, by name.
func (r *registry) Counts() map[string]nodeCount {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := make(map[string]nodeCount, len(r.groups))
	for name, g := range r.groups {
		counts[name] = nodeCount{Authenticated: g.authenticated(), Denied: maps.Clone(g.denied)}
	}
	return counts
}
