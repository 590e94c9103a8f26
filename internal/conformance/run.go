// Package conformance tests implementations of the Cluster Protocol over the network, a case a rule of protocol/spec.md.
// It shares no code with package protocol, so that a mistake made there is not made here.
package conformance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
)

// Exit codes of Main.
const (
	exitPassed = iota
	exitFailed
	exitUsage
	exitUntested
)

// Main runs the command line (without the program's name) and returns the exit code: 0 every case passed, 1 some failed
// or were not run, 2 wrong flags, 3 nothing could be tested.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := ParseOptions(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitPassed
	}
	if err == nil && !o.List {
		err = o.load()
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "conformance: %v\n%s", err, usage)
		return exitUsage
	}
	if len((&suite{cases: casesOf(o)}).selected(o.Run)) == 0 {
		_, _ = fmt.Fprintf(stderr, "conformance: no case matches --run; --list shows their names\n%s", usage)
		return exitUsage
	}
	if o.List {
		return list(o, stdout, stderr)
	}
	s, err := prepare(ctx, o, stderr)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "conformance:", err)
		return exitUntested
	}
	defer s.close()
	return s.test(ctx, o, stdout, stderr)
}

// prepare makes the suite and sees that there is something to test.
func prepare(ctx context.Context, o *Options, progress io.Writer) (*suite, error) {
	var s *suite
	if o.peer == master {
		_, _ = fmt.Fprintf(progress, "connecting to %s (%s)\n", o.Address, o.Transport)
		s = masterSuite(o, o.dial)
	} else {
		l, err := net.Listen("tcp", o.Address)
		if err != nil {
			return nil, err
		}
		o.Address = l.Addr().String()
		_, _ = fmt.Fprintf(progress, "waiting on %s (%s) for a refinery, %v at most\n", o.Address, o.Transport, o.ConnectTimeout)
		s = refinerySuite(o, o.accept(l))
		s.listener = l
	}
	if err := s.probe(ctx, o); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close closes the listener, if there is one.
func (s *suite) close() {
	if s.listener != nil {
		_ = s.listener.Close() // Nothing waits for it any more.
	}
}

// test runs the selected cases and writes the report.
func (s *suite) test(ctx context.Context, o *Options, stdout, stderr io.Writer) int {
	cases := s.selected(o.Run)
	width := 0
	for _, c := range cases {
		width = max(width, len(c.name()))
	}
	r := &Report{Tested: string(o.peer), Address: o.Address, Transport: o.Transport}
	s.run(ctx, cases, func(c Result) {
		r.add(c)
		if o.Format == "text" {
			c.writeText(stdout, width)
		}
	})
	for _, c := range cases[len(r.Cases):] {
		r.Unrun = append(r.Unrun, Result{Name: c.name(), Rule: c.rule, Outcome: Skip, Reason: "not run: interrupted"})
	}
	var err error
	switch o.Format {
	case "json":
		err = r.writeJSON(stdout)
	case "junit":
		err = r.writeJUnit(stdout)
	default:
		_, err = fmt.Fprintln(stdout, r.summary())
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "conformance: the report could not be written:", err)
		return exitFailed
	}
	if r.Failed > 0 || len(r.Unrun) > 0 {
		return exitFailed
	}
	return exitPassed
}

func casesOf(o *Options) []*testCase {
	if o.peer == refinery {
		return newRefineryCases(o)
	}
	return newMasterCases(o)
}

func list(o *Options, stdout, stderr io.Writer) int {
	s := &suite{cases: casesOf(o)}
	lines := []string{}
	for _, c := range s.selected(o.Run) {
		lines = append(lines, c.name())
	}
	if o.Run == nil {
		lines = append(lines, unseenLines(o.peer)...)
	}
	if _, err := fmt.Fprintln(stdout, strings.Join(lines, "\n")); err != nil {
		_, _ = fmt.Fprintln(stderr, "conformance:", err)
		return exitFailed
	}
	return exitPassed
}
