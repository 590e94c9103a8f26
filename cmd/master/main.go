// Command master is the master pod of a ClusterMaster; see --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/refinery-operator/refinery-operator/internal/master"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := master.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
