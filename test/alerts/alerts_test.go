// Package alerts holds the tests of the chart's alerts: promtool evaluates each over made-up series, firing and not firing, and
// each has a page of its own.
package alerts

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const (
	chartPath = "../../charts/refinery-operator"
	pages     = "../../docs/runbooks"
	cases     = "testdata/cases.yaml"
)

// rule is an alert.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// groups is the content of a file of rules, and of spec of a PrometheusRule.
type groups struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

// run runs a tool named by an environment variable and gives its output.
func run(t *testing.T, variable string, arguments ...string) string {
	t.Helper()
	tool := os.Getenv(variable)
	if tool == "" {
		t.Fatalf("%s is not set; make test-alerts sets it", variable)
	}
	var stderr bytes.Buffer
	command := exec.Command(tool, arguments...)
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", variable, arguments, err, out, stderr.String())
	}
	return string(out)
}

// rendered are the rules as the chart installs them.
func rendered(t *testing.T) (all []rule, spec []byte) {
	t.Helper()
	manifest := run(t, "HELM", "template", "refinery-operator", chartPath, "--namespace", "refinery-system",
		"--show-only", "templates/monitoring.yaml", "--set", "monitoring.prometheusRule.enabled=true,monitoring.prometheusRule.runbookURL=https://runbooks.example.com")
	var object struct {
		Kind string `json:"kind"`
		Spec groups `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(manifest), &object); err != nil || object.Kind != "PrometheusRule" {
		t.Fatalf("not a PrometheusRule: %v\n%s", err, manifest)
	}
	var whole struct {
		Spec any `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(manifest), &whole); err != nil {
		t.Fatal(err)
	}
	spec, err := yaml.Marshal(whole.Spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range object.Spec.Groups {
		all = append(all, g.Rules...)
	}
	return all, spec
}

func TestAlertsFireWhenTheyShouldAndNotOtherwise(t *testing.T) {
	_, spec := rendered(t)
	folder := t.TempDir()
	content, err := os.ReadFile(cases)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"rules.yaml": spec, "cases.yaml": content} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "PROMTOOL", "check", "rules", filepath.Join(folder, "rules.yaml"))
	run(t, "PROMTOOL", "test", "rules", filepath.Join(folder, "cases.yaml"))
}

func TestEachAlertHasACaseInWhichItFiresAndOneInWhichItDoesNot(t *testing.T) {
	content, err := os.ReadFile(cases)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			Alerts []struct {
				Name     string `json:"alertname"`
				Expected []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, alert := range test.Alerts {
			fires[alert.Name] = fires[alert.Name] || len(alert.Expected) > 0
			silent[alert.Name] = silent[alert.Name] || len(alert.Expected) == 0
		}
	}
	want := map[string]bool{}
	all, _ := rendered(t)
	for _, r := range all {
		want[r.Alert] = true
	}
	if diff := cmp.Diff(want, fires); diff != "" {
		t.Errorf("alerts that fire (-rendered +%s):\n%s", cases, diff)
	}
	if diff := cmp.Diff(want, silent); diff != "" {
		t.Errorf("alerts that do not fire (-rendered +%s):\n%s", cases, diff)
	}
}

func TestEachAlertHasAPage(t *testing.T) {
	want, got := map[string]bool{"README.md": true}, map[string]bool{}
	index, err := os.ReadFile(filepath.Join(pages, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	all, _ := rendered(t)
	for _, r := range all {
		file := r.Alert + ".md"
		want[file] = true
		if r.Annotations["runbook_url"] != "https://runbooks.example.com/"+file {
			t.Errorf("%s has runbook_url %q", r.Alert, r.Annotations["runbook_url"])
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
			t.Errorf("%s lacks summary, description or severity", r.Alert)
		}
		if row := "| [" + r.Alert + "](" + file + ") | " + r.Labels["severity"] + " |"; !strings.Contains(string(index), row) {
			t.Errorf("README.md has no row %q", row)
		}
		page, err := os.ReadFile(filepath.Join(pages, file))
		if err != nil {
			t.Error(err)
			continue
		}
		headings := regexp.MustCompile(`(?m)^#.*$`).FindAllString(string(page), -1)
		if diff := cmp.Diff([]string{"# " + r.Alert, "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"}, headings); diff != "" {
			t.Errorf("headings of %s (-want +got):\n%s", file, diff)
		}
	}
	files, err := os.ReadDir(pages)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		got[file.Name()] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}

// others are metrics that libraries of the operator register.
var others = map[string]bool{"leader_election_master_status": true, "controller_runtime_reconcile_total": true, "workqueue_longest_running_processor_seconds": true}

func TestAlertsReadMetricsThatThereAre(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all, _ := rendered(t)
	for _, r := range all {
		names := regexp.MustCompile(`\b[a-z]+(_[a-z]+){2,}\b`).FindAllString(r.Expr, -1)
		if len(names) == 0 {
			t.Errorf("%s reads no metric", r.Alert)
		}
		for _, name := range names {
			if name != "max_over_time" && name != "min_over_time" && !others[name] && !strings.Contains(string(page), "| `"+name+"` |") {
				t.Errorf("%s reads %s, which docs/metrics.md does not have", r.Alert, name)
			}
		}
	}
}
