// Package late runs cases of the conformance kit once more that failed while the machine was later than they tolerate.
package late

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// RetriedCases is the environment variable with the path of a file to which the names of cases are added that were run again:
// of a test that passes, go test shows nothing.
const RetriedCases = "RETRIED_CASES"

// Again runs the kit and returns the names of what failed. Those of them that are late as well it runs once more, and they
// failed if they do so again. only matches the names of what run is to run, all if it is empty.
func Again(t testing.TB, run func(only string) (failed, late []string)) (failed []string) {
	t.Helper()
	failed, late := run("")
	if len(late) == 0 {
		return failed
	}
	if err := record(t, late); err != nil {
		t.Errorf("%s: %v", RetriedCases, err)
	}
	names := make([]string, len(late))
	for i, name := range late {
		names[i] = regexp.QuoteMeta(name)
	}
	failed = slices.DeleteFunc(failed, func(name string) bool { return slices.Contains(late, name) })
	again, _ := run("^(" + strings.Join(names, "|") + ")$")
	return append(failed, again...)
}

// record says in the test's log and in the file of RetriedCases what is run again.
func record(t testing.TB, late []string) error {
	t.Helper()
	text := fmt.Sprintf("%s: run once more, for the machine was late: %q\n", t.Name(), late)
	t.Log(text)
	path := os.Getenv(RetriedCases)
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
