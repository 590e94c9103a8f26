package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/process"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/scenario"
)

// The server and the load are this executable again.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && (os.Args[1] == string(process.Server) || os.Args[1] == string(process.Load)) {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestEveryScenarioRunsAndIsReported(t *testing.T) {
	out := t.TempDir()
	if err := run(t.Context(), []string{"--quick", "--out", out}); err != nil {
		t.Fatal(err)
	}
	written, err := report.Directory(out).Load()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(written.Comparisons) < len(scenario.All()) {
		t.Errorf("%d comparisons of %d scenarios", len(written.Comparisons), len(scenario.All()))
	}
	for _, c := range written.Comparisons {
		if !bytes.Contains(text, []byte("\n## "+c.Title+"\n")) {
			t.Errorf("%s: performance.md has no section for it", c.Name)
		}
		if _, err := os.Stat(filepath.Join(out, "performance", c.Name+".svg")); err != nil {
			t.Error(err)
		}
		for _, g := range c.Goals {
			if _, measured := c.Estimate(g); !measured {
				t.Errorf("%s: a goal is about %v and %v, which were not measured", c.Name, g.Of, g.To)
			}
		}
		for _, row := range c.Rows {
			for i, samples := range row.Samples {
				if len(samples) != 1 || len(samples[0]) == 0 {
					t.Errorf("%s, %s, %s: %v is not the turns of one repeat", c.Name, row.Subject, c.Metrics[i].Name, samples)
				}
			}
		}
	}
}

func TestWrongFlagsAreAUsageError(t *testing.T) {
	for _, args := range [][]string{
		{"--budget=-1s"}, {"--budget=long"}, {"--only=speed"}, {"--quick"}, {"--budget=2m"}, {"now"}, {"--unknown"},
	} {
		if _, is := run(context.Background(), args).(usageError); !is { //nolint:errorlint // Nothing wraps it.
			t.Errorf("%q is not a usage error", args)
		}
	}
}
