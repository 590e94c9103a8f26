package image

import (
	"archive/tar"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// nameAnnotation is where containerd's import finds the name of an image in an OCI layout.
const nameAnnotation = "io.containerd.image.name"

// WriteArchive writes images, by reference, as one tar of an OCI layout. Importing it keeps their digests.
func WriteArchive(out io.Writer, images map[string]v1.Image) error {
	var index v1.ImageIndex = empty.Index
	for reference, image := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Annotations: map[string]string{nameAnnotation: reference}},
		})
	}
	dir, err := os.MkdirTemp("", "refinery-images-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := layout.Write(dir, index); err != nil {
		return err
	}
	archive := tar.NewWriter(out)
	if err := archive.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	return archive.Close()
}
