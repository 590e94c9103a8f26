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

// Tools fails the test if kstatus, by which Flux, Helm and others wait, makes something else than want of an object of a kind: Current,
// InProgress or Failed; or if Argo CD makes something else of it than what the same is there.
func Tools(t *testing.T, kind string, object runtime.Object, want string) {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		t.Fatal(err)
	}
	conditions, _, _ := unstructured.NestedSlice(content, "status", "conditions")
	if string(result.Status) != want {
		t.Errorf("kstatus: got %s, want %s; %v", result.Status, want, conditions)
	}
	health := map[string]string{"Current": "Healthy", "InProgress": "Progressing", "Failed": "Degraded"}[want]
	paused, _, _ := unstructured.NestedBool(content, "spec", "paused")
	if access, _, _ := unstructured.NestedString(content, "spec", "access"); paused || access == "Suspended" {
		health = "Suspended"
	}
	if got := argoCD(t, kind, content); got != health {
		t.Errorf("Argo CD: got %s, want %s; %v", got, health, conditions)
	}
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
