package chart

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// open are the parts of the schema that take any field, since the API server knows better, or another chart does.
var open = []string{
	"affinity.nodeAffinity", "affinity.podAffinity", "affinity.podAntiAffinity", "extraEnv[].valueFrom", "extraObjects[]", "global",
	"global.imagePullSecrets[]", "resources.claims[]",
}

// notInValues are fields without a default: they are of a type of Kubernetes.
func notInValues(path string) bool {
	for _, parent := range []string{"affinity", "strategy", "resources"} {
		if strings.HasPrefix(path, parent+".") {
			return true
		}
	}
	return strings.Contains(path, "[]")
}

// schema is what the tests read of values.schema.json.
type schema struct {
	Ref                  string            `json:"$ref"`
	Type                 string            `json:"type"`
	AdditionalProperties json.RawMessage   `json:"additionalProperties"`
	Definitions          map[string]schema `json:"definitions"`
	Properties           map[string]schema `json:"properties"`
	Items                *schema           `json:"items"`
	AnyOf                []schema          `json:"anyOf"`
}

// walk calls visit for a schema and all in it, with paths such as a.b[].c.
func (s schema) walk(path string, definitions map[string]schema, visit func(path string, s schema)) {
	if name, is := strings.CutPrefix(s.Ref, "#/definitions/"); is {
		s = definitions[name]
	}
	visit(path, s)
	for name, property := range s.Properties {
		property.walk(strings.TrimPrefix(path+"."+name, "."), definitions, visit)
	}
	if s.Items != nil {
		s.Items.walk(path+"[]", definitions, visit)
	}
	for _, one := range s.AnyOf {
		one.walk(path, definitions, visit)
	}
}

func readSchema(t *testing.T) schema {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartPath, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := schema{}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSchemaTakesNoFieldThatItDoesNotKnow(t *testing.T) {
	s := readSchema(t)
	got := map[string]bool{}
	s.walk("", s.Definitions, func(path string, s schema) {
		if s.Type == "object" && s.AdditionalProperties == nil {
			got[path] = true
		}
	})
	if diff := cmp.Diff(open, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("objects that take any field (-want +got):\n%s", diff)
	}
}

func TestSchemaAndValuesHaveTheSameFields(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartPath, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	s := readSchema(t)
	inSchema := map[string]bool{}
	s.walk("", s.Definitions, func(path string, _ schema) {
		if path != "" && !notInValues(path) {
			inSchema[path] = true
		}
	})
	inValues := map[string]bool{}
	var note func(prefix string, values map[string]any)
	note = func(prefix string, values map[string]any) {
		for name, value := range values {
			path := prefix + name
			if notInValues(path) {
				continue
			}
			inValues[path] = true
			if inner, is := value.(map[string]any); is {
				note(path+".", inner)
			}
		}
	}
	note("", values)
	if diff := cmp.Diff(inSchema, inValues); diff != "" {
		t.Errorf("fields (-values.schema.json +values.yaml):\n%s", diff)
	}
}
