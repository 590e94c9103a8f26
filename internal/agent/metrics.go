package agent

import (
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/refinery-operator/refinery-operator/internal/relay"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

// metrics of one agent. Every label takes its values from a fixed set.
type metrics struct {
	registry      *prometheus.Registry
	authenticated prometheus.Gauge
	handshakes    *prometheus.CounterVec
	reconnects    prometheus.Counter
	certificate   *prometheus.CounterVec
	notAfter      prometheus.Gauge
	loads         *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		authenticated: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "refinery_agent_authenticated", Help: "1 while a session with the master is authenticated."}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refinery_agent_handshakes_total", Help: "Attempts to authenticate, by how they ended."}, []string{"result"}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "refinery_agent_reconnects_total", Help: "Sessions that ended and had to be made anew."}),
		certificate: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refinery_agent_certificate_reloads_total", Help: "Changes of the certificate files, by whether they could be used."}, []string{"result"}),
		notAfter: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "refinery_agent_certificate_expiry_timestamp_seconds", Help: "End of validity of the node's own certificate, in Unix time; 0 without one."}),
	}
	m.loads = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "refinery_agent_load_reports_total", Help: "What the workload said of its load and status, by whether it was valid."}, []string{"result"})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "refinery_agent_build_info", Help: "Always 1; the label is the agent's own version.",
		ConstLabels: prometheus.Labels{"version": version.Version}})
	build.Set(1)
	m.registry.MustRegister(m.authenticated, m.handshakes, m.reconnects, m.certificate, m.notAfter, m.loads, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, r := range results {
		m.handshakes.WithLabelValues(string(r))
	}
	for _, counted := range []*prometheus.CounterVec{m.certificate, m.loads} {
		counted.WithLabelValues("accepted")
		counted.WithLabelValues("rejected")
	}
	return m
}

// addRelay shows what a relay counts.
func (m *metrics) addRelay(c *relay.Counters) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "refinery_agent_relay_open_connections", Help: "Connections of the workload that the relay has open."},
		func() float64 { return float64(c.Open.Load()) }))
	register(m, "refinery_agent_relay_connections_total", "Connections that the relay accepted, by what became of them.", "result", c.Connections)
	register(m, "refinery_agent_relay_cut_total", "Connections that the relay ended, by reason.", "reason", c.Cut)
	register(m, "refinery_agent_relay_bytes_total", "Bytes that the relay handed on, within 10 s of when it did.", "direction", c.Bytes)
}

// register adds a counter for each value of a label.
func register[K ~string](m *metrics, name, help, label string, by map[K]*atomic.Uint64) {
	for value, n := range by {
		m.registry.MustRegister(prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{label: string(value)}},
			func() float64 { return float64(n.Load()) }))
	}
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
