package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/hack/image"
)

// checkout is this repository.
const checkout = "../.."

// version is that of a pre-release, which some kinds of files write differently.
const version = "0.2.0-rc.1"

// plant is a repository with all that a release of version is made from, and programs of one line in place of the real ones.
func plant(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, folder := range []string{"charts", "config", "hack/release/agent", "internal/version"} {
		if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(checkout, folder))); err != nil {
			t.Fatal(err)
		}
	}
	stamp, err := os.ReadFile("stamp")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "hack/release/stamp", string(stamp))
	write(t, dir, "internal/version/version.go", "package version\n\nvar Version = \""+version+"\"\n")
	if said, err := exec.CommandContext(t.Context(), "sh", filepath.Join(dir, "hack/release/stamp")).CombinedOutput(); err != nil {
		t.Fatalf("stamp: %v\n%s", err, said)
	}
	write(t, dir, "LICENSE", "to everyone")
	write(t, dir, "go.mod", "module "+home+"\n\ngo 1.26.0\n")
	for _, name := range append([]string{kubectlPlugin}, image.Names...) {
		write(t, dir, "cmd/"+name+"/main.go", "package main\n\nimport \""+home+"/internal/version\"\n\nfunc main() { println(\""+name+" \" + version.Version) }\n")
	}
	git := func(args ...string) {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1") // a person's hooks and keys are not for this
		cmd.Dir = dir
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, said)
		}
	}
	git("init", "--quiet")
	git("add", ".")
	git("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=a")
	write(t, dir, "LICENSE", "not committed")
	return dir
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// made makes a release, and returns its files.
func made(t *testing.T, repository string) map[string][]byte {
	t.Helper()
	helm := os.Getenv("HELM")
	if helm == "" {
		t.Fatal("HELM is not set: run make test-release")
	}
	dist := filepath.Join(t.TempDir(), "dist")
	args := []string{"--repository=" + repository, "--output=" + dist, "--helm=" + helm, "--image-prefix=example.com/plant", "--download-url=https://example.com/files"}
	if err := run(t.Context(), args, io.Discard); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	entries, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if files[entry.Name()], err = os.ReadFile(filepath.Join(dist, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestARelease(t *testing.T) {
	repository := plant(t)
	files := made(t, repository)

	t.Run("has all files, and a checksum of each", func(t *testing.T) {
		var got, summed []string
		for name := range files {
			got = append(got, strings.ReplaceAll(name, version, "V"))
		}
		slices.Sort(got)
		if diff := cmp.Diff(wantFiles(), got); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		for line := range strings.Lines(string(files[checksumFile])) {
			summed = append(summed, strings.ReplaceAll(strings.Fields(line)[1], version, "V"))
		}
		if diff := cmp.Diff(slices.DeleteFunc(got, func(name string) bool { return name == checksumFile }), summed); diff != "" {
			t.Errorf("files with a checksum (-want +got):\n%s", diff)
		}
	})
	t.Run("is the same the second time", func(t *testing.T) {
		again := made(t, repository)
		if diff := cmp.Diff(string(files[checksumFile]), string(again[checksumFile])); diff != "" {
			t.Errorf("checksums (-first +again):\n%s", diff)
		}
	})
	t.Run("has images for both architectures, by the digests in its list", func(t *testing.T) { seeImages(t, files) })
	t.Run("installs its own images", func(t *testing.T) { seeInstall(t, files) })
	t.Run("has a bundle that the Operator Lifecycle Manager takes", func(t *testing.T) { seeBundle(t, files) })
	t.Run("has a plugin that krew finds", func(t *testing.T) { seePlugin(t, files) })
	t.Run("has the committed files only", func(t *testing.T) {
		if got := string(untar(t, files["refinery_"+version+"_linux_arm64.tar.gz"])["LICENSE"]); got != "to everyone" {
			t.Errorf("LICENSE is %q", got)
		}
	})
	t.Run("has bills of materials that are SPDX", func(t *testing.T) {
		document, err := spdxjson.Read(bytes.NewReader(files["refinery_"+version+"_linux_arm64.spdx.json"]))
		if err != nil {
			t.Fatal(err)
		}
		if err := spdxlib.ValidateDocument(document); err != nil {
			t.Error(err)
		}
		if p := document.Packages; len(p) != 2 || p[0].PackageName != "refinery" || p[1].PackageName != "std" || p[1].PackageVersion == "" {
			t.Errorf("packages %+v", p)
		}
	})
}

func wantFiles() []string {
	return []string{
		"SHA256SUMS", "images.txt", "install.yaml",
		"kubectl-refinery_V_darwin_amd64.spdx.json", "kubectl-refinery_V_darwin_amd64.tar.gz",
		"kubectl-refinery_V_darwin_arm64.spdx.json", "kubectl-refinery_V_darwin_arm64.tar.gz",
		"kubectl-refinery_V_linux_amd64.spdx.json", "kubectl-refinery_V_linux_amd64.tar.gz",
		"kubectl-refinery_V_linux_arm64.spdx.json", "kubectl-refinery_V_linux_arm64.tar.gz",
		"kubectl-refinery_V_windows_amd64.spdx.json", "kubectl-refinery_V_windows_amd64.zip",
		"kubectl-refinery_V_windows_arm64.spdx.json", "kubectl-refinery_V_windows_arm64.zip",
		"master_V.oci.tar", "master_V_linux_amd64.spdx.json", "master_V_linux_arm64.spdx.json",
		"olm-bundle_V.tar.gz", "operator_V.oci.tar", "operator_V_linux_amd64.spdx.json", "operator_V_linux_arm64.spdx.json",
		"refinery-operator-V.tgz", "refinery.yaml",
		"refinery_V.oci.tar", "refinery_V_amd64.deb", "refinery_V_arm64.deb",
		"refinery_V_linux_amd64.spdx.json", "refinery_V_linux_amd64.tar.gz",
		"refinery_V_linux_arm64.spdx.json", "refinery_V_linux_arm64.tar.gz",
	}
}

func seeImages(t *testing.T, files map[string][]byte) {
	for _, name := range image.Names {
		layout := untar(t, files[name+"_"+version+".oci.tar"])
		top := index(t, layout["index.json"])
		if len(top.Manifests) != 1 {
			t.Fatalf("%s: %d images in the archive", name, len(top.Manifests))
		}
		reference, digest := "example.com/plant/"+name+":"+version, top.Manifests[0].Digest
		if got := top.Manifests[0].Annotations["io.containerd.image.name"]; got != reference {
			t.Errorf("the archive names %s, want %s", got, reference)
		}
		if line := reference + "@" + digest.String() + "\n"; !strings.Contains(string(files[imageList]), line) {
			t.Errorf("%s has no line %q:\n%s", imageList, line, files[imageList])
		}
		var platforms []string
		for _, manifest := range index(t, layout["blobs/sha256/"+digest.Hex]).Manifests {
			platforms = append(platforms, manifest.Platform.String())
		}
		if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); diff != "" {
			t.Errorf("%s: platforms (-want +got):\n%s", name, diff)
		}
	}
}

func index(t *testing.T, content []byte) (index v1.IndexManifest) {
	t.Helper()
	if err := json.Unmarshal(content, &index); err != nil {
		t.Fatal(err)
	}
	return index
}

// imageName matches a name of an image of ours, wherever it is.
var imageName = regexp.MustCompile(`[a-z./-]*/(operator|master|refinery):[0-9a-z.-]+`)

func seeInstall(t *testing.T, files map[string][]byte) {
	got := imageName.FindAllString(string(files["install.yaml"]), -1)
	slices.Sort(got)
	want := []string{"example.com/plant/master:" + version, "example.com/plant/operator:" + version, "example.com/plant/refinery:" + version}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("install.yaml (-want +got):\n%s", diff)
	}
	chart := untar(t, files["refinery-operator-"+version+".tgz"])
	var values struct {
		Image struct{ Repository, Tag string }
	}
	if err := yaml.Unmarshal(chart["refinery-operator/values.yaml"], &values); err != nil {
		t.Fatal(err)
	}
	if values.Image.Repository != "example.com/plant" || values.Image.Tag != "" {
		t.Errorf("values of the chart: %+v", values.Image)
	}
	var of struct{ Version, AppVersion string }
	if err := yaml.Unmarshal(chart["refinery-operator/Chart.yaml"], &of); err != nil || of.Version != version || of.AppVersion != version {
		t.Errorf("the chart is of %+v (%v), want %s", of, err, version)
	}
}

func seePlugin(t *testing.T, files map[string][]byte) {
	var manifest krewManifest
	if err := yaml.UnmarshalStrict(files["refinery.yaml"], &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Spec.Version != "v"+version || len(manifest.Spec.Platforms) != len(clients) {
		t.Errorf("manifest %+v", manifest)
	}
	for _, p := range manifest.Spec.Platforms {
		name, found := strings.CutPrefix(p.URI, "https://example.com/files/")
		if line := p.SHA256 + "  " + name + "\n"; !found || !strings.Contains(string(files[checksumFile]), line) {
			t.Errorf("%s: not in %s with checksum %s", p.URI, checksumFile, p.SHA256)
		}
		unpack := untar
		if strings.HasSuffix(name, ".zip") {
			unpack = unzip
		}
		if content := unpack(t, files[name]); len(content[p.Bin]) == 0 || len(content["LICENSE"]) == 0 {
			t.Errorf("%s: no %s and LICENSE in it", name, p.Bin)
		}
	}
}

// The real agent, since it is the smallest: from two folders, so that nothing of a folder may be in it.
func TestTheAgentsImageIsTheSameWhereverItIsBuilt(t *testing.T) {
	build := func() string {
		r := &release{options: options{repository: checkout, commit: "HEAD"}, source: t.TempDir(), work: t.TempDir()}
		if err := r.export(t.Context()); err != nil {
			t.Fatal(err)
		}
		binaries, err := r.build(t.Context(), servers[0], "refinery")
		if err != nil {
			t.Fatal(err)
		}
		r.binaries = map[platform]map[string]string{servers[0]: binaries}
		built, err := r.image("refinery", servers[0])
		if err != nil {
			t.Fatal(err)
		}
		digest, err := built.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return digest.String()
	}
	if first, again := build(), build(); first != again {
		t.Errorf("%s, and then %s", first, again)
	}
}

func TestAFolderOfOtherFilesIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "thesis", "")
	if err := run(t.Context(), []string{"--repository=" + checkout, "--output=" + dir}, io.Discard); err == nil {
		t.Error("it went on")
	}
	if _, err := os.Stat(filepath.Join(dir, "thesis")); err != nil {
		t.Error(err)
	}
}

func untar(t *testing.T, packed []byte) map[string][]byte {
	t.Helper()
	var stream io.Reader = bytes.NewReader(packed)
	if bytes.HasPrefix(packed, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(stream)
		if err != nil {
			t.Fatal(err)
		}
		stream = unpacked
	}
	files := map[string][]byte{}
	for archive := tar.NewReader(stream); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

func unzip(t *testing.T, packed []byte) map[string][]byte {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, file := range archive.File {
		content, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[file.Name], err = io.ReadAll(content); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
