package v1alpha1

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the tables of docs/conditions.md, "+conditionLists+", and the comments of status.conditions")

const (
	conditionsPage = "../../docs/conditions.md"
	conditionLists = "zz_generated.conditions.go"
	// generatedFrom begins what is generated of the page, up to its end.
	generatedFrom = "<!-- From here on generated from api/v1alpha1/conditions.go and reasons.go by make generate. -->\n"
)

// constants are one const block of conditions.go or reasons.go.
type constants struct {
	title, intro string
	rows         []constant
}

// constant is a condition type or a reason, and its comment in one line.
type constant struct{ goName, value, comment string }

func TestTheConditionsPageIsGeneratedFromTheDefinitions(t *testing.T) {
	var tables strings.Builder
	for _, block := range parseConditions(t) {
		fmt.Fprintf(&tables, "\n## %s\n\n", block.title)
		if block.intro != "" {
			fmt.Fprintf(&tables, "%s\n\n", markdown(block.intro))
		}
		if strings.HasPrefix(block.rows[0].goName, "Condition") {
			tables.WriteString("| type | kinds | is True |\n|---|---|---|\n")
		} else {
			tables.WriteString("| reason | meaning | what to do |\n|---|---|---|\n")
		}
		for _, c := range block.rows {
			tables.WriteString(c.row(t))
		}
	}
	content, err := os.ReadFile(conditionsPage)
	if err != nil {
		t.Fatal(err)
	}
	written, _, found := strings.Cut(string(content), generatedFrom)
	if !found {
		t.Fatalf("docs/conditions.md lacks the line %q", generatedFrom)
	}
	want := written + generatedFrom + tables.String()
	current(t, conditionsPage, string(content), want)
}

// current compares the content of a file with what is generated, or writes that with -update.
func current(t *testing.T, file, content, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, content); diff != "" {
		t.Errorf("%s is not current: run make generate (-want +got):\n%s", file, diff)
	}
}

