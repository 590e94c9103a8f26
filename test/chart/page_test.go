package chart

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const valuesPage = "../../docs/chart-values.md"

var update = flag.Bool("update", false, "write docs/chart-values.md")

const valuesIntroduction = `<!-- Generated from charts/refinery-operator/values.yaml by make generate. -->
# Values of the chart

How they are used says [Install](install.md). Values that the chart does not know are refused.

| value | default | |
|---|---|---|
`

// rows are the lines of the table for the values in a mapping. One whose own values have comments gets a line for each.
func rows(t *testing.T, prefix string, mapping *yaml.Node) (lines []string) {
	t.Helper()
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		name := prefix + key.Value
		text := strings.Join(strings.Fields(strings.ReplaceAll(key.HeadComment, "#", " ")), " ")
		if text == "" {
			t.Errorf("%s has no comment", name)
		}
		text = strings.ReplaceAll(text, "|", `\|`)
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 && value.Content[0].HeadComment != "" {
			lines = append(lines, "| `"+name+"` | | "+text+" |")
			lines = append(lines, rows(t, name+".", value)...)
			continue
		}
		var content any
		if err := value.Decode(&content); err != nil {
			t.Fatal(err)
		}
		shown, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, "| `"+name+"` | `"+string(shown)+"` | "+text+" |")
	}
	return lines
}

func TestPageOfValuesIsGeneratedFromTheirComments(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chartPath, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	document := yaml.Node{}
	if err := yaml.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	want := valuesIntroduction + strings.Join(rows(t, "", document.Content[0]), "\n") + "\n"
	if *update {
		if err := os.WriteFile(valuesPage, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(valuesPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("run make generate; docs/chart-values.md (-generated +is):\n%s", diff)
	}
}
