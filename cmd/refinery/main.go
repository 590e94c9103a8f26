// Command refinery is the agent of one refinery node. See docs/agent.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/refinery-operator/refinery-operator/internal/agent"
)

func main() {
	config, err := agent.ParseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Print(agent.Usage())
		return
	}
	if err == nil {
		err = run(config)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "refinery: "+err.Error())
		os.Exit(2)
	}
}

func run(config agent.Config) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return agent.Run(ctx, config, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}