func TestEveryConditionAndReasonIsInUse(t *testing.T) {
	used := map[string]bool{}
	name := regexp.MustCompile(`\bv1alpha1\.((?:Condition|Reason)[A-Za-z]+)`)
	for _, folder := range []string{"../../controllers", "../../internal"} {
		if err := fs.WalkDir(os.DirFS(folder), ".", func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(filepath.Join(folder, path))
			for _, found := range name.FindAllSubmatch(source, -1) {
				used[string(found[1])] = true
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, block := range parseConditions(t) {
		for _, c := range block.rows {
			if !used[c.goName] {
				t.Errorf("nothing uses %s: delete it", c.goName)
			}
		}
	}
}

// A condition that is not in the list of its kind is not written to status. So nobody has to remember it.
func TestTheListsOfConditionsAreGeneratedFromTheDefinitions(t *testing.T) {
	var file strings.Builder
	file.WriteString("// Code generated from conditions.go by make generate. DO NOT EDIT.\n\npackage v1alpha1\n")
	for _, kind := range []string{"ClusterMaster", "Refinery"} {
		fmt.Fprintf(&file, "\n// %[1]sConditions are the condition types of a %[1]s.\nvar %[1]sConditions = []string{\n", kind)
		for _, c := range typesOf(t, kind) {
			fmt.Fprintf(&file, "\t%q,\n", c)
		}
		file.WriteString("}\n")
	}
	content, err := os.ReadFile(conditionLists)
	if err != nil && !*update {
		t.Fatal(err)
	}
	current(t, conditionLists, string(content), file.String())
}

// typesOf are the condition types that conditions.go has for a kind.
func typesOf(t *testing.T, kind string) (types []string) {
	t.Helper()
	for _, c := range parseConditions(t)[0].rows {
		if _, kinds := c.kinds(t); kinds == kind || kinds == "both" {
			types = append(types, c.value)
		}
	}
	return types
}

// What kubectl explain shows of status.conditions lists them, so that too is generated.
func TestTheStatusFieldsAreGeneratedFromTheDefinitions(t *testing.T) {
	for kind, file := range map[string]string{"ClusterMaster": "clustermaster_types.go", "Refinery": "refinery_types.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before, after, _ := strings.Cut(string(source), "\t// conditions: ")
		_, after, found := strings.Cut(after, "\t// +optional")
		if !found {
			t.Fatalf("%s: the field conditions has no comment that lists them", file)
		}
		current(t, file, string(source), before+comment(list(t, kind))+"\t// +optional"+after)
	}
}

// list is the comment of status.conditions of a kind.
func list(t *testing.T, kind string) string {
	t.Helper()
	var always, sometimes []string
	intro := parseConditions(t)[0].intro // names those that are present only while they are True
	for _, c := range typesOf(t, kind) {
		if strings.Contains(intro, c) {
			sometimes = append(sometimes, c)
		} else {
			always = append(always, c)
		}
	}
	return fmt.Sprintf("conditions: %s, and, only while they are True, %s. See docs/conditions.md for when each is True.",
		strings.Join(always, ", "), strings.Join(sometimes, ", "))
}

// comment is text as the comment of a field, in lines of at most 120 characters.
func comment(text string) string {
	var lines strings.Builder
	line := "\t//"
	for _, word := range strings.Fields(text) {
		if len(line)+len(word) >= 120 {
			lines.WriteString(line + "\n")
			line = "\t//"
		}
		line += " " + word
	}
	return lines.String() + line + "\n"
}

// row is the line of a constant in its table.
func (c constant) row(t *testing.T) string {
	t.Helper()
	if strings.HasPrefix(c.goName, "Condition") {
		when, kinds := c.kinds(t)
		when, found := strings.CutPrefix(when, c.goName+" is True ")
		if !found {
			t.Errorf("the comment of %s does not begin with %q", c.goName, c.goName+" is True ")
		}
		return fmt.Sprintf("| `%s` | %s | %s |\n", c.value, kinds, markdown(when))
	}
	comment, found := strings.CutPrefix(c.comment, c.goName+": ")
	if !found {
		t.Errorf("the comment of %s does not begin with %q", c.goName, c.goName+": ")
	}
	meaning, todo, _ := strings.Cut(comment, " To do: ")
	if todo == "" {
		todo = "nothing."
	}
	return fmt.Sprintf("| `%s` | %s | %s |\n", c.value, capital(markdown(meaning)), capital(markdown(todo)))
}

// kinds splits the comment of a condition type into what it means and the kinds that have it: both, or the name of one.
func (c constant) kinds(t *testing.T) (meaning, kinds string) {
	t.Helper()
	for suffix, kinds := range map[string]string{" Both kinds.": "both", " ClusterMaster.": "ClusterMaster", " Refinery.": "Refinery"} {
		if meaning, found := strings.CutSuffix(c.comment, suffix); found {
			return meaning, kinds
		}
	}
	t.Errorf("the comment of %s does not end with the kinds that have it", c.goName)
	return c.comment, ""
}

func parseConditions(t *testing.T) []constants {
	t.Helper()
	var blocks []constants
	for _, name := range []string{"conditions.go", "reasons.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			general, ok := declaration.(*ast.GenDecl)
			if !ok || general.Tok != token.CONST {
				t.Fatalf("%s holds something else than blocks of constants", name)
			}
			blocks = append(blocks, parseBlock(t, general))
		}
	}
	return blocks
}

func parseBlock(t *testing.T, general *ast.GenDecl) constants {
	t.Helper()
	title, intro, _ := strings.Cut(oneLine(general.Doc), ". ")
	block := constants{title: strings.TrimSuffix(title, "."), intro: intro}
	for _, spec := range general.Specs {
		value := spec.(*ast.ValueSpec)
		name, err := strconv.Unquote(value.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		block.rows = append(block.rows, constant{goName: value.Names[0].Name, value: name, comment: oneLine(value.Doc)})
	}
	return block
}

func oneLine(comment *ast.CommentGroup) string {
	return strings.Join(strings.Fields(comment.Text()), " ")
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// code is what a page sets as code: fields, commands, messages of the protocol, and patterns of an id.
var code = regexp.MustCompile(`\b(?:spec|status|certificates)\.[A-Za-z.]*[A-Za-z]|\b(?:conn|auth):[A-Za-z]+|\bkubectl (?:get|describe)(?: refineries)?|<refinery>(?:/<node>)?`)

func markdown(s string) string { return code.ReplaceAllString(s, "`$0`") }
