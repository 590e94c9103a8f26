package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// newServer bounds everything a client could hold open.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// workloadHandler serves the workload beside the agent: GET /upstream.
func workloadHandler(p *publisher) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /upstream", func(w http.ResponseWriter, _ *http.Request) {
		if u, ok := p.latest(); ok {
			writeJSON(w, http.StatusOK, u)
			return
		}
		writeJSON(w, http.StatusServiceUnavailable, struct {
			Error string `json:"error"`
		}{"no upstream was granted yet: this node has not authenticated; see /readyz of --health-address"})
	})
	return mux
}

// healthHandler serves the kubelet and Prometheus.
func healthHandler(r *readiness, m *metrics) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !r.alive() {
			writeText(w, http.StatusServiceUnavailable, "the dial loop is stuck")
			return
		}
		writeText(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready, detail, since := r.get()
		body := fmt.Sprintf("%s (since %s; the clock of this machine shows %s)", detail, since.UTC().Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339))
		if !ready {
			writeText(w, http.StatusServiceUnavailable, body)
			return
		}
		writeText(w, http.StatusOK, body)
	})
	mux.Handle("GET /metrics", m.handler())
	return mux
}

func writeText(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, line+"\n") // the reader is gone: nothing to tell it
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the reader is gone: nothing to tell it
}
