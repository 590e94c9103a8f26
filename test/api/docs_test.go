package api

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// The manifests of the pages are taken as they stand there.
func TestDocumentedManifestsAreAccepted(t *testing.T) {
	c, root, tried := newClient(t), filepath.Join("..", ".."), 0
	pages := []string{filepath.Join(root, "README.md")}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
			block, _, _ = strings.Cut(block, "```")
			for manifest := range strings.SplitSeq(block, "---\n") {
				o := &unstructured.Unstructured{}
				if err := yaml.Unmarshal([]byte(manifest), &o.Object); err != nil {
					t.Errorf("%s: %v\n%s", page, err, manifest)
				}
				group, _, _ := strings.Cut(o.GetAPIVersion(), "/")
				if !slices.Contains([]string{"cluster.refinery.dev", "autoscaling"}, group) {
					continue
				}
				tried++
				o.SetNamespace("default")
				if err := c.Create(t.Context(), o, client.DryRunAll); err != nil {
					t.Errorf("%s: %v\n%s", page, err, manifest)
				}
			}
		}
	}
	if tried < 4 {
		t.Errorf("%d manifests were found", tried)
	}
}

// The script for Argo CD is installed by the command of docs/gitops.md; controllers/passtest runs it.
func TestArgoCDIsConfiguredByTheDocumentedCommand(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "gitops.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, command, found := strings.Cut(string(page), "\nkubectl patch ")
	if !found {
		t.Fatal("docs/gitops.md has no command that begins with kubectl patch")
	}
	command, _, _ = strings.Cut(command, "\n")

	c, settings := newClient(t), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "argocd", Name: "argocd-cm"}, Data: map[string]string{"url": "theirs"}}
	t.Cleanup(func() { _ = c.Delete(context.Background(), settings) })
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "argocd"}} // nobody would remove it
	if err := errors.Join(client.IgnoreAlreadyExists(c.Create(t.Context(), namespace)), c.Create(t.Context(), settings)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), append([]string{"patch"}, strings.Fields(command)...)...)
	kubectl.Dir, kubectl.Env = filepath.Join("..", ".."), append(os.Environ(), "KUBECONFIG="+file)
	if output, err := kubectl.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(settings), settings); err != nil {
		t.Fatal(err)
	}
	if len(settings.Data) != 3 || settings.Data["url"] != "theirs" {
		t.Errorf("argocd-cm has %v", settings.Data)
	}
}
