// Package project makes the images of refinery-operator itself, equal to those of the Dockerfile.
package project

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/assets"
	"github.com/refinery-operator/refinery-operator/hack/image"
)

// Build compiles the commands of the module in source and returns their images by reference. The binaries stay in the
// cache, where an unchanged one is not linked again.
func Build(ctx context.Context, source, cache, version, commit string) (map[string]v1.Image, error) {
	bin := filepath.Join(cache, "images")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	packages := make([]string, 0, len(image.Names))
	for _, name := range image.Names {
		packages = append(packages, "./cmd/"+name)
	}
	err := assets.Build(ctx, assets.BuildOptions{
		Dir: source, LDFlags: image.LDFlags(version), Output: bin + string(filepath.Separator), Packages: packages,
	}, io.Discard)
	if err != nil {
		return nil, err
	}
	images := map[string]v1.Image{}
	for _, name := range image.Names {
		reference := image.Reference(image.Prefix, name, version)
		built, err := image.Build(image.Spec{
			Reference: reference, Binary: filepath.Join(bin, name), Name: name,
			Labels: image.Labels(name, version, commit), Architecture: runtime.GOARCH,
		})
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", reference, err)
		}
		images[reference] = built
	}
	return images, nil
}
