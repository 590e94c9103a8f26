package assets

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// writePins makes a checkout with the files that decide what is built.
func writePins(t *testing.T) (checkout string) {
	t.Helper()
	checkout = t.TempDir()
	for _, name := range pinFiles {
		content := name
		switch name {
		case "kubernetes/go.mod":
			content = "module k\n\nrequire (\n\tk8s.io/kubernetes v1.37.2 // indirect\n\tk8s.io/kubernetes-other v9.9.9\n)\n"
		case "coredns/go.mod":
			content = "module c\n\nrequire github.com/coredns/coredns v1.15.0\n"
		}
		path := filepath.Join(checkout, "hack", "cluster", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return checkout
}

func TestTheCacheFolderIsNamedByVersionAndPins(t *testing.T) {
	checkout := writePins(t)
	first, err := Locate(checkout, "/cache")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(first.Dir, "/cache/kubernetes-v1.37.2-") || first.Version != "v1.37.2" || first.CoreDNSVersion != "v1.15.0" {
		t.Errorf("located %+v", first)
	}

	for _, name := range pinFiles {
		path := filepath.Join(checkout, "hack", "cluster", filepath.FromSlash(name))
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(content, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		changed, err := Locate(checkout, "/cache")
		if err != nil {
			t.Fatal(err)
		}
		if changed.Dir == first.Dir {
			t.Errorf("a change in %s leaves the folder the same", name)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAMissingPinIsNamed(t *testing.T) {
	checkout := writePins(t)
	gomod := filepath.Join(checkout, "hack", "cluster", "kubernetes", "go.mod")
	if err := os.WriteFile(gomod, []byte("module k\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Locate(checkout, "/cache")
	if err == nil || err.Error() != gomod+" does not require k8s.io/kubernetes" {
		t.Errorf("error %v", err)
	}
}

func TestKubernetesAnnouncesTheVersionItWasBuiltFrom(t *testing.T) {
	const pkg = " -X k8s.io/component-base/version."
	want := pkg + "gitVersion=v1.37.2" + pkg + "gitMajor=1" + pkg + "gitMinor=37" + pkg + "gitTreeState=clean"
	if diff := cmp.Diff(want, kubernetesVersionFlags("v1.37.2")); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
}
