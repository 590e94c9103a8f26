// Package demo runs the commands that the README gives a newcomer: make demo, the five-minute tour, make demo-down.
package demo

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	root = "../.."
	// stepTimeout bounds each thing a person types.
	stepTimeout = 20 * time.Minute
)

// bash runs a script in the root of the checkout, as a person would, and gives what it printed.
func bash(t *testing.T, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	command.Dir = root
	// make passes its own state down; a person's shell has none of it.
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "MAKE") && !strings.HasPrefix(variable, "MFLAGS") && !strings.HasPrefix(variable, "KUBECONFIG=") {
			command.Env = append(command.Env, variable)
		}
	}
	started := time.Now()
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n$ %s\n%s", err, script, out)
	}
	t.Logf("%s: %.0f s", strings.SplitN(script, "\n", 2)[0], time.Since(started).Seconds())
	return string(out)
}

// commands are the lines behind "$ " in the console blocks of a section of the README.
func commands(t *testing.T, section string) []string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(readme), "\n## "+section+"\n")
	if !found {
		t.Fatalf("the README has no section %q", section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var lines []string
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			lines = append(lines, strings.TrimSpace(command))
		}
	}
	if len(lines) == 0 {
		t.Fatalf("section %q has no commands", section)
	}
	return lines
}

func contains(t *testing.T, out string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(out, word) {
			t.Errorf("%q is not in the output:\n%s", word, out)
		}
	}
}

func TestWhatTheReadmeTellsToType(t *testing.T) {
	t.Cleanup(func() { bash(t, "make -s demo-down") })

	contains(t, bash(t, "make demo"), "clustermaster.cluster.refinery.dev/alpha", "Authenticated   3/3", "Authenticated   1/1", "Try next")
	contains(t, bash(t, "make demo"), "the cluster runs already", "Authenticated   3/3")

	tour := append(commands(t, "Five minutes"),
		"kubectl wait -n plant --for=condition=Ready --timeout=120s clustermasters,refineries --all",
		"kubectl get -n plant refineries")
	contains(t, bash(t, strings.Join(tour, "\n")), "Suspended", "better not", "nodes have been seen to trust the new authority", "Authenticated   5/5")

	bash(t, "make -s demo-down")
	for what, script := range map[string]string{
		// API servers that other tests run meanwhile from the same binaries are not the demo's.
		"processes":  "ps -eo args | grep -E 'refinery-operator/kubernetes|refinery-cluster' | grep -v -e grep -e k8s_test_framework || true",
		"interfaces": "ip -brief link show type bridge; ip -brief link show type veth",
		"nft tables": "nft list tables",
		"mounts":     "grep -E 'kubelet|containerd|/run/netns/cni' /proc/mounts || true",
	} {
		if out := bash(t, script); strings.TrimSpace(out) != "" {
			t.Errorf("make demo-down left %s:\n%s", what, out)
		}
	}
}
