package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
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
	content, err := r.kustomize("config/default")
	if err != nil {
		return err
	}
	return r.write("install.yaml", content)
}

// kustomize renders a folder of the source.
func (r *release) kustomize(folder string) ([]byte, error) {
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(r.source, filepath.FromSlash(folder)))
	if err != nil {
		return nil, err
	}
	content, err := rendered.AsYaml()
	if err != nil {
		return nil, err
	}
	text := string(content)
	for _, name := range image.Names {
		reference := image.Prefix + "/" + name + ":" + r.version
		if !strings.Contains(text, reference) {
			return nil, fmt.Errorf("%s does not name image %s: run make generate", folder, reference)
		}
		text = strings.ReplaceAll(text, reference, r.imagePrefix+"/"+name+":"+r.version)
	}
	return []byte(text), nil
}
