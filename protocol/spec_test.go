package protocol

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

var (
	ruleCited   = regexp.MustCompile(`R-\d+\.\d+`)
	ruleDefined = regexp.MustCompile(`(?m)^- \*\*(R-\d+\.\d+)\*\*( \*\(program\)\*)?`)
)

// filesOf returns the files that match one of the patterns.
func filesOf(patterns ...string) (files []string) {
	for _, pattern := range patterns {
		matching, _ := filepath.Glob(pattern) // The pattern is good.
		files = append(files, matching...)
	}
	return files
}

func specification(t *testing.T) string {
	t.Helper()
	spec, err := os.ReadFile("spec.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(spec)
}

// tableBelow returns the cells of the first table below a line of spec.md, its heading first.
func tableBelow(t *testing.T, spec, line string) (rows [][]string) {
	t.Helper()
	_, section, ok := strings.Cut(spec, line)
	if !ok {
		t.Fatalf("spec.md has no %q", line)
	}
	for l := range strings.Lines(section) {
		l = strings.TrimSpace(l)
		if !strings.HasPrefix(l, "|") {
			if len(rows) > 0 {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(l, "|"), "|")
		for i := range cells {
			if cells[i] = strings.TrimSpace(cells[i]); cells[i] == "" {
				t.Errorf("spec.md has an empty cell in %s", l)
			}
		}
		rows = append(rows, cells)
	}
	return slices.Delete(rows, 1, 2) // The line of dashes.
}

// stateTable returns the cells of a state table of spec.md by state, as State.String has it, and code.
func stateTable(t *testing.T, spec, heading string) map[string]map[wire.Code]string {
	t.Helper()
	rows := tableBelow(t, spec, heading)
	var columns [][]wire.Code
	for _, cell := range rows[0][1:] {
		var column []wire.Code
		for name := range strings.SplitSeq(cell, ", ") {
			column = append(column, wire.ParseCode([]byte(strings.Trim(name, "`"))))
		}
		columns = append(columns, column)
	}
	cells := make(map[string]map[wire.Code]string)
	for _, row := range rows[1:] {
		names, _, _ := strings.Cut(row[0], ":")
		for name := range strings.SplitSeq(names, ", ") {
			cells[name] = make(map[wire.Code]string)
			for i, cell := range row[1:] {
				for _, c := range columns[i] {
					cells[name][c] = cell
				}
			}
		}
	}
	return cells
}

func TestStateTablesAreThoseOfTheSpecification(t *testing.T) {
	spec := specification(t)
	for heading, takes := range map[string]expected{"### 4.1 ": masterTakes, "### 4.2 ": refineryTakes} {
		cells := stateTable(t, spec, heading)
		for s := range StateClosed {
			for c := wire.CodeNone + 1; c < wire.CodeCount; c++ {
				cell, known := cells[s.String()][c]
				if !known || takes[s].has(c) != (cell != "V") {
					t.Errorf("%s state %v takes %v: %v; spec.md says %q", heading, s, c, takes[s].has(c), cell)
				}
				if c == wire.CodeClose && (!strings.Contains(cell, "close") || !strings.HasSuffix(cell, "; Closed")) {
					t.Errorf("%s in state %v %v is answered by closing; spec.md says %q", heading, s, c, cell)
				}
			}
		}
	}
}

// each option has the default of the table, on the side that it binds.
func TestDefaultsAreThoseOfTheSpecification(t *testing.T) {
	units := map[string]int64{"": 1, "ms": int64(time.Millisecond), "s": int64(time.Second), "KiB": 1024}
	found := 0
	for _, row := range tableBelow(t, specification(t), "**R-6.1**")[1:] {
		values := strings.Split(strings.TrimSuffix(row[1], " ± 10 %"), ", ")
		for i, name := range strings.Split(strings.ReplaceAll(row[0], "`", ""), ", ") {
			number, unit, _ := strings.Cut(values[i], " ")
			want, err := strconv.ParseInt(strings.ReplaceAll(number, ",", ""), 10, 64)
			if err != nil {
				t.Fatalf("spec.md: %s: %v", name, err)
			}
			want *= units[unit]
			for _, o := range []any{DefaultServerOptions(), DefaultClientOptions()} {
				field := reflect.ValueOf(o).FieldByName(name)
				if !field.IsValid() {
					continue
				}
				found++
				if got := field.Int(); got != want {
					t.Errorf("%T.%s is %d, spec.md says %d", o, name, got, want)
				}
			}
		}
	}
	if found != 24 {
		t.Errorf("%d options have a default in spec.md, want 18 of a master and 6 of a refinery", found)
	}
	if got := jitter(DefaultAliveInterval); got != time.Second {
		t.Errorf("the jitter is %v, spec.md says 10 %%", got)
	}
}

// rulesDefined returns the rules of spec.md; true for those that are marked to bind the program.
func rulesDefined(t *testing.T) map[string]bool {
	t.Helper()
	rules := make(map[string]bool)
	for _, m := range ruleDefined.FindAllStringSubmatch(specification(t), -1) {
		if _, twice := rules[m[1]]; twice {
			t.Errorf("spec.md has %s twice", m[1])
		}
		rules[m[1]] = m[2] != ""
	}
	return rules
}

func TestEveryRuleThatIsCitedIsInTheSpecification(t *testing.T) {
	rules := rulesDefined(t)
	for _, name := range filesOf("*.*", "testdata/*.*", "internal/*/*.go") {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range ruleCited.FindAllString(string(content), -1) {
			if _, known := rules[rule]; !known {
				t.Errorf("%s cites %s, which spec.md does not have", name, rule)
			}
		}
	}
}

// testsCiting returns, by rule, the tests and transcripts that cite it. A test cites what stands in its function or the
// comment above it, a transcript what stands in its name.
func testsCiting(t *testing.T) map[string][]string {
	t.Helper()
	citing := make(map[string][]string)
	cite := func(text, where string) {
		for _, rule := range ruleCited.FindAllString(text, -1) {
			citing[rule] = append(citing[rule], where)
		}
	}
	for _, name := range filesOf("*_test.go", "internal/*/*_test.go") {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, content, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !regexp.MustCompile("^(Test|Fuzz)").MatchString(f.Name.Name) {
				continue
			}
			from := f.Pos()
			if f.Doc != nil {
				from = f.Doc.Pos()
			}
			cite(string(content[set.Position(from).Offset:set.Position(f.End()).Offset]), f.Name.Name)
		}
	}
	for _, path := range filesOf("testdata/*.txt") {
		for _, tr := range transcripts(t, path) {
			cite(tr.name, tr.name)
		}
	}
	return citing
}

// A rule that an implementation can keep has transcripts that show it: one is not enough for what is kept and what is not.
func TestEveryRuleHasTranscripts(t *testing.T) {
	shown := make(map[string]int)
	for _, path := range filesOf("testdata/*.txt") {
		for _, tr := range transcripts(t, path) {
			for _, rule := range ruleCited.FindAllString(tr.name, -1) {
				shown[rule]++
			}
		}
	}
	for rule, program := range rulesDefined(t) {
		if shown[rule] < 2 && !program {
			t.Errorf("%d transcripts show %s, want two at least", shown[rule], rule)
		}
	}
}

// The code that keeps a rule says so. Those of the program are kept elsewhere.
func TestEveryRuleIsCitedByTheCode(t *testing.T) {
	cited := make(map[string]bool)
	for _, name := range filesOf("*.go", "internal/*/*.go") {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range ruleCited.FindAllString(string(content), -1) {
			cited[rule] = true
		}
	}
	for rule, program := range rulesDefined(t) {
		if cited[rule] == program {
			t.Errorf("%s is cited: %v; the program's rule: %v", rule, cited[rule], program)
		}
	}
}

func TestEveryRuleIsCitedByATest(t *testing.T) {
	citing := testsCiting(t)
	rules := rulesDefined(t)
	for _, rule := range slices.Sorted(maps.Keys(rules)) {
		if !rules[rule] && len(citing[rule]) == 0 {
			t.Errorf("no test cites %s", rule)
		}
	}
}

func TestStatesHaveNames(t *testing.T) {
	for s := range stateCount {
		if s.String() == "" || strings.HasPrefix(s.String(), "State(") {
			t.Errorf("state %d has no name", uint8(s))
		}
	}
	if got := stateCount.String(); got != "State(9)" {
		t.Errorf("a state that is none is %q", got)
	}
}
