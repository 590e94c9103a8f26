package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// krewManifest is a Plugin of krew, the plugin manager of kubectl: the fields that we need of its API krew.googlecontainertools.github.com/v1alpha2.
type krewManifest struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Metadata   krewMetadata `json:"metadata"`
	Spec       krewSpec     `json:"spec"`
}

type krewMetadata struct {
	Name string `json:"name"`
}

type krewSpec struct {
	Version          string         `json:"version"`
	Homepage         string         `json:"homepage"`
	ShortDescription string         `json:"shortDescription"`
	Description      string         `json:"description"`
	Platforms        []krewPlatform `json:"platforms"`
}

type krewPlatform struct {
	Selector krewSelector `json:"selector"`
	URI      string       `json:"uri"`
	SHA256   string       `json:"sha256"`
	Bin      string       `json:"bin"`
}

type krewSelector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

// plugin packs the kubectl plugin for each platform, and writes the manifest by which krew finds the archives.
func (r *release) plugin(context.Context) error {
	manifest := krewManifest{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin",
		Metadata: krewMetadata{Name: "refinery"}, // krew wants the file to be called the same
		Spec: krewSpec{
			Version: "v" + r.version, Homepage: "https://" + home,
			ShortDescription: "Preview which refinery nodes a change would refuse",
			Description: "Reads the ClusterMasters and Refineries of the refinery operator, checks the live nodes with the master's own code,\n" +
				"and says which of them a change would refuse. It changes nothing.\n",
		},
	}
	for _, p := range clients {
		pack, extension := tarball, "tar.gz"
		if p.os == "windows" {
			pack, extension = zipped, "zip"
		}
		bin := p.executable(kubectlPlugin)
		content, err := pack([]member{{bin, r.binaries[p][kubectlPlugin], true}, {"LICENSE", filepath.Join(r.source, "LICENSE"), false}}, r.date)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%s_%s_%s.%s", kubectlPlugin, r.version, p, extension)
		if err := r.write(name, content); err != nil {
			return err
		}
		manifest.Spec.Platforms = append(manifest.Spec.Platforms, krewPlatform{
			Selector: krewSelector{map[string]string{"os": p.os, "arch": p.arch}},
			URI:      r.downloadURL + "/" + name, SHA256: fmt.Sprintf("%x", sha256.Sum256(content)), Bin: bin,
		})
	}
	content, err := yaml.Marshal(manifest)
	if err != nil {
		return err
	}
	return r.write("refinery.yaml", content)
}
