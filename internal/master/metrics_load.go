package master

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// loadMetrics are what the nodes of this term say of their load, counted when they are scraped: every scrape shows one moment,
// also if several come at a time, and a Refinery whose nodes say nothing has no series, which an autoscaler takes for unknown.
type loadMetrics struct {
	registry   atomic.Pointer[registry] // nil while this process stands by
	sum, nodes *prometheus.Desc
}

func newLoadMetrics() *loadMetrics {
	labels := []string{"refinery", "upstream"}
	return &loadMetrics{
		sum: prometheus.NewDesc("refinery_master_node_load",
			"Sum of the load, from 0 to 1 each, of the authenticated nodes that report it.", labels, nil),
		nodes: prometheus.NewDesc("refinery_master_node_load_reporters",
			"Authenticated nodes that report their load.", labels, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *loadMetrics) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- m.sum
	descriptions <- m.nodes
}

// Collect implements prometheus.Collector.
func (m *loadMetrics) Collect(collected chan<- prometheus.Metric) {
	r := m.registry.Load()
	if r == nil {
		return
	}
	for at, l := range r.Loads() {
		collected <- prometheus.MustNewConstMetric(m.sum, prometheus.GaugeValue, l.Sum, at.Refinery, at.Upstream)
		collected <- prometheus.MustNewConstMetric(m.nodes, prometheus.GaugeValue, float64(l.Nodes), at.Refinery, at.Upstream)
	}
}
