// Command outage prints a table of what nodes notice when parts of the control plane are away. It runs test/outage with a number
// of nodes; make bench-outage has what it needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/preflight"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-outage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	nodes := flag.Int("nodes", 1000, "how many nodes there are")
	only := flag.String("only", "", "only these scenarios, separated by commas, such as MasterDeleted,MasterKilled")
	flag.Parse()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return errors.New("KUBEBUILDER_ASSETS is not set: there is no etcd and no kube-apiserver; use make bench-outage")
	}
	if err := preflight.Look(os.DirFS("/proc"), preflight.Connect); err != nil {
		return fmt.Errorf("nothing is measured: %w", err)
	}
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/refinery-operator/refinery-operator").Output()
	if err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	scratch, err := os.MkdirTemp("", "bench-outage-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }() // The system empties its temporary folder in the end.
	return measure(ctx, filepath.Join(strings.TrimSpace(string(root)), "test", "outage"), scratch, *nodes, *only)
}

// measure shows on standard error what the tests say, and writes their table to standard output, also if a goal is missed.
func measure(ctx context.Context, source, scratch string, nodes int, only string) error {
	program, table := filepath.Join(scratch, "outage.test"), filepath.Join(scratch, "table")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, ".") //nolint:gosec // of this repository
	build.Dir, build.Stderr = source, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("compile test/outage: %w", err)
	}
	scenarios := "^TestOutage$"
	if only != "" {
		scenarios += "/^(" + strings.ReplaceAll(only, ",", "|") + ")$"
	}
	test := exec.CommandContext(ctx, program, "-test.v", "-test.timeout=0", "-test.run="+scenarios, //nolint:gosec // as above
		"-all", fmt.Sprintf("-nodes=%d", nodes), "-table="+table)
	test.Dir, test.Stdout, test.Stderr = source, os.Stderr, os.Stderr
	failed := test.Run()
	measured, err := os.ReadFile(table) //nolint:gosec // of this process
	if err != nil {
		return errors.Join(failed, fmt.Errorf("nothing was measured: %w", err))
	}
	fmt.Print(string(measured))
	if failed != nil {
		return errors.New("not all goals were reached, or something could not be measured: see above")
	}
	return nil
}
