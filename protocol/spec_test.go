package protocol

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// table returns the rows of the state table below a heading of spec.md: by state, which codes are no violation.
func table(t *testing.T, spec, heading string) map[string]codeSet {
	t.Helper()
	_, section, ok := strings.Cut(spec, heading)
	if !ok {
		t.Fatalf("spec.md has no %q", heading)
	}
	var columns [][]code
	rows := make(map[string]codeSet)
	for l := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(l), "|"), "|")
		if len(cells) < 2 {
			if len(rows) > 0 {
				break
			}
			continue
		}
		if columns == nil {
			for _, cell := range cells[1:] {
				var column []code
				for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
					column = append(column, parseCode([]byte(name[1])))
				}
				columns = append(columns, column)
			}
			continue
		}
		names, _, _ := strings.Cut(cells[0], ":")
		for name := range strings.SplitSeq(names, ",") {
			for i, cell := range cells[1:] {
				if cell = strings.TrimSpace(cell); cell == "" {
					t.Errorf("%s has an empty cell", l)
				} else if cell != "V" {
					rows[strings.TrimSpace(name)] |= codes(columns[i]...)
				}
			}
		}
	}
	return rows
}

func TestStateTablesAreThoseOfTheSpecification(t *testing.T) {
	spec, err := os.ReadFile("spec.md")
	if err != nil {
		t.Fatal(err)
	}
	every := codes(codeEstablish, codeStartAuth, codeAuthStart, codeAuthAck, codeAuthDec, codeClose, codeAlive)
	for heading, takes := range map[string]expected{"### 4.1 ": masterTakes, "### 4.2 ": refineryTakes} {
		rows := table(t, string(spec), heading)
		for s := range StateClosed {
			if got, want := takes[s]&every, rows[s.String()]; got != want {
				t.Errorf("%s state %v takes %b, spec.md says %b", heading, s, got, want)
			}
		}
	}
}

func TestEveryRuleThatIsCitedIsInTheSpecification(t *testing.T) {
	spec, err := os.ReadFile("spec.md")
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, m := range regexp.MustCompile(`(?m)^- \*\*(R-\d+\.\d+)\*\*`).FindAllStringSubmatch(string(spec), -1) {
		if slices.Contains(rules, m[1]) {
			t.Errorf("spec.md has %s twice", m[1])
		}
		rules = append(rules, m[1])
	}
	for _, dir := range []string{".", "testdata"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			content, err := os.ReadFile(dir + "/" + e.Name())
			if err != nil {
				t.Fatal(err)
			}
			for _, rule := range regexp.MustCompile(`R-\d+\.\d+`).FindAllString(string(content), -1) {
				if !slices.Contains(rules, rule) {
					t.Errorf("%s cites %s, which spec.md does not have", e.Name(), rule)
				}
			}
		}
	}
}
