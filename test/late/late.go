// Package late tells a failure from what a busy machine makes of a check that goes by the time, such as the cases of the
// conformance kit: it looks how late timers come while the check runs.
package late

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	// tolerable is by how much a timer may come late on a machine that has time for the check.
	tolerable = 20 * time.Millisecond
	interval  = 5 * time.Millisecond
	// tries bounds how often something that keeps failing is tried.
	tries = 6
)

// Again runs check and returns the names of what failed. Where timers came late meanwhile it runs those parts once more,
// a few times at most: what is broken fails each time. only matches the names of what check is to run, all if it is empty.
func Again(t testing.TB, check func(only string) (failed []string)) (failed []string) {
	t.Helper()
	return again(t, check, worst)
}

func again(t testing.TB, check func(only string) (failed []string), lateness func(during func()) time.Duration) (failed []string) {
	t.Helper()
	only := ""
	for try := 1; ; try++ {
		by := lateness(func() { failed = check(only) })
		if len(failed) == 0 || by < tolerable || try == tries {
			return failed
		}
		t.Logf("timers came up to %v late; once more: %q", by, failed)
		names := make([]string, len(failed))
		for i, name := range failed {
			names[i] = regexp.QuoteMeta(name)
		}
		only = "^(" + strings.Join(names, "|") + ")$"
	}
}

// worst runs f and returns by how much a timer came late meanwhile, at worst.
func worst(f func()) (lateness time.Duration) {
	over, measured := make(chan struct{}), make(chan time.Duration)
	go func() {
		var worst time.Duration
		for {
			due := time.Now().Add(interval)
			select {
			case <-over:
				measured <- worst
				return
			case <-time.After(interval):
				worst = max(worst, time.Since(due))
			}
		}
	}()
	f()
	close(over)
	return <-measured
}
