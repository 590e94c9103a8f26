package main

import (
	"bytes"
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/refinery-operator/refinery-operator/hack/image"
)

// imageList is the file that says which digest each image has.
const imageList = "images.txt"

// images writes one archive per image, for all platforms, and the list of their digests.
func (r *release) images(context.Context) error {
	var list bytes.Buffer
	for _, name := range image.Names {
		index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
		for _, p := range servers {
			built, err := r.image(name, p)
			if err != nil {
				return err
			}
			index = mutate.AppendManifests(index, mutate.IndexAddendum{
				Add: built, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: p.os, Architecture: p.arch}},
			})
		}
		digest, err := index.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%s/%s:%s@%s\n", r.imagePrefix, name, r.version, digest)
		var archive bytes.Buffer
		if err := image.WriteArchive(&archive, map[string]v1.ImageIndex{image.Reference(r.imagePrefix, name, r.version): index}); err != nil {
			return err
		}
		if err := r.write(fmt.Sprintf("%s_%s.oci.tar", name, r.version), archive.Bytes()); err != nil {
			return err
		}
	}
	return r.write(imageList, list.Bytes())
}

func (r *release) image(name string, p platform) (v1.Image, error) {
	return image.Build(image.Spec{
		Reference: image.Reference(r.imagePrefix, name, r.version), Binary: r.binaries[p][name], Name: name,
		Labels: image.Labels(name, r.version, r.commit), Architecture: p.arch, Created: r.date, Compress: true,
	})
}
