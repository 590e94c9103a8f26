package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/refinery-operator/refinery-operator/hack/cluster/internal/progress"
)

// packages are the Debian packages the cluster runs on, each with a file that shows that it is installed.
var packages = []debianPackage{
	{"containerd", "/usr/bin/containerd"},
	{"runc", "/usr/sbin/runc"},
	{"containernetworking-plugins", "/usr/lib/cni/bridge"},
	{"nftables", "/usr/sbin/nft"},
	{"conntrack", "/usr/sbin/conntrack"},
	{"iproute2", "/bin/ip"},
	{"mount", "/bin/mount"},
	{"kmod", "/sbin/modprobe"},
}

type debianPackage struct{ name, provides string }

// missingPackages names the packages whose files are not there.
func missingPackages(wanted []debianPackage, exists func(path string) bool) []string {
	var missing []string
	for _, p := range wanted {
		if !exists(p.provides) {
			missing = append(missing, p.name)
		}
	}
	return missing
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// installPackages installs what is missing, and does nothing when nothing is.
func installPackages(ctx context.Context, w *progress.Writer) error {
	missing := missingPackages(packages, fileExists)
	if len(missing) == 0 {
		return nil
	}
	if !fileExists("/etc/debian_version") || !fileExists("/usr/bin/apt-get") {
		return fmt.Errorf("this is not Debian: install %s yourself, then try again", strings.Join(missing, ", "))
	}
	err := w.Step("install Debian packages "+strings.Join(missing, " "), func() error {
		if err := apt(ctx, "update"); err != nil {
			return err
		}
		return apt(ctx, append([]string{"install", "--yes", "--no-install-recommends"}, missing...)...)
	})
	if err != nil {
		return err
	}
	// Debian starts its own containerd at once and at every boot. The cluster runs one of its own, so where we brought the
	// package nobody needs that one.
	if slices.Contains(missing, "containerd") && fileExists("/run/systemd/system") {
		return runQuietly(ctx, "systemctl", "disable", "--now", "containerd.service")
	}
	return nil
}

func apt(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	return describe(cmd)
}

// runQuietly runs a command whose output matters only when it fails.
func runQuietly(ctx context.Context, name string, args ...string) error {
	return describe(exec.CommandContext(ctx, name, args...))
}

// describe runs cmd; an error carries the command and the end of what it said.
func describe(cmd *exec.Cmd) error {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.Join(lines[max(0, len(lines)-5):], "\n"))
	}
	return err
}
