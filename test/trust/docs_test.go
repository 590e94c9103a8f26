package trust

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/test/docs"
)

// TestTheCommandsOfThePagesWork types what the pages say, on a plant with ClusterMaster alpha and Refinery press.
func TestTheCommandsOfThePagesWork(t *testing.T) {
	for page, want := range map[string][]string{
		"agent.md":                {"refinery.cluster.refinery.dev/yard condition met"},
		"certificates/README.md":  {"press", "holds a certificate issued by the operator", `secret "press-tls" deleted`, "refinery.cluster.refinery.dev/press patched"},
		"certificates/provide.md": {"refinery.cluster.refinery.dev/press condition met", "secret/press-own configured", "clustermaster.cluster.refinery.dev/alpha condition met"},
		"security.md":             {"clustermaster.cluster.refinery.dev/alpha patched"},
		"certificates/rotate.md":  {"clustermaster.cluster.refinery.dev/alpha condition met", "nodes have been seen to trust the new authority"},
	} {
		t.Run(page, func(t *testing.T) {
			p := newPlant(t)
			p.createMaster("alpha", v1alpha1.ClusterMasterSpec{})
			press := p.refinery("press", "alpha")
			press.Spec.Placement = v1alpha1.PlacementInCluster
			p.must(api.Create(t.Context(), press))
			p.secret("press-tls")

			directory := t.TempDir()
			for name, pair := range map[string]pki.PEMPair{"press": p.clientPair(press), "new": p.clientPair(press), "ca": p.newAuthority("plant")} {
				p.must(os.WriteFile(filepath.Join(directory, name+".crt"), pair.Certificate, 0o600))
				p.must(os.WriteFile(filepath.Join(directory, name+".key"), pair.Key, 0o600))
			}
			here := strings.NewReplacer("-n plant", "-n "+p.namespace, "/tmp/", directory+"/")
			printed := p.shell(directory, here.Replace(strings.Join(docs.Commands(t, page), "\n")))
			for _, words := range want {
				if !strings.Contains(printed, words) {
					t.Errorf("docs/%s: the commands do not print %q:\n%s", page, words, printed)
				}
			}
		})
	}
}

// clientPair is a certificate for the nodes of a Refinery, signed by the operator's authority.
func (p *plant) clientPair(r *v1alpha1.Refinery) pki.PEMPair {
	p.Helper()
	pair, err := p.authority(r.Spec.MasterRef.Name).IssueClient(r.Name, r.Identity(), time.Now())
	p.must(err)
	return pair
}

// shell runs commands in a directory, with the plant's namespace as kubectl's default, and returns what they print.
func (p *plant) shell(directory, commands string) string {
	p.Helper()
	config := filepath.Join(directory, "kubeconfig")
	content, err := os.ReadFile(kubeconfig)
	p.must(err)
	p.must(os.WriteFile(config, content, 0o600))
	shell := exec.CommandContext(p.Context(), "sh", "-eu", "-c", "kubectl config set-context --current --namespace="+p.namespace+"\n"+commands) //nolint:gosec // what the docs say
	shell.Dir = directory
	shell.Env = append(os.Environ(), "PATH="+os.Getenv("KUBEBUILDER_ASSETS")+":"+os.Getenv("PATH"), "KUBECONFIG="+config)
	output, err := shell.CombinedOutput()
	if err != nil {
		p.Fatalf("%v\n%s", err, output)
	}
	return string(output)
}
