//go:build dockerfile

package project

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/assets"
	"github.com/refinery-operator/refinery-operator/hack/image"
)

// contents is what matters of an image when it runs.
type contents struct {
	Platform string
	Config   v1.Config
	Files    map[string]string // "type mode uid:gid sha256" by path
}

func contentsOf(t *testing.T, image v1.Image) contents {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	delete(config.Config.Labels, "io.buildah.version") // buildah signs what it makes
	got := contents{Platform: config.OS + "/" + config.Architecture, Config: config.Config, Files: map[string]string{}}
	flat := mutate.Extract(image)
	defer flat.Close()
	for archive := tar.NewReader(flat); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.New()
		if _, err := io.Copy(hash, archive); err != nil {
			t.Fatal(err)
		}
		name := path.Clean("/" + header.Name)
		got.Files[name] = fmt.Sprintf("%c %04o %d:%d %x", header.Typeflag, header.Mode&0o7777, header.Uid, header.Gid, hash.Sum(nil))
	}
}

// snapshot copies what the images are made from, so that both builds see the same while somebody edits the checkout.
func snapshot(t *testing.T, checkout string) (source string) {
	t.Helper()
	source = t.TempDir()
	for _, name := range []string{"Dockerfile", ".dockerignore", "go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(checkout, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"api", "cmd", "controllers", "internal", "protocol"} {
		if err := os.CopyFS(filepath.Join(source, name), os.DirFS(filepath.Join(checkout, name))); err != nil {
			t.Fatal(err)
		}
	}
	return source
}

func TestDockerfileMakesTheSameImagesAsTheLocalCluster(t *testing.T) {
	const version, commit = "0.9.0", "0123456789abcdef"
	checkout, err := assets.Checkout()
	if err != nil {
		t.Fatal(err)
	}
	cache, err := assets.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	source := snapshot(t, checkout)
	ours, err := Build(t.Context(), source, t.TempDir(), version, commit)
	if err != nil {
		t.Fatal(err)
	}
	b := newBuildah(t, cache)
	volumes := b.makeStandIns(t)
	for _, name := range image.Names {
		t.Run(name, func(t *testing.T) {
			want := contentsOf(t, ours[image.Reference(image.Prefix, name, version)])
			got := contentsOf(t, b.image(t, source, name, volumes, version, commit))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("`make images` (-) and the Dockerfile (+) differ:\n%s", diff)
			}
		})
	}
}
