// Package project makes the images of refinery-operator itself, equal to those of the Dockerfile.
package project

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/assets"
	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/image"
)

// Names are the commands that have an image, each built from cmd/<name>.
var Names = []string{"operator", "master", "refinery"}

const versionVariable = "github.com/refinery-operator/refinery-operator/internal/version.Version"

// released matches the versions that are written into the binaries: those without a leading v, as in internal/version.
var released = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// Reference is the full name of an image.
func Reference(name, version string) string {
	return "docker.io/refinery-operator/" + name + ":" + version
}

// Labels are those of an image; commit may be "".
func Labels(name, version, commit string) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    "refinery-operator/" + name,
		"org.opencontainers.image.source":   "https://github.com/refinery-operator/refinery-operator",
		"org.opencontainers.image.version":  version,
		"org.opencontainers.image.revision": commit,
	}
}

// LDFlags are the linker's flags for the binaries. A version that is not a valid semantic version is the image's tag only: the
// binaries keep the one in their source.
func LDFlags(version string) string {
	flags := "-s -w"
	if released.MatchString(version) {
		flags += " -X " + versionVariable + "=" + version
	}
	return flags
}

// Build compiles the commands of the module in source and returns their images by reference. The binaries stay in the
// cache, where an unchanged one is not linked again.
func Build(ctx context.Context, source, cache, version, commit string) (map[string]v1.Image, error) {
	bin := filepath.Join(cache, "images")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	packages := make([]string, 0, len(Names))
	for _, name := range Names {
		packages = append(packages, "./cmd/"+name)
	}
	err := assets.Build(ctx, assets.BuildOptions{
		Dir: source, LDFlags: LDFlags(version), Output: bin + string(filepath.Separator), Packages: packages,
	}, io.Discard)
	if err != nil {
		return nil, err
	}
	images := map[string]v1.Image{}
	for _, name := range Names {
		reference := Reference(name, version)
		built, err := image.Build(image.Spec{
			Reference: reference, Binary: filepath.Join(bin, name), Name: name,
			Labels: Labels(name, version, commit), Architecture: runtime.GOARCH,
		})
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", reference, err)
		}
		images[reference] = built
	}
	return images, nil
}
