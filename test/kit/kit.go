// Package kit runs the conformance kit in tests of what is delivered.
package kit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/refinery-operator/refinery-operator/internal/conformance"
	"github.com/refinery-operator/refinery-operator/test/late"
)

// Run runs the kit with these arguments, and fails the test unless every case passes that is not skipped. Against a
// refinery it calls listening, if not nil, with the address that the refinery has to connect to, until the test ends.
func Run(ctx context.Context, t *testing.T, listening func(address string), args ...string) (skipped []string) {
	t.Helper()
	var report, address string
	progress := &firstLine{told: func(line string) {
		if listening != nil && address == "" {
			address = strings.Fields(line)[2] // "waiting on ADDRESS (...)"
			listening(address)
		}
	}}
	failed := late.Again(t, func(only string) (failed, late []string) {
		again := slices.Clone(args)
		if only != "" {
			again = append(again, "--run="+only)
		}
		if address != "" { // where the refinery goes on connecting to
			again = append(again, "--listen="+address)
		}
		text, r := run(ctx, again, progress)
		report += text
		failed, late, left := outcomes(r)
		if only == "" {
			skipped = left
		}
		return failed, late
	})
	if len(failed) > 0 {
		t.Errorf("%q failed\n%s%s", failed, &progress.text, report)
	}
	return skipped
}

// outcomes returns the names of the cases that did not pass: failed, late those of them that failed while the machine was
// late, and skipped. A run that stopped before its end failed as a whole.
func outcomes(r conformance.Report) (failed, late, skipped []string) {
	for _, c := range r.Cases {
		switch c.Outcome {
		case conformance.Skip:
			skipped = append(skipped, c.Name)
		case conformance.Fail:
			failed = append(failed, c.Name)
			if c.Late > 0 && len(r.Unrun) == 0 {
				late = append(late, c.Name)
			}
		}
	}
	for _, c := range r.Unrun {
		failed = append(failed, c.Name)
	}
	if len(failed) == 0 && r.Error != "" {
		failed = append(failed, r.Error)
	}
	return failed, late, skipped
}

// run returns the report of a run, and what in it did not pass as text.
func run(ctx context.Context, args []string, progress *firstLine) (text string, r conformance.Report) {
	var stdout bytes.Buffer
	code := conformance.Main(ctx, append(args, "--format=json"), &stdout, progress)
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		r.Error = fmt.Sprintf("exit code %d, and the report is not JSON: %v", code, err)
		return stdout.String(), r
	}
	for _, c := range slices.Concat(r.Cases, r.Unrun) {
		if shown, err := json.MarshalIndent(c, "", "  "); err == nil && c.Outcome != conformance.Pass {
			text += string(shown) + "\n"
		}
	}
	return text, r
}

// firstLine hands on the first line written to it.
type firstLine struct {
	told func(line string)
	text bytes.Buffer
}

func (w *firstLine) Write(p []byte) (int, error) {
	if w.text.Len() == 0 {
		w.told(string(p))
	}
	return w.text.Write(p)
}
