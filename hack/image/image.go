// Package image makes container images of static binaries, without a container engine.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// User is who every image runs as: "nonroot" of the distroless images.
const User = "65532:65532"

// Spec is what an image is made of: one static binary over a base without a shell.
type Spec struct {
	// Reference is the full name with registry and tag, as containerd stores it.
	Reference string
	// Binary is the file on this machine; it becomes /<Name> and the entrypoint.
	Binary string
	Name   string
	Labels map[string]string
	// Architecture is a GOARCH.
	Architecture string
	// Created is written into the configuration, and may be zero.
	Created time.Time
	// Compress is for images that travel over a network.
	Compress bool
}

// Build makes the image. The same binary and spec give the same digest, whenever and wherever it is built.
func Build(spec Spec) (v1.Image, error) {
	binary, err := os.ReadFile(spec.Binary)
	if err != nil {
		return nil, err
	}
	base, err := layer(BaseFiles(), spec.Compress)
	if err != nil {
		return nil, err
	}
	top, err := layer([]File{{Path: spec.Name, Mode: 0o755, Content: binary}}, spec.Compress)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1), base, top)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", spec.Reference, err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", spec.Architecture
	config.Created = v1.Time{Time: spec.Created}
	config.Config = Config(spec)
	return mutate.ConfigFile(image, config)
}

// Config is the image's runtime configuration, equal to what the Dockerfile makes over distroless/static:nonroot.
func Config(spec Spec) v1.Config {
	return v1.Config{
		User:       User,
		WorkingDir: "/",
		Entrypoint: []string{"/" + spec.Name},
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
		},
		Labels: spec.Labels,
	}
}

// File is one entry of a layer. A Path that ends in a slash is a folder.
type File struct {
	Path     string
	Mode     int64
	UID, GID int
	Content  []byte
}

// BaseFiles are those of a base like distroless/static:nonroot that a static binary can miss.
func BaseFiles() []File {
	const (
		passwd = "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"
		group  = "root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n"
	)
	return []File{
		{Path: "etc/", Mode: 0o755},
		{Path: "etc/passwd", Mode: 0o644, Content: []byte(passwd)},
		{Path: "etc/group", Mode: 0o644, Content: []byte(group)},
		{Path: "etc/nsswitch.conf", Mode: 0o644, Content: []byte("hosts: files dns\n")},
		{Path: "home/", Mode: 0o755},
		{Path: "home/nonroot/", Mode: 0o700, UID: 65532, GID: 65532},
		{Path: "root/", Mode: 0o700},
		{Path: "tmp/", Mode: 0o1777},
	}
}

// layer is an uncompressed layer of the files, or a compressed one. Each is the same bytes for the same files.
func layer(files []File, compress bool) (v1.Layer, error) {
	packed, err := Tar(files)
	if err != nil {
		return nil, err
	}
	if !compress {
		return static.NewLayer(packed, types.OCIUncompressedLayer), nil
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

// Tar packs files without times, so that the same files give the same bytes.
func Tar(files []File) ([]byte, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, file := range files {
		header := &tar.Header{
			Name: file.Path, Mode: file.Mode, Uid: file.UID, Gid: file.GID,
			Size: int64(len(file.Content)), Typeflag: tar.TypeReg, Format: tar.FormatPAX,
		}
		if strings.HasSuffix(file.Path, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(file.Content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}
