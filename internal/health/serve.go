// Package health is how a process shows that it lives and whether it is ready, and how it waits for the API server until it
// is: the kubelet, and whoever asks, get an answer before anything else works.
package health

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Serve serves /healthz and /readyz on l until ctx is done, and /metrics if metrics is not nil. ready returns why the process
// is not ready, or nil.
func Serve(ctx context.Context, l net.Listener, ready func() error, metrics http.Handler) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}
