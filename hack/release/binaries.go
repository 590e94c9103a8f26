package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/refinery-operator/refinery-operator/hack/image"
)

// platform is an operating system and an architecture, as Go names them.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "_" + p.arch }

// executable is the file name of a program.
func (p platform) executable(name string) string {
	if p.os == "windows" {
		return name + ".exe"
	}
	return name
}

// kubectlPlugin is the program that people run.
const kubectlPlugin = "kubectl-refinery"

// servers are the platforms of the images and of the agent, clients those of the plugin.
var (
	servers = []platform{{"linux", "amd64"}, {"linux", "arm64"}}
	clients = slices.Concat(servers, []platform{{"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}, {"windows", "arm64"}})
)

// compile builds all programs for all their platforms.
func (r *release) compile(ctx context.Context) error {
	r.binaries = map[platform]map[string]string{}
	for _, p := range clients {
		names := []string{kubectlPlugin}
		if slices.Contains(servers, p) {
			names = append(names, image.Names...)
		}
		made, err := r.build(ctx, p, names...)
		if err != nil {
			return err
		}
		r.binaries[p] = made
	}
	return nil
}

// build compiles programs for one platform. They depend on the files of the commit and the version of Go alone: not on the folder,
// the machine, the time, or the settings of whoever builds.
func (r *release) build(ctx context.Context, p platform, names ...string) (map[string]string, error) {
	dir := filepath.Join(r.work, "bin", p.String())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	args := []string{"build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", image.LDFlags(r.version), "-o", dir + string(filepath.Separator)}
	made := map[string]string{}
	for _, name := range names {
		args = append(args, "./cmd/"+name)
		made[name] = filepath.Join(dir, p.executable(name))
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.source
	modules, err := whereModulesAre(ctx)
	if err != nil {
		return nil, err
	}
	cmd.Env = append(append(os.Environ(), modules...), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOENV=off", "GOWORK=off", "GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off")
	_, err = output(cmd)
	return made, err
}

// whereModulesAre are the settings of Go that say where modules come from and are kept: no others are taken from the file of go env -w.
func whereModulesAre(ctx context.Context) ([]string, error) {
	names := []string{"GOPROXY", "GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB", "GOINSECURE", "GOAUTH", "GOMODCACHE", "GOCACHE", "GOTOOLCHAIN"}
	values, err := output(exec.CommandContext(ctx, "go", append([]string{"env"}, names...)...))
	if err != nil {
		return nil, err
	}
	var settings []string
	for i, value := range strings.Split(strings.TrimSuffix(string(values), "\n"), "\n") {
		settings = append(settings, names[i]+"="+value)
	}
	return settings, nil
}
