package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
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

// workloadHandler serves the workload beside the agent: GET /upstream and POST /load.
func workloadHandler(p *publisher, l *loads) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /upstream", func(w http.ResponseWriter, _ *http.Request) {
		if u, ok := p.latest(); ok {
			writeJSON(w, http.StatusOK, u)
			return
		}
		writeError(w, http.StatusServiceUnavailable, "no upstream was granted yet: this node has not authenticated; see /readyz of --health-address")
	})
	mux.HandleFunc("POST /load", func(w http.ResponseWriter, r *http.Request) {
		if !fromThisMachine(r) {
			writeError(w, http.StatusForbidden, "load is taken from this machine only, at its loopback address")
			return
		}
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLoadBytes))
		if err == nil {
			err = l.take(text)
		}
		if err != nil {
			writeError(w, http.StatusBadRequest, err.Error())
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return http.NewCrossOriginProtection().Handler(mux) // a page in a browser of this machine says nothing for the workload
}

// fromThisMachine reports whether a request comes over loopback and means it. The Host of a page whose name was made to lead
// here is that name, and a proxy that hands on what others ask says so.
func fromThisMachine(r *http.Request) bool {
	for _, forwarded := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if r.Header.Get(forwarded) != "" {
			return false
		}
	}
	asked := (&url.URL{Host: r.Host}).Hostname()
	return isLoopback(host(r.RemoteAddr)) && (asked == "localhost" || isLoopback(asked))
}

func host(address string) string {
	host, _, _ := net.SplitHostPort(address) // "" is no address
	return host
}

func isLoopback(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.Unmap().IsLoopback()
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

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, struct {
		Error string `json:"error"`
	}{message})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the reader is gone: nothing to tell it
}
