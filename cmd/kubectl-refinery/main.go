// Command kubectl-refinery is kubectl refinery; see --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/refinery-operator/refinery-operator/internal/kubectl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := kubectl.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
