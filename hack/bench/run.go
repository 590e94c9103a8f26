package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/load"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/preflight"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/process"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/scenario"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

const help = `Measures the protocol library beside its floor (bare sockets that exchange the same bytes) and its peers, and writes the
report. Server and load are processes of their own, each on a core of its own, on loopback. It needs Linux and two quiet cores.

Usage: make bench, or go -C hack/bench run . [FLAG...]

  --only NAMES     only these scenarios, separated by commas; the report keeps what was measured of the others before
  --budget TIME    how long to measure, such as 2m (default: as long as the scenarios need, 14m for all of them)
  --quick          few sessions and short windows, to see that everything works: the numbers mean nothing
  --report-only    measure nothing: write the report again from the samples that are there
  --profiles DIRECTORY
                   write CPU and heap profiles of the server processes, which costs them time (go tool pprof reads them)
  --out DIRECTORY  where performance.md and the folder performance go (default: docs of the repository)

Exit code 1 if a goal is missed, if something could not be measured, or if it does not measure as the machine is busy with
something else; 2 for wrong flags. A goal that the measurements cannot decide is no failure.

Scenarios:
`

// usageError is a wrong command line.
type usageError string

func (e usageError) Error() string { return "bench: " + string(e) + " (see --help)" }

// options are the flags.
type options struct {
	scenarios  []scenario.Scenario
	all        bool // of the scenarios
	budget     time.Duration
	quick      bool
	reportOnly bool
	profiles   string
	out        string
}

func run(ctx context.Context, args []string) error {
	if len(args) == 1 {
		switch role := process.Role(args[0]); role {
		case process.Server:
			return process.Serve(role, &subject.Server{})
		case process.Load:
			return process.Serve(role, &load.Load{})
		}
	}
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Print(help)
		for _, s := range scenario.All() {
			fmt.Printf("  %-12s %s\n", s.Name, s.What)
		}
		return nil
	}
	if err != nil {
		return usageError(err.Error())
	}
	return measure(ctx, o)
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	only := flags.String("only", "", "")
	flags.DurationVar(&o.budget, "budget", 0, "")
	flags.BoolVar(&o.quick, "quick", false, "")
	flags.BoolVar(&o.reportOnly, "report-only", false, "")
	flags.StringVar(&o.profiles, "profiles", "", "")
	flags.StringVar(&o.out, "out", "", "")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.scenarios, err = scenario.Select(*only); err != nil {
		return o, err
	}
	o.all = *only == ""
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q is not a flag", flags.Arg(0))
	case o.budget < 0:
		return o, fmt.Errorf("--budget=%v is not a valid time: write one such as 2m", o.budget)
	case o.out == "" && (o.budget > 0 || o.quick):
		return o, errors.New("--budget and --quick need --out: such numbers must not replace those of the repository")
	}
	return o, nil
}

// measure runs the scenarios and writes the report after each comparison, so that a run that is interrupted keeps what it has.
func measure(ctx context.Context, o options) error {
	root, err := repository(ctx)
	if err != nil {
		return err
	}
	directory := report.Directory(cmp.Or(o.out, filepath.Join(root, "docs")))
	results, err := directory.Load()
	if err != nil {
		return err
	}
	if o.reportOnly {
		return directory.Write(results)
	}
	if !o.quick {
		if err := preflight.Look(os.DirFS("/proc"), preflight.Connect); err != nil {
			return fmt.Errorf("nothing is measured: %w", err)
		}
	}
	bench, machine, err := prepare(o, root)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(bench.Scratch) }() // The system empties its temporary folder in the end.
	revision := revisionOf(ctx, root)
	begun := time.Now()
	measured := map[string]report.Comparison{}
	err = bench.Run(ctx, o.scenarios, func(c report.Comparison) error {
		c.Summarize(os.Stdout)
		measured[c.Name] = c
		results = results.Merge(machine, report.Dated{Date: time.Now().UTC().Format(time.DateOnly), Revision: revision, Comparison: c})
		return directory.Write(results)
	})
	if err != nil {
		return err
	}
	if o.all {
		results.Took = time.Since(begun)
		if err := directory.Write(results); err != nil {
			return err
		}
	}
	return report.Outcome(slices.Collect(maps.Values(measured)))
}

// prepare makes what the scenarios need, and says on which machine they run. The caller removes the Scratch folder.
func prepare(o options, root string) (*scenario.Bench, report.Machine, error) {
	machine, err := report.ThisMachine()
	if err != nil {
		return nil, machine, err
	}
	b := &scenario.Bench{
		Quick: o.quick, Budget: o.budget, Root: root, Profiles: o.profiles, Now: time.Now,
		Credentials: subject.NewCredentials(),
		Printf:      func(format string, arguments ...any) { fmt.Fprintf(os.Stderr, format+"\n", arguments...) },
	}
	for _, event := range process.Events() {
		how := "counted"
		if reason := event.Countable(); reason != nil {
			how = fmt.Sprintf("not counted on this machine (%v)", reason)
		} else {
			b.Counted = append(b.Counted, event)
		}
		machine.Counts = append(machine.Counts, report.Count{What: string(event), How: how})
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return nil, machine, err
		}
	}
	b.Scratch, err = os.MkdirTemp("", "bench-")
	return b, machine, err
}

// repository is the folder of the root module: the module that this one replaces.
func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/refinery-operator/refinery-operator").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository (run it in hack/bench, or with go -C hack/bench run .): %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// revisionOf says which sources were measured. The report itself is not one of them.
func revisionOf(ctx context.Context, root string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", root, "describe", "--always").Output()
	if err != nil {
		return "unknown"
	}
	revision := strings.TrimSpace(string(out))
	changed := exec.CommandContext(ctx, "git", "-C", root, "diff", "--quiet", "HEAD", "--", ".", ":!docs/performance.md", ":!docs/performance")
	if changed.Run() != nil {
		revision += "-dirty"
	}
	return revision
}
