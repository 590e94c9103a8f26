package api

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var patchCommand = regexp.MustCompile(`(?m)^kubectl patch refinery press --type=json -p '(.*)'$`)

// The commands of docs/nodes.md, each used as it says there, lift no ban.
func TestADocumentedBanLiftsNoOther(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "nodes.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands := patchCommand.FindAllSubmatch(page, -1)
	if len(commands) != 2 {
		t.Fatalf("docs/nodes.md has %d commands that patch a Refinery, want 2", len(commands))
	}
	c := newClient(t)
	press := object(t, refinery("{masterRef: {name: alpha}}"))
	if err := create(t, c, press); err != nil {
		t.Fatal(err)
	}
	begin, add := client.RawPatch(types.JSONPatchType, commands[0][1]), client.RawPatch(types.JSONPatchType, commands[1][1])
	for _, patch := range []client.Patch{begin, add, add} {
		if err := c.Patch(t.Context(), press, patch); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Patch(t.Context(), press, begin); err == nil {
		t.Error("the list is made anew")
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(press), press); err != nil {
		t.Fatal(err)
	}
	if bans, _, err := unstructured.NestedSlice(press.Object, "spec", "banned"); err != nil || len(bans) != 2 {
		t.Errorf("spec.banned has %d bans, want 2: %v", len(bans), err)
	}
}
