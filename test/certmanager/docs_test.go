package certmanager

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/test/docs"
)

// runDocs runs the commands of docs/certificates/cert-manager.md as they stand there, and returns what they printed.
func runDocs(ctx context.Context) string {
	GinkgoHelper()
	directory := GinkgoT().TempDir()
	data := authorityData("plant")
	for name, content := range map[string][]byte{"ca.crt": data[corev1.TLSCertKey], "ca.key": data[corev1.TLSPrivateKeyKey]} {
		Expect(os.WriteFile(filepath.Join(directory, name), content, 0o600)).To(Succeed())
	}
	DeferCleanup(func(ctx SpecContext) {
		for _, object := range []client.Object{&v1alpha1.Refinery{}, &v1alpha1.ClusterMaster{}} {
			Expect(api.DeleteAllOf(ctx, object, client.InNamespace("default"))).To(Succeed())
		}
	})
	commands := strings.Join(docs.Commands(GinkgoTB(), "certificates/cert-manager.md"), "\n")
	shell := exec.CommandContext(ctx, "sh", "-eu", "-c", commands) //nolint:gosec // what the docs say
	shell.Dir = directory
	shell.Env = append(os.Environ(), "PATH="+os.Getenv("KUBEBUILDER_ASSETS")+":"+os.Getenv("PATH"),
		"KUBECONFIG="+kubeconfig(envtest.User{Name: "reader", Groups: []string{"system:masters"}}))
	output, err := shell.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(output))
	return string(output)
}
