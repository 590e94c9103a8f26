package conformance

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func readText(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// rulesOfTheSpecification are those that protocol/spec.md defines.
func rulesOfTheSpecification(t *testing.T) (rules []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^- \*\*(R-\d+\.\d+)\*\*`).FindAllStringSubmatch(readText(t, "../../protocol/spec.md"), -1) {
		rules = append(rules, m[1])
	}
	return rules
}

// casesByRule counts the cases for a peer with mutual TLS.
func casesByRule(t *testing.T, peer side) map[string]int {
	t.Helper()
	o, err := ParseOptions([]string{string(peer), "--list", "--slow"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, c := range casesOf(o) {
		count[c.rule]++
	}
	return count
}

func TestEveryRuleHasACaseOrAReasonForNone(t *testing.T) {
	for _, peer := range []side{master, refinery} {
		rules := rulesOfTheSpecification(t)
		cases := casesByRule(t, peer)
		for _, rule := range rules {
			if reason := unseen[peer][rule]; (cases[rule] > 0) == (reason != "") {
				t.Errorf("%s on a %s has %d cases, and the reason for none %q", rule, peer, cases[rule], reason)
			}
		}
		for rule := range maps.Keys(unseen[peer]) {
			if !slices.Contains(rules, rule) {
				t.Errorf("%s is not in protocol/spec.md", rule)
			}
		}
	}
}

// The table of docs/conformance.md is this one.
func TestTheDocumentSaysWhichRulesHaveNoCase(t *testing.T) {
	var b strings.Builder
	b.WriteString("| rule | on a master | on a refinery |\n|---|---|---|\n")
	for _, rule := range rulesOfTheSpecification(t) {
		m, r := unseen[master][rule], unseen[refinery][rule]
		if m == "" && r == "" {
			continue
		}
		cell := func(reason string) string {
			if reason == "" {
				return "has cases"
			}
			return reason
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", rule, cell(m), cell(r))
	}
	_, section, _ := strings.Cut(readText(t, "../../docs/conformance.md"), "## What it cannot show\n")
	_, table, found := strings.Cut(section, "\n| rule |")
	if d := cmp.Diff(b.String(), "| rule |"+table); !found || d != "" {
		t.Errorf("docs/conformance.md does not end with the table (-want +got):\n%s", d)
	}
}
