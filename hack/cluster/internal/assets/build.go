package assets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/progress"
)

// BuildOptions are those of one static `go build`.
type BuildOptions struct {
	Dir      string // the module's folder
	LDFlags  string
	Output   string // a file, or for several packages a folder that exists
	Packages []string
}

// Build runs `go build` for a static Linux binary that depends on neither the checkout's folder nor its revision. An error carries what go said.
func Build(ctx context.Context, options BuildOptions, stdout io.Writer) error {
	args := []string{"build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", options.LDFlags, "-o", options.Output}
	cmd := exec.CommandContext(ctx, "go", append(args, options.Packages...)...)
	cmd.Dir = options.Dir
	// GOWORK and GOFLAGS of the caller must not reach a pinned build.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOWORK=off", "GOFLAGS=")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = stdout, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build %s in %s: %w\n%s", strings.Join(options.Packages, " "), options.Dir, err, tail(said.String(), 20))
	}
	return nil
}

// tail is the last n lines of text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// kubernetesVersionFlags makes the binaries announce the version (vMAJOR.MINOR.PATCH) they were built from.
func kubernetesVersionFlags(version string) string {
	const pkg = "k8s.io/component-base/version"
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	flags := ""
	for _, variable := range [][2]string{{"gitVersion", version}, {"gitMajor", major}, {"gitMinor", minor}, {"gitTreeState", "clean"}} {
		flags += fmt.Sprintf(" -X %s.%s=%s", pkg, variable[0], variable[1])
	}
	return flags
}

// Lock takes the lock file for this process, and says so when it has to wait for the holder. The lock ends with the process at the latest.
func Lock(ctx context.Context, path string, w *progress.Writer, holder string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = w.Step("wait for "+holder, func() error { return awaitLock(ctx, file) })
	if err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}

// awaitLock asks for the lock again and again: a blocked flock(2) could not be interrupted.
func awaitLock(ctx context.Context, file *os.File) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
