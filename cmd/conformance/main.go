// Command conformance tests implementations of the Cluster Protocol over the network. See docs/conformance.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/refinery-operator/refinery-operator/internal/conformance"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := conformance.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
