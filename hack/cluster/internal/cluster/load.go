package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/assets"
	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/progress"
	"github.com/refinery-operator/refinery-operator/hack/image"
)

// registry begins the full name of images that have no registry of their own.
const registry = "docker.io/"

func pauseImage(a assets.Assets) string { return registry + "refinery-operator/pause:" + a.Version }

func coreDNSImage(a assets.Assets) string {
	return registry + "refinery-operator/coredns:" + a.CoreDNSVersion
}

// ctr is containerd's command line client in the namespace of Kubernetes.
func ctr(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ctr", append([]string{"--address", containerdSocket(), "--namespace", "k8s.io"}, args...)...)
}

// Load imports image archives (of docker save, or OCI layouts) into the cluster.
func Load(ctx context.Context, w *progress.Writer, archives []string) error {
	if _, err := Kubeconfig(); err != nil {
		return err
	}
	for _, name := range archives {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		err = w.Step("load "+name, func() error { return importArchive(ctx, file) })
		file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func importArchive(ctx context.Context, archive io.Reader) error {
	cmd := ctr(ctx, "images", "import", "-")
	cmd.Stdin = archive
	return describe(cmd)
}

// LoadImages imports the images the cluster does not hold yet, and returns the references of those.
func LoadImages(ctx context.Context, images map[string]v1.Image) (loaded []string, err error) {
	present, err := presentImages(ctx)
	if err != nil {
		return nil, err
	}
	missing := map[string]v1.Image{}
	for reference, image := range images {
		digest, err := image.Digest()
		if err != nil {
			return nil, err
		}
		if present[reference] != digest.String() {
			missing[reference] = image
			loaded = append(loaded, reference)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	var archive bytes.Buffer
	if err := image.WriteArchive(&archive, missing); err != nil {
		return nil, err
	}
	return loaded, importArchive(ctx, &archive)
}

// presentImages maps the references containerd holds to their digests.
func presentImages(ctx context.Context) (map[string]string, error) {
	listing, err := ctr(ctx, "images", "list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the images of the cluster: %w", err)
	}
	return parseImages(string(listing)), nil
}

// parseImages reads the table of `ctr images list`: reference, type, digest, …
func parseImages(listing string) map[string]string {
	images := map[string]string{}
	for line := range strings.Lines(listing) {
		if fields := strings.Fields(line); len(fields) > 2 && strings.HasPrefix(fields[2], "sha256:") {
			images[fields[0]] = fields[2]
		}
	}
	return images
}

// loadOwnImages loads what the cluster itself runs: the pods' pause container and CoreDNS.
func loadOwnImages(ctx context.Context, a assets.Assets) error {
	images := map[string]v1.Image{}
	for name, reference := range map[string]string{"pause": pauseImage(a), "coredns": coreDNSImage(a)} {
		built, err := image.Build(image.Spec{Reference: reference, Binary: a.Path(name), Name: name, Architecture: runtime.GOARCH})
		if err != nil {
			return err
		}
		images[reference] = built
	}
	_, err := LoadImages(ctx, images)
	return err
}
