package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/refinery-operator/refinery-operator/hack/image"
)

// chart packages the Helm chart. Helm keeps the times of its files, which are those of the commit.
func (r *release) chart(ctx context.Context) error {
	dir := filepath.Join(r.source, "charts", "refinery-operator")
	if err := r.setChartPrefix(filepath.Join(dir, "values.yaml")); err != nil {
		return err
	}
	_, err := command(ctx, dir, nil, r.helm, "package", ".", "--version", r.version, "--app-version", r.version, "--destination", r.out)
	return err
}

// setChartPrefix makes the prefix of the images the default of value image.repository.
func (r *release) setChartPrefix(values string) error {
	content, err := os.ReadFile(values)
	if err != nil {
		return err
	}
	line := func(prefix string) []byte { return []byte("\n  repository: " + prefix + "\n") }
	if bytes.Count(content, line(image.Prefix)) != 1 {
		return fmt.Errorf("values.yaml has not one line %q to set the images' prefix in", bytes.TrimSpace(line(image.Prefix)))
	}
	if err := os.WriteFile(values, bytes.Replace(content, line(image.Prefix), line(r.imagePrefix), 1), 0o644); err != nil {
		return err
	}
	return os.Chtimes(values, r.date, r.date)
}

// manifests writes config/default as one file, with the images of the release.
func (r *release) manifests(context.Context) error {
	rendered, err := r.render("config/default")
	if err != nil {
		return err
	}
	content, err := rendered.AsYaml()
	if err != nil {
		return err
	}
	for _, name := range image.Names {
		if reference := image.Prefix + "/" + name + ":" + r.version; !bytes.Contains(content, []byte(reference)) {
			return fmt.Errorf("config/default does not name image %s: run make generate", reference)
		}
	}
	return r.write("install.yaml", r.withImages(content))
}

// render is what kustomize makes of a folder of the source.
func (r *release) render(folder string) (resmap.ResMap, error) {
	return krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(r.source, filepath.FromSlash(folder)))
}

// withImages gives the images of the manifests the prefix of the release.
func (r *release) withImages(manifests []byte) []byte {
	text := string(manifests)
	for _, name := range image.Names {
		reference := "/" + name + ":" + r.version
		text = strings.ReplaceAll(text, image.Prefix+reference, r.imagePrefix+reference)
	}
	return []byte(text)
}
