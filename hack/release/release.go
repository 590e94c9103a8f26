package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// home is the project's page, and the path of its module.
const home = "github.com/refinery-operator/refinery-operator"

// options are those of the command line.
type options struct {
	repository, commit, output, imagePrefix, downloadURL, helm string
}

// release is one release while it is made.
type release struct {
	options
	// source is a folder with the files of the commit and nothing else, work one for what is not released, out one for what is.
	source, work, out string
	// version has no leading v.
	version string
	// commit is the full hash, date its time: the only time in anything that is made.
	commit string
	date   time.Time
	// binaries by platform and name, as compile made them.
	binaries map[platform]map[string]string
}

// makeRelease makes every file aside, and puts all of them into the output folder when the last one is made.
func makeRelease(ctx context.Context, o options, progress io.Writer) error {
	if err := mayReplace(o.output); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "refinery-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	r := &release{options: o, source: filepath.Join(work, "source"), work: work, out: filepath.Join(work, "out")}
	for _, dir := range []string{r.source, r.out} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"the source", r.export},
		{"the binaries", r.compile},
		{"the images", r.images},
		{"the chart", r.chart},
		{"install.yaml", r.manifests},
		{"the OLM bundle", r.olm},
		{"the kubectl plugin", r.plugin},
		{"the agent", r.agent},
		{"the bills of materials", r.billsOfMaterials},
		{"the checksums", r.checksums},
	} {
		fmt.Fprintf(progress, "make %s …\n", step.what)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	if err := os.RemoveAll(o.output); err != nil {
		return err
	}
	if err := os.CopyFS(o.output, os.DirFS(r.out)); err != nil {
		return err
	}
	fmt.Fprintf(progress, "version %s of commit %s is in %s\n", r.version, r.commit, o.output)
	return nil
}

// mayReplace refuses a folder that is something else than an older release.
func mayReplace(output string) error {
	entries, err := os.ReadDir(output)
	if os.IsNotExist(err) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(output, checksumFile)); err != nil {
		return fmt.Errorf("folder %s is not replaced, since it has files and no %s: empty it, or choose another with --output", output, checksumFile)
	}
	return nil
}

// write writes a file of the release.
func (r *release) write(name string, content []byte) error {
	return os.WriteFile(filepath.Join(r.out, name), content, 0o644)
}
