package chart

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// annotation reads the YAML in an annotation of Chart.yaml.
func annotation(t *testing.T, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartPath, "Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var chart struct{ Annotations map[string]string }
	if err := yaml.Unmarshal(content, &chart); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(chart.Annotations[name]), into); err != nil {
		t.Fatalf("annotation %s of Chart.yaml: %v", name, err)
	}
}

// examples are the objects that Chart.yaml shows.
func examples(t *testing.T) (objects []*unstructured.Unstructured) {
	t.Helper()
	var contents []map[string]any
	annotation(t, "artifacthub.io/crdsExamples", &contents)
	for _, content := range contents {
		objects = append(objects, &unstructured.Unstructured{Object: content})
	}
	return objects
}

func TestChartSaysWhichCRDsItHas(t *testing.T) {
	type crd struct{ Kind, Name, Version string }
	var said []crd
	annotation(t, "artifacthub.io/crds", &said)
	rendered, err := template(t)
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[crd]bool{}, map[crd]bool{}
	for _, o := range objects(t, rendered) {
		if o["kind"] != "CustomResourceDefinition" {
			continue
		}
		kind, _, _ := unstructured.NestedString(o, "spec", "names", "kind")
		versions, _, _ := unstructured.NestedSlice(o, "spec", "versions")
		for _, version := range versions {
			want[crd{kind, (&unstructured.Unstructured{Object: o}).GetName(), version.(map[string]any)["name"].(string)}] = true
		}
	}
	for _, c := range said {
		got[c] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("CRDs (-rendered +annotation):\n%s", diff)
	}
	if len(examples(t)) != len(said) {
		t.Error("there is not one example of each")
	}
}
