package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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
  --repeats N      how often each is measured; the report shows medians and ranges (default 3, with --quick 1)
  --quick          few sessions and short windows, to see that everything works: the numbers mean nothing
  --report-only    measure nothing: write the report again from the samples that are there
  --profiles DIRECTORY
                   write CPU and heap profiles of the server processes, which costs them time (go tool pprof reads them)
  --out DIRECTORY  where performance.md and the folder performance go (default: docs of the repository)

A comparison whose floor differs by more than 10 % between repeats is measured once more, and if it does so again it is not
printed. Exit code 1 if that happened or something failed, 2 for wrong flags.

Scenarios:
`

// usageError is a wrong command line.
type usageError string

func (e usageError) Error() string { return "bench: " + string(e) + " (see --help)" }

// errWithheld says that not everything is in the report.
var errWithheld = errors.New("not every comparison was printed: the machine was not quiet")

// options are the flags.
type options struct {
	only       []string
	repeats    int
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

// defaultRepeats is what a median with a range needs, and drift to show.
const defaultRepeats = 3

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	only := flags.String("only", "", "")
	flags.IntVar(&o.repeats, "repeats", 0, "")
	flags.BoolVar(&o.quick, "quick", false, "")
	flags.BoolVar(&o.reportOnly, "report-only", false, "")
	flags.StringVar(&o.profiles, "profiles", "", "")
	flags.StringVar(&o.out, "out", "", "")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case o.repeats == 0 && o.quick:
		o.repeats = 1
	case o.repeats == 0:
		o.repeats = defaultRepeats
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	if _, err := scenario.Select(o.only); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q is not a flag", flags.Arg(0))
	case o.repeats < 1:
		return o, fmt.Errorf("--repeats=%d: write a number from 1", o.repeats)
	case o.out == "" && !o.reportOnly && o.repeats < defaultRepeats:
		return o, fmt.Errorf("fewer than %d repeats need --out: such numbers must not replace those of the repository", defaultRepeats)
	}
	return o, nil
}

// measure runs the scenarios and writes the report after each, so that a run that is interrupted keeps what it has.
func measure(ctx context.Context, o options) error {
	root, err := repository(ctx)
	if err != nil {
		return err
	}
	directory := report.Directory(o.out)
	if o.out == "" {
		directory = report.Directory(filepath.Join(root, "docs"))
	}
	machine, err := report.ThisMachine()
	if err != nil {
		return err
	}
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
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return err
		}
	}
	credentials, err := subject.NewCredentials()
	if err != nil {
		return err
	}
	b := &scenario.Bench{
		Repeats: o.repeats, Quick: o.quick, Credentials: credentials, Root: root, Profiles: o.profiles,
		Printf: func(format string, arguments ...any) { fmt.Fprintf(os.Stderr, format+"\n", arguments...) },
	}
	scenarios, err := scenario.Select(o.only)
	if err != nil {
		return err
	}
	revision := revisionOf(ctx, root)
	begun, withheld := time.Now(), false
	for _, s := range scenarios {
		measured, failure := s.Run(ctx, b)
		dated := make([]report.Dated, len(measured))
		for i, c := range measured {
			dated[i] = report.Dated{Date: time.Now().UTC().Format(time.DateOnly), Revision: revision, Comparison: c}
			withheld = withheld || c.Drifted()
			c.Summarize(os.Stdout)
		}
		results = results.Merge(machine, dated)
		if err := errors.Join(failure, directory.Write(results)); err != nil {
			return err
		}
	}
	if len(o.only) == 0 {
		results.Took = time.Since(begun)
		if err := directory.Write(results); err != nil {
			return err
		}
	}
	if withheld {
		return errWithheld
	}
	return nil
}

// repository is the folder of the root module: the module that this one replaces.
func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/refinery-operator/refinery-operator").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository (run it in hack/bench, or with go -C hack/bench run .): %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// revisionOf says which sources were measured. The report itself is none of them.
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
