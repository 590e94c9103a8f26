package master

import (
	"context"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/refinery-operator/refinery-operator/internal/health"
)

// serveHealth serves /healthz, /readyz and /metrics on l until ctx is done. ready returns why the process is not ready, or nil;
// observe updates the gauges before they are read.
func serveHealth(ctx context.Context, l net.Listener, m *metrics, ready func() error, observe func()) error {
	metrics := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return health.Serve(ctx, l, ready, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		observe()
		metrics.ServeHTTP(w, r)
	}))
}
