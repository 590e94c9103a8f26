package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// k8s is the typed client of the cluster under test, with the rights of an administrator.
var k8s client.WithWatch

// connect makes k8s. A failure ends the suite.
func connect() {
	GinkgoHelper()
	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfigPath())
	Expect(err).NotTo(HaveOccurred(), "reading %s", kubeconfigPath())
	// The suite makes hundreds of objects at once; its own client must not be what is slow.
	config.QPS, config.Burst = 500, 1000
	config.UserAgent = "refinery-e2e"
	k8s, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
}

// requireLocalNode ends the suite unless the cluster's node is this machine: raw clients and agents
// outside any pod dial pod and Service addresses directly, and nobody wants the operator of a cluster in use
// exchanged.
func requireLocalNode(ctx context.Context) {
	GinkgoHelper()
	var nodes corev1.NodeList
	Expect(k8s.List(ctx, &nodes)).To(Succeed(), "is the cluster up? `make test-e2e` starts it")
	own, err := net.InterfaceAddrs()
	Expect(err).NotTo(HaveOccurred())
	for _, node := range nodes.Items {
		for _, address := range node.Status.Addresses {
			for _, a := range own {
				if prefix, ok := a.(*net.IPNet); ok && address.Type == corev1.NodeInternalIP && prefix.IP.String() == address.Address {
					return
				}
			}
		}
	}
	Fail("this suite needs the local cluster: no node of the cluster in " + kubeconfigPath() + " is this machine; run `make test-e2e`")
}

// path is a path of the repository, wherever the test runs.
func path(elements ...string) string {
	return filepath.Join(append([]string{"..", ".."}, elements...)...)
}

// kubectl runs what a person would type, and returns what it prints. A failure fails the spec.
func kubectl(ctx context.Context, args ...string) string {
	GinkgoHelper()
	out, err := tryKubectl(ctx, "", args...)
	Expect(err).NotTo(HaveOccurred())
	return out
}

// kubectlApply is `kubectl apply -f -` with the manifest on its standard input.
func kubectlApply(ctx context.Context, manifest string, args ...string) string {
	GinkgoHelper()
	out, err := tryKubectl(ctx, manifest, append([]string{"apply", "-f", "-"}, args...)...)
	Expect(err).NotTo(HaveOccurred())
	return out
}

// tryKubectl returns what kubectl prints, and as error what it prints when it fails.
func tryKubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	return command(ctx, environment("KUBECTL", "kubectl"), stdin, args...)
}

// helm runs Helm and returns what it prints. A failure fails the spec.
func helm(ctx context.Context, args ...string) string {
	GinkgoHelper()
	out, err := command(ctx, environment("HELM", "helm"), "", args...)
	Expect(err).NotTo(HaveOccurred())
	return out
}

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func command(ctx context.Context, program, stdin string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfigPath())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
