// Package assets builds the pinned Kubernetes binaries once and keeps them in the user's cache folder.
package assets

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/progress"
)

// Assets are the binaries of one set of pins.
type Assets struct {
	// Dir holds every binary by its usual name; it serves as KUBEBUILDER_ASSETS too.
	Dir string
	// Version is that of Kubernetes, with its leading v.
	Version string
	// CoreDNSVersion is that of CoreDNS, with its leading v.
	CoreDNSVersion string

	checkout string
}

// Path is where the named binary is.
func (a Assets) Path(name string) string { return filepath.Join(a.Dir, name) }

// binary is one main package, and the module folder (below hack/cluster) that pins it.
type binary struct {
	name, module, pkg string
}

// binaries in the order they are built: what envtest needs comes first.
var binaries = []binary{
	{"etcd", "kubernetes", "go.etcd.io/etcd/server/v3"},
	{"kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"},
	{"kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"},
	{"kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"},
	{"kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"},
	{"kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet"},
	{"kube-proxy", "kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"},
	{"pause", "kubernetes", "./pause"},
	{"coredns", "coredns", "."},
}

// pinFiles decide what the binaries are: a change in any of them is another folder of the cache.
var pinFiles = []string{
	"kubernetes/go.mod", "kubernetes/go.sum", "kubernetes/pause/main.go",
	"coredns/go.mod", "coredns/go.sum", "coredns/main.go",
}

// CacheDir is the folder for everything that outlives a checkout: $XDG_CACHE_HOME/refinery-operator.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return filepath.Join(dir, "refinery-operator"), nil
}

// Checkout finds the root of the repository from the working folder upwards.
func Checkout() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "hack", "cluster", "kubernetes", "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside a checkout of refinery-operator", start)
		}
	}
}

// Locate says where the binaries that checkout pins belong, built or not.
func Locate(checkout, cache string) (Assets, error) {
	source := filepath.Join(checkout, "hack", "cluster")
	key, err := pinKey(source)
	if err != nil {
		return Assets{}, err
	}
	kubernetes, err := pinned(filepath.Join(source, "kubernetes", "go.mod"), "k8s.io/kubernetes")
	if err != nil {
		return Assets{}, err
	}
	coredns, err := pinned(filepath.Join(source, "coredns", "go.mod"), "github.com/coredns/coredns")
	if err != nil {
		return Assets{}, err
	}
	return Assets{
		Dir:            filepath.Join(cache, "kubernetes-"+kubernetes+"-"+key),
		Version:        kubernetes,
		CoreDNSVersion: coredns,
		checkout:       checkout,
	}, nil
}

// pinKey is a short hash over all pinFiles.
func pinKey(source string) (string, error) {
	hash := sha256.New()
	for _, name := range pinFiles {
		content, err := os.ReadFile(filepath.Join(source, filepath.FromSlash(name)))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n", name, len(content))
		hash.Write(content)
	}
	return fmt.Sprintf("%x", hash.Sum(nil))[:12], nil
}

// pinned reads the version a go.mod requires of module.
func pinned(gomod, module string) (string, error) {
	content, err := os.ReadFile(gomod)
	if err != nil {
		return "", err
	}
	match := regexp.MustCompile(`(?m)^\s*(?:require )?` + regexp.QuoteMeta(module) + ` (v\S+)`).FindSubmatch(content)
	if match == nil {
		return "", fmt.Errorf("%s does not require %s", gomod, module)
	}
	return string(match[1]), nil
}

// Ensure builds what is missing. An interrupted build continues where it stopped; the folder appears under its name only when
// everything is in it.
func Ensure(ctx context.Context, w *progress.Writer) (Assets, error) {
	checkout, err := Checkout()
	if err != nil {
		return Assets{}, err
	}
	cache, err := CacheDir()
	if err != nil {
		return Assets{}, err
	}
	assets, err := Locate(checkout, cache)
	if err != nil {
		return Assets{}, err
	}
	if complete(assets.Dir) {
		return assets, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Assets{}, err
	}
	unlock, err := Lock(ctx, filepath.Join(cache, "kubernetes.lock"), w, "another build of the Kubernetes binaries")
	if err != nil {
		return Assets{}, err
	}
	defer unlock()
	if complete(assets.Dir) {
		return assets, nil
	}
	return assets, assets.build(ctx, w)
}

func complete(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

func (a Assets) build(ctx context.Context, w *progress.Writer) error {
	partial := a.Dir + ".partial"
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return err
	}
	w.Printf("building Kubernetes %s from source into %s, once; on 2 cores this takes about 8 minutes", a.Version, a.Dir)
	for i, b := range binaries {
		target := filepath.Join(partial, b.name)
		if _, err := os.Stat(target); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		what := fmt.Sprintf("[%d/%d] build %s", i+1, len(binaries), b.name)
		err := w.Step(what, func() error { return a.compile(ctx, b, target) })
		if err != nil {
			return err
		}
	}
	return os.Rename(partial, a.Dir)
}

// compile builds one binary beside target and renames it, so that target is never half a file.
func (a Assets) compile(ctx context.Context, b binary, target string) error {
	ldflags := "-s -w"
	if b.module == "kubernetes" {
		ldflags += kubernetesVersionFlags(a.Version)
	}
	temporary := target + ".tmp"
	err := Build(ctx, BuildOptions{
		Dir:      filepath.Join(a.checkout, "hack", "cluster", b.module),
		LDFlags:  ldflags,
		Output:   temporary,
		Packages: []string{b.pkg},
	}, io.Discard)
	if err != nil {
		return err
	}
	return os.Rename(temporary, target)
}
