package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

const reference = "docker.io/refinery-operator/master:dev"

// build makes the image of a binary with the given content.
func build(t *testing.T, content string) v1.Image {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "some-build")
	if err := os.WriteFile(binary, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	image, err := Build(Spec{Reference: reference, Binary: binary, Name: "master", Labels: map[string]string{"a": "b"}, Architecture: "arm64"})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func digest(t *testing.T, image v1.Image) string {
	t.Helper()
	hash, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hash.String()
}

func TestAnImageHoldsTheBinaryAndRunsItAsNonroot(t *testing.T) {
	image := build(t, "ELF")
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		User: "65532:65532", WorkingDir: "/", Entrypoint: []string{"/master"}, Labels: map[string]string{"a": "b"},
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
		},
	}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if config.OS != "linux" || config.Architecture != "arm64" {
		t.Errorf("platform %s/%s, want linux/arm64", config.OS, config.Architecture)
	}

	type entry struct {
		Mode int64
		UID  int
		Size int64
	}
	files := map[string]entry{}
	content := mutate.Extract(image)
	defer content.Close()
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Name == "etc/passwd" || header.Name == "etc/group" || header.Name == "etc/nsswitch.conf" {
			header.Size = 0 // whatever is in it
		}
		files[header.Name] = entry{header.Mode, header.Uid, header.Size}
	}
	wantFiles := map[string]entry{
		"etc": {0o755, 0, 0}, "etc/passwd": {0o644, 0, 0}, "etc/group": {0o644, 0, 0}, "etc/nsswitch.conf": {0o644, 0, 0},
		"home": {0o755, 0, 0}, "home/nonroot": {0o700, 65532, 0}, "root": {0o700, 0, 0}, "tmp": {0o1777, 0, 0},
		"master": {0o755, 0, 3},
	}
	if diff := cmp.Diff(wantFiles, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestTheDigestFollowsTheBinaryAlone(t *testing.T) {
	first := digest(t, build(t, "ELF"))
	if again := digest(t, build(t, "ELF")); again != first {
		t.Errorf("the same binary gave %s, then %s", first, again)
	}
	if other := digest(t, build(t, "ELG")); other == first {
		t.Error("another binary gave the same digest")
	}
}

func TestAnArchiveNamesItsImagesByDigest(t *testing.T) {
	image := build(t, "ELF")
	var packed bytes.Buffer
	if err := WriteArchive(&packed, map[string]v1.Image{reference: image}); err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(&packed); ; {
		header, err := archive.Next()
		if err != nil {
			t.Fatalf("no index.json in the archive: %v", err)
		}
		if header.Name != "index.json" {
			continue
		}
		var index v1.IndexManifest
		if err := json.NewDecoder(archive).Decode(&index); err != nil {
			t.Fatal(err)
		}
		if len(index.Manifests) != 1 {
			t.Fatalf("index has %d images, want 1", len(index.Manifests))
		}
		got := [2]string{index.Manifests[0].Annotations["io.containerd.image.name"], index.Manifests[0].Digest.String()}
		if diff := cmp.Diff([2]string{reference, digest(t, image)}, got); diff != "" {
			t.Errorf("name and digest (-want +got):\n%s", diff)
		}
		return
	}
}
