package master

import (
	"errors"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/refinery-operator/refinery-operator/internal/master/proxied"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// metrics are what a master counts. No label ever holds anything a peer sent.
type metrics struct {
	registry *prometheus.Registry

	active, epoch prometheus.Gauge
	sessions      *prometheus.GaugeVec
	handshakes    *prometheus.CounterVec
	refused       *prometheus.CounterVec
	ended         *prometheus.CounterVec
	writes        *prometheus.CounterVec
	writeSeconds  prometheus.Histogram
	takeovers     prometheus.Counter
	takeoverTime  prometheus.Gauge
	nodesMoved    *prometheus.CounterVec
	ignored       prometheus.Counter
	load          *loadMetrics
	opening       prometheus.Histogram
}

// newMetrics registers them, with those of the Go runtime and the process, in a registry of their own.
func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		active: prometheus.NewGauge(prometheus.GaugeOpts{Name: "refinery_master_active",
			Help: "1 while this process is the active master."}),
		epoch: prometheus.NewGauge(prometheus.GaugeOpts{Name: "refinery_master_epoch",
			Help: "Epoch of the active master; 0 while this process stands by."}),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "refinery_master_sessions",
			Help: "Connections by state: Authenticated, Handshaking, Waiting."}, []string{"state"}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "refinery_master_handshakes_total",
			Help: "Handshakes by result: Authenticated, the reason of a refusal, or Incomplete."}, []string{"result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "refinery_master_refused_connections_total",
			Help: "Connections that ended before conn:establish was read, by cause."}, []string{"cause"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "refinery_master_ended_sessions_total",
			Help: "Authenticated sessions that ended, by reason."}, []string{"reason"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "refinery_master_status_writes_total",
			Help: "Status writes by kind and result: ok, gone, deposed, error."}, []string{"kind", "result"}),
		writeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "refinery_master_status_write_seconds",
			Help: "Time of a status write.", Buckets: prometheus.ExponentialBuckets(0.002, 2, 13)}),
	}
	m.takeovers = prometheus.NewCounter(prometheus.CounterOpts{Name: "refinery_master_takeovers_total",
		Help: "Times that this process became active after another master was."})
	m.takeoverTime = prometheus.NewGauge(prometheus.GaugeOpts{Name: "refinery_master_takeover_seconds",
		Help: "Time from when this process became active until the last node of the former master came back that did so within the alive timeout."})
	m.nodesMoved = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "refinery_master_taken_over_nodes_total",
		Help: "Nodes that were authenticated at a former master, by whether they connected here within the alive timeout: Back, Lost."}, []string{"result"})
	m.ignored = prometheus.NewCounter(prometheus.CounterOpts{Name: "refinery_master_ignored_reports_total",
		Help: "Values of status and load that nodes reported, and that were not valid."})
	m.load = newLoadMetrics()
	m.opening = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "refinery_master_opening_seconds",
		Help: "Time from conn:establish to the node's auth:ack, of handshakes that ended in Authenticated.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)})
	m.registry.MustRegister(m.ignored, m.load, m.opening, m.takeovers, m.takeoverTime, m.nodesMoved,
		m.active, m.epoch, m.sessions, m.handshakes, m.refused, m.ended, m.writes, m.writeSeconds,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// lead begins a term, with the registry of its nodes.
func (m *metrics) lead(epoch int64, r *registry) {
	m.load.registry.Store(r)
	m.active.Set(1)
	m.epoch.Set(float64(epoch))
}

func (m *metrics) tookOver(took time.Duration, moved move) {
	m.takeovers.Inc()
	m.takeoverTime.Set(took.Seconds())
	m.nodesMoved.WithLabelValues("Back").Add(float64(moved.Back))
	m.nodesMoved.WithLabelValues("Lost").Add(float64(moved.Presumed - moved.Back))
}

func (m *metrics) standBy() {
	m.load.registry.Store(nil)
	m.active.Set(0)
	m.epoch.Set(0)
	m.observe(protocol.Stats{})
}

func (m *metrics) observe(s protocol.Stats) {
	m.sessions.WithLabelValues("Authenticated").Set(float64(s.Sessions))
	m.sessions.WithLabelValues("Handshaking").Set(float64(s.Handshaking))
	m.sessions.WithLabelValues("Waiting").Set(float64(s.Waiting))
}

func (m *metrics) wrote(kind, result string, took time.Duration) {
	m.writes.WithLabelValues(kind, result).Inc()
	m.writeSeconds.Observe(took.Seconds())
}

// refusal is what protocol.ServerOptions.OnRefused calls.
func (m *metrics) refusal(_ net.Addr, cause error) {
	label := "Network"
	for _, known := range []struct {
		err   error
		label string
	}{
		{protocol.ErrPeerClosed, "PeerClosed"}, {protocol.ErrHandshakeTimeout, "Timeout"}, {protocol.ErrTLS, "TLS"},
		{protocol.ErrProtocol, "Protocol"}, {protocol.ErrTooManySessions, "TooManySessions"},
		{protocol.ErrTooManyHandshakes, "TooManyHandshakes"}, {protocol.ErrTooManyFromSource, "TooManyFromSource"},
		{protocol.ErrServerClosed, "ServerClosed"}, {proxied.ErrRefused, "ProxyProtocol"},
	} {
		if errors.Is(cause, known.err) {
			label = known.label
			break
		}
	}
	m.refused.WithLabelValues(label).Inc()
}
