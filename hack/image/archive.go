package image

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// nameAnnotation is where containerd's import finds the name of an image in an OCI layout.
const nameAnnotation = "io.containerd.image.name"

// WriteArchive writes images, or indexes of images for several platforms, by reference, as one tar of an OCI layout. Importing it keeps
// their digests. The same images give the same bytes.
func WriteArchive[T mutate.Appendable](out io.Writer, images map[string]T) error {
	var index v1.ImageIndex = empty.Index
	for _, reference := range slices.Sorted(maps.Keys(images)) {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        images[reference],
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
	files, err := filesBelow(dir)
	if err != nil {
		return err
	}
	packed, err := Tar(files)
	if err != nil {
		return err
	}
	_, err = out.Write(packed)
	return err
}

// filesBelow reads a folder, in the order of paths.
func filesBelow(dir string) (files []File, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		files = append(files, File{Path: filepath.ToSlash(name), Mode: 0o644, Content: content})
		return err
	})
	return files, err
}
