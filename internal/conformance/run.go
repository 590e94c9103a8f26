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
)

// Exit codes of Main.
const (
	exitPassed = iota
	exitFailed
	exitUsage
	exitUntested
)

// Main runs the command line (without the program's name) and returns the exit code: 0 what was tested passed, 1 a case
// failed or the run stopped before its end, 2 wrong flags, 3 nothing was tested.
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
	r := newReport(o)
	s, err := prepare(ctx, o, stderr)
	if err != nil {
		r.Error = err.Error()
		return r.finish(o, exitUntested, stdout, stderr)
	}
	defer s.close()
	r.Address = o.Address // Where it listens in fact.
	s.test(ctx, o, r, stdout)
	return r.finish(o, r.conclude(), stdout, stderr)
}

// finish writes the report, and its error where people look for errors, and returns the exit code.
func (r *Report) finish(o *Options, code int, stdout, stderr io.Writer) int {
	if err := r.write(stdout, o.Format); err != nil {
		_, _ = fmt.Fprintln(stderr, "conformance: the report could not be written:", err)
		return max(code, exitFailed)
	}
	if r.Error != "" && (o.Format != "text" || len(r.Unrun) == 0) { // The last line of the text says how many were not run.
		_, _ = fmt.Fprintln(stderr, "conformance:", r.Error)
	}
	return code
}

// prepare makes the suite and probes the peer, so that a peer that cannot be tested is an error before the first case.
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

// test runs the selected cases.
func (s *suite) test(ctx context.Context, o *Options, r *Report, stdout io.Writer) {
	cases := s.selected(o.Run)
	width := 0
	for _, c := range cases {
		width = max(width, len(c.name()))
	}
	stopped := s.run(ctx, cases, func(c Result) {
		r.add(c)
		if o.Format == "text" {
			c.writeText(stdout, width)
		}
	})
	r.stop(cases[len(r.Cases):], stopped)
}

func casesOf(o *Options) []*testCase {
	if o.peer == refinery {
		return newRefineryCases(o)
	}
	return newMasterCases(o)
}
