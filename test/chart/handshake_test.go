package chart

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/test/loopback"
	"github.com/refinery-operator/refinery-operator/test/programs"
)

// mount waits for a Secret of namespace plant and writes it to a directory, as a kubelet does.
func (s *site) mount(secret string) (directory string) {
	s.t.Helper()
	directory = s.t.TempDir()
	there := &corev1.Secret{}
	s.Eventually(func() error {
		return s.api.Get(s.t.Context(), client.ObjectKey{Namespace: "plant", Name: secret}, there)
	}).Should(Succeed())
	for name, content := range there.Data {
		s.Expect(os.WriteFile(filepath.Join(directory, name), content, 0o600)).To(Succeed())
	}
	return directory
}

// There is no kubelet: the programs run here with the flags of their pods, and the test says when the pod has ended well.
func TestHelmTestSucceedsOnceItsPodHasAuthenticated(t *testing.T) {
	s := newSite(t)
	s.helm("install", "refinery-operator", chartPath, "--namespace=plant")
	programs.Start(t, programs.Operator, "operator", t.TempDir(), "--master-image=m", "--refinery-image=r",
		"--kubeconfig="+s.admin, "--health-address=0", "--metrics-address=0")
	tested := make(chan error, 1)
	go func() {
		_, err := run(t, "HELM", "test", "refinery-operator", "--namespace=plant", "--timeout=2m", "--kubeconfig="+s.admin)
		tested <- err
	}()

	pod := &corev1.Pod{}
	s.Eventually(func() error {
		return s.api.Get(t.Context(), client.ObjectKey{Namespace: "plant", Name: "refinery-operator-test"}, pod)
	}).Should(Succeed())
	node := pod.Spec.InitContainers[0]
	s.Expect(node.Args).To(ContainElement("--address=refinery-operator-test.plant.svc:34308"))
	address, health := loopback.Reserve(t), loopback.Reserve(t)
	programs.Start(t, programs.Master, "master", t.TempDir(), "--namespace=plant", "--name=refinery-operator-test", "--pod-name=refinery-operator-test-0",
		"--kubeconfig="+s.admin, "--certificate-dir="+s.mount("refinery-operator-test"+v1alpha1.CertificateSuffix), "--listen="+address, "--health-address="+loopback.Reserve(t))
	programs.Start(t, programs.Node, "node", t.TempDir(), append(node.Args, "--address="+address, "--server-name=refinery-operator-test.plant.svc",
		"--certificate-dir="+s.mount(pod.Spec.Volumes[0].Secret.SecretName), "--health-address="+health)...)
	s.Expect(node.StartupProbe.HTTPGet.Path).To(Equal("/readyz")) // of a node that is authenticated
	s.Eventually(get("http://" + health + "/readyz")).Should(Equal(200))
	s.Consistently(tested, "1s").ShouldNot(Receive())

	pod.Status.Phase = corev1.PodSucceeded
	s.Expect(s.api.Status().Update(t.Context(), pod)).To(Succeed())
	s.Eventually(tested).Should(Receive(BeNil()))
	left := &corev1.PodList{}
	s.Expect(s.api.List(t.Context(), left, client.InNamespace("plant"))).To(Succeed())
	s.Expect(left.Items).To(BeEmpty())
}
