// Command operator reconciles ClusterMasters and Refineries; see --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/refinery-operator/refinery-operator/internal/operator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := operator.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
