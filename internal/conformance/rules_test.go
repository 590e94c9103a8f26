package conformance

import (
	"fmt"
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

var (
	bothSides     = []side{master, refinery}
	allTransports = []Transport{MutualTLS, ServerTLS, Plaintext}
)

// listed are all cases and all rules without one, as --list says.
func listed(t *testing.T, peer side, transport Transport) *Listing {
	t.Helper()
	o, err := ParseOptions([]string{string(peer), "--list", "--transport=" + string(transport)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return newListing(o)
}

func TestEveryRuleHasACaseOrAReasonForNone(t *testing.T) {
	rules := rulesOfTheSpecification(t)
	for _, peer := range bothSides {
		for _, transport := range allTransports {
			l := listed(t, peer, transport)
			cases, reasons := map[string]int{}, map[string][]string{}
			for _, c := range l.Cases {
				cases[c.Rule]++
			}
			for _, r := range l.WithoutCase {
				reasons[r.Rule] = append(reasons[r.Rule], r.Reason)
				if !slices.Contains(rules, r.Rule) {
					t.Errorf("%s is not in protocol/spec.md", r.Rule)
				}
			}
			for _, rule := range rules {
				if len(reasons[rule]) > 1 || (cases[rule] > 0) == (len(reasons[rule]) > 0) {
					t.Errorf("%s on a %s over %s has %d cases, and the reasons for none %q", rule, peer, transport, cases[rule], reasons[rule])
				}
			}
		}
	}
}

func TestTheSpecificationHasTheVersionThatReportsState(t *testing.T) {
	heading, _, _ := strings.Cut(readText(t, "../../protocol/spec.md"), "\n")
	if want := "# Cluster Protocol, specification " + Specification; heading != want {
		t.Errorf("protocol/spec.md begins with %q, not %q", heading, want)
	}
}

// The tables of docs/conformance.md are these.
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
	b.WriteString("\nOver one transport these have none either:\n\n| rule | on a | over | |\n|---|---|---|---|\n")
	for _, peer := range bothSides {
		for _, transport := range allTransports {
			for _, r := range withoutCase(peer, transport) {
				if reason, ok := unseenOver[peer][transport][r.Rule]; ok {
					fmt.Fprintf(&b, "| %s | %s | `%s` | %s |\n", r.Rule, peer, transport, reason)
				}
			}
		}
	}
	b.WriteString("\nEvery other rule has at least one case on each, over each transport.\n")
	_, section, _ := strings.Cut(readText(t, documentPath), "## What it cannot show\n")
	_, table, found := strings.Cut(section, "\n| rule |")
	if d := cmp.Diff(b.String(), "| rule |"+table); !found || d != "" {
		t.Errorf("docs/conformance.md does not end with the tables (-want +got):\n%s", d)
	}
}
