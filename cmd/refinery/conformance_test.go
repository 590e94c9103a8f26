package main

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/test/kit"
)

// plant is the files of one master and one node.
type plant struct{ directory string }

func newPlant(t *testing.T) *plant {
	t.Helper()
	p := &plant{t.TempDir()}
	now := time.Now()
	made, err := pki.NewAuthority("plant", time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.ParseAuthority(made.Certificate, made.Key, now)
	if err != nil {
		t.Fatal(err)
	}
	server, err := authority.IssueServer("localhost", []string{"localhost"}, now)
	if err != nil {
		t.Fatal(err)
	}
	node, err := authority.IssueClient("press", &url.URL{Scheme: "spiffe", Host: "plant", Path: "/press"}, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"server.crt": server.Certificate, "server.key": server.Key, "shared": []byte("the shared certificate"),
		"tls.crt": node.Certificate, "tls.key": node.Key, "ca.crt": made.Certificate,
	} {
		if err := os.WriteFile(p.path(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *plant) path(name string) string { return filepath.Join(p.directory, name) }

// The node as it is delivered. Most cases are refusals, after which it would wait for longer and longer.
func TestTheConformanceKitPasses(t *testing.T) {
	p := newPlant(t)
	own := []string{"--cert=" + p.path("server.crt"), "--key=" + p.path("server.key")}
	shared := "--shared-certificate-file=" + p.path("shared")
	for _, tc := range []struct {
		name, transport string
		kit, node       []string
	}{
		{"Plaintext", "Plaintext", []string{"--auth-cert=" + p.path("shared")}, []string{shared}},
		{"ServerTLS", "ServerTLS", slices.Concat(own, []string{"--auth-cert=" + p.path("shared")}), []string{shared, "--certificate-dir=" + p.directory}},
		{"MutualTLS", "MutualTLS", slices.Concat(own, []string{"--ca=" + p.path("ca.crt")}), []string{"--certificate-dir=" + p.directory}},
		{"MutualTLS, its timeouts", "MutualTLS", slices.Concat(own, []string{"--ca=" + p.path("ca.crt"), "--run=^R-(5.4|6)", "--alive-timeout=3s",
			"--handshake-timeout=10s"}),
			[]string{"--certificate-dir=" + p.directory}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			var node *exec.Cmd
			start := func(address string) {
				args := slices.Concat(tc.node, []string{"--address=" + address, "--server-name=localhost", "--transport=" + tc.transport,
					"--id=press/a", "--version=1.2.3", "--alive-interval=1s", "--alive-timeout=3s", "--max-backoff=100ms", "--upstream-file=", "--http-address=", "--health-address="})
				node = refinery(ctx, args...)
				if err := node.Start(); err != nil {
					t.Error(err) // The kit says that nobody comes.
				}
			}
			kit.Run(ctx, t, start, slices.Concat([]string{"refinery", "--listen=127.0.0.1:0", "--transport=" + tc.transport, "--id=press/a", "--version=1.2.3",
				"--type=refinery", "--alive-interval=1s", "--patience=900ms", "--unusable-upstream=nonsense"}, tc.kit)...)
			cancel()
			if node != nil {
				_ = node.Wait() // It was killed.
			}
		})
	}
}
