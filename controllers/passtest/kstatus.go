package passtest

import (
	"os"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Tool is what kstatus makes of an object: Current, InProgress or Failed. Flux, Helm and others wait by it.
func Tool(t *testing.T, object runtime.Object) string {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		t.Fatal(err)
	}
	return string(result.Status)
}

// Covers fails the test if docs/conditions.md has a row, as "condition/reason", of one of the conditions that is in neither list, or
// either list has one that the page has not.
func Covers[T any](t *testing.T, conditions []string, rows map[string]T, others ...string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/conditions.md")
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[string]bool{}, map[string]bool{}
	for _, condition := range conditions {
		_, section, found := strings.Cut(string(page), "\n## Reasons of condition "+condition+"\n")
		if !found {
			t.Fatalf("docs/conditions.md has no reasons of %s", condition)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		for line := range strings.Lines(section) {
			if reason, isRow := strings.CutPrefix(line, "| `"); isRow {
				reason, _, _ = strings.Cut(reason, "`")
				want[condition+"/"+reason] = true
			}
		}
	}
	for row := range rows {
		got[row] = true
	}
	for _, row := range others {
		got[row] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows of docs/conditions.md (-want +got):\n%s", diff)
	}
}
