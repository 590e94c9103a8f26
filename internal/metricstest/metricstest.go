// Package metricstest compares the metrics that a program registers with docs/metrics.md, and with the conventions of Prometheus.
package metricstest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

var update = flag.Bool("update", false, "write the tables of docs/metrics.md")

// page is relative to a package two folders below the root of the module.
var page = filepath.Join("..", "..", "docs", "metrics.md")

// described reads what a prometheus.Desc says of itself, which has no other way to be asked.
var described = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "(.+)", unit: "[^"]*", constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}\}$`)

// constant finds the names of constant labels.
var constant = regexp.MustCompile(`([a-z_]+)="[^"]*"`)

// Check expects that docs/metrics.md has exactly the metrics of a registry whose names begin with a prefix, in a table of its own
// between two comments that name the prefix, and that they keep to the conventions. Each of them needs a series, since only a
// series tells the type.
func Check(t *testing.T, registry *prometheus.Registry, prefix string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families = slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), prefix) })
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	kinds := map[string]string{}
	for _, f := range families {
		kinds[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	compare(t, prefix, rows(t, registry, prefix, kinds))
}

// rows are the lines of the table, sorted.
func rows(t *testing.T, registry *prometheus.Registry, prefix string, kinds map[string]string) (lines []string) {
	t.Helper()
	descriptions := make(chan *prometheus.Desc)
	go func() { registry.Describe(descriptions); close(descriptions) }()
	for d := range descriptions {
		if !strings.Contains(d.String(), `"`+prefix) {
			continue
		}
		found := described.FindStringSubmatch(d.String())
		if found == nil {
			t.Errorf("cannot read %s", d)
			continue
		}
		name, help, labels := found[1], strings.ReplaceAll(found[2], `\"`, `"`), []string{}
		for _, label := range constant.FindAllStringSubmatch(found[3], -1) {
			labels = append(labels, label[1])
		}
		labels = append(labels, strings.FieldsFunc(found[4], func(r rune) bool { return r == ',' })...)
		for i, label := range labels {
			labels[i] = "`" + label + "`"
		}
		if kinds[name] == "" {
			t.Errorf("%s has no series in this test: let it have one", name)
		}
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s | %s |", name, kinds[name], strings.Join(labels, ", "), help))
	}
	slices.Sort(lines)
	return slices.Compact(lines) // a value of a constant label has a description for itself
}

// compare expects lines between the comments of the page, or writes them there.
func compare(t *testing.T, prefix string, lines []string) {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- begin "+prefix+" -->\n", "<!-- end "+prefix+" -->\n"
	before, rest, found := strings.Cut(string(content), begin)
	is, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no lines %q and %q", page, begin, end)
	}
	want := "| metric | type | labels | |\n|---|---|---|---|\n" + strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, is); diff != "" {
		t.Errorf("run make generate; docs/metrics.md (-registered +page):\n%s", diff)
	}
}
