//go:build dockerfile

package project

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/refinery-operator/refinery-operator/hack/image"
)

// Names of the local stand-ins for the Dockerfile's base images.
const (
	standInGo   = "localhost/stand-in/golang"
	standInBase = "localhost/stand-in/static"
)

// buildah runs Debian's buildah on a storage of its own. No registry is ever asked.
type buildah struct {
	storage string
	scratch string // holds the Dockerfile's cache mounts, and outlives the test
}

func newBuildah(t *testing.T, cache string) buildah {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("buildah needs root here")
	}
	scratch := filepath.Join(cache, "dockerfile")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	return buildah{storage: t.TempDir(), scratch: scratch}
}

// run returns what buildah printed on stdout, trimmed.
func (b buildah) run(t *testing.T, args ...string) string {
	t.Helper()
	storage := []string{"--storage-driver", "vfs", "--root", filepath.Join(b.storage, "root"), "--runroot", filepath.Join(b.storage, "run")}
	cmd := exec.CommandContext(t.Context(), "buildah", append(storage, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+b.scratch)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("buildah %s: %v\n%s\n%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

// commit makes an image of the files.
func (b buildah) commit(t *testing.T, name string, files []image.File, config ...string) {
	t.Helper()
	packed, err := image.Tar(files)
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "files.tar")
	if err := os.WriteFile(archive, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	container := b.run(t, "from", "scratch")
	b.run(t, "add", container, archive, "/")
	b.run(t, append(append([]string{"config"}, config...), container)...)
	b.run(t, "commit", "--quiet", "--rm", container, name)
}

// makeStandIns makes local images for both base images. The Go toolchain, its caches and the modules are this machine's own, mounted by volumes.
func (b buildah) makeStandIns(t *testing.T) (volumes []string) {
	t.Helper()
	b.commit(t, standInBase, image.BaseFiles(),
		"--user", "65532", "--workingdir", "/home/nonroot",
		"--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"--env", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt")
	b.commit(t, standInGo, shellFiles(t),
		"--workingdir", "/go", "--env", "GOPATH=/go", "--env", "GOTOOLCHAIN=local", "--env", "PATH=/usr/local/go/bin:/bin",
		"--env", "GOCACHE=/gocache", "--env", "GOPROXY=file:///modules,off")
	return []string{
		"--volume", goEnv(t, "GOROOT") + ":/usr/local/go:ro",
		"--volume", filepath.Join(goEnv(t, "GOMODCACHE"), "cache", "download") + ":/modules:ro",
		"--volume", goEnv(t, "GOCACHE") + ":/gocache",
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	value, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatalf("go env %s: %v", name, err)
	}
	return strings.TrimSpace(string(value))
}

// shellFiles are /bin/sh, and the libraries that it and the go command are linked with.
func shellFiles(t *testing.T) []image.File {
	t.Helper()
	files := []image.File{{Path: "tmp/", Mode: 0o1777}, {Path: "root/", Mode: 0o700}}
	add := func(path, from string) {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, image.File{Path: strings.TrimPrefix(path, "/"), Mode: 0o755, Content: content})
	}
	add("/bin/sh", "/bin/sh")
	linked := map[string]bool{}
	for _, binary := range []string{"/bin/sh", filepath.Join(goEnv(t, "GOROOT"), "bin", "go")} {
		// ldd fails for a binary that is linked with nothing.
		listing, _ := exec.CommandContext(t.Context(), "ldd", binary).Output()
		for _, match := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(string(listing), -1) {
			linked[match[1]] = true
		}
	}
	for path := range linked {
		add(path, path)
	}
	return files
}

// image builds one target of the Dockerfile.
func (b buildah) image(t *testing.T, checkout, target string, volumes []string, version, commit string) v1.Image {
	t.Helper()
	name := "localhost/" + target
	args := []string{
		"build", "--isolation", "chroot", "--pull=never", "--layers", "--quiet", "--format", "oci",
		"--build-arg", "GO_IMAGE=" + standInGo, "--build-arg", "BASE_IMAGE=" + standInBase,
		"--build-arg", "VERSION=" + version, "--build-arg", "COMMIT=" + commit,
		"--target", target, "--tag", name,
	}
	b.run(t, append(append(args, volumes...), checkout)...)
	exported := filepath.Join(t.TempDir(), "oci")
	b.run(t, "push", "--quiet", "--disable-compression", "--format", "oci", name, "oci:"+exported)
	index, err := layout.ImageIndexFromPath(exported)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	built, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return built
}
