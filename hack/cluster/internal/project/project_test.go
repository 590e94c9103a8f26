package project

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/refinery-operator/refinery-operator/hack/image"
)

// writeModule makes a module with the project's three commands, each of a few lines.
func writeModule(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files := map[string]string{
		"go.mod":                      "module github.com/refinery-operator/refinery-operator\n\ngo 1.26.0\n",
		"internal/version/version.go": "package version\n\nvar Version = \"0.1.0\"\n",
	}
	for _, name := range image.Names {
		files["cmd/"+name+"/main.go"] = "package main\n\nimport \"github.com/refinery-operator/refinery-operator/internal/version\"\n\nfunc main() { println(\"" + name + " \" + version.Version) }\n"
	}
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func digests(t *testing.T, images map[string]v1.Image) map[string]string {
	t.Helper()
	all := map[string]string{}
	for reference, image := range images {
		hash, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		all[reference] = hash.String()
	}
	return all
}

func TestBuildMakesThreeImagesThatDependOnTheSourceAlone(t *testing.T) {
	source, elsewhere := writeModule(t), writeModule(t)
	first, err := Build(t.Context(), source, t.TempDir(), "dev", "")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Build(t.Context(), elsewhere, t.TempDir(), "dev", "")
	if err != nil {
		t.Fatal(err)
	}
	want := digests(t, first)
	if diff := cmp.Diff(want, digests(t, again)); diff != "" {
		t.Errorf("built in another folder (-first +again):\n%s", diff)
	}
	for _, reference := range []string{
		"docker.io/refinery-operator/operator:dev", "docker.io/refinery-operator/master:dev", "docker.io/refinery-operator/refinery:dev",
	} {
		if want[reference] == "" {
			t.Errorf("no image %s among %v", reference, want)
		}
	}
}
