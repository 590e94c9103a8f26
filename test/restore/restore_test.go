// Package restore shows that operator and masters go on when etcd is restored from a snapshot while they run: resource versions
// and generations go back, and what was written since the snapshot is lost.
package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/master"
	"github.com/refinery-operator/refinery-operator/internal/operator"
	"github.com/refinery-operator/refinery-operator/test/loopback"
)

// patience is after how long a test gives up on what must happen. It says nothing about how soon that has to be.
const patience = 2 * time.Minute

// site is a control plane of its own, whose etcd keeps its data in a directory, with namespace plant.
type site struct {
	*WithT
	t    *testing.T
	env  *envtest.Environment
	data string
	api  client.Client
}

func newSite(t *testing.T) *site {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
	s := &site{WithT: NewWithT(t), t: t, data: filepath.Join(t.TempDir(), "etcd")}
	s.SetDefaultEventuallyTimeout(patience)
	s.SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	s.env = &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join("..", "..", "config", "crd", "bases")}, ErrorIfCRDPathMissing: true}
	etcd := &envtest.Etcd{DataDir: s.data}
	s.env.ControlPlane.Etcd = etcd
	server := s.env.ControlPlane.GetAPIServer()
	server.CertDir = t.TempDir() // which a stop leaves as it is
	server.StopTimeout = time.Second
	config, err := s.env.Start()
	s.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = s.env.Stop() })
	scheme, err := operator.NewScheme()
	s.Expect(err).NotTo(HaveOccurred())
	s.api, err = client.New(config, client.Options{Scheme: scheme})
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(s.api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "plant"}})).To(Succeed())
	return s
}

// interrupt stops the control plane, does something, and starts it again at the same addresses.
func (s *site) interrupt(meanwhile func() error) {
	s.t.Helper()
	plane := &s.env.ControlPlane
	_ = plane.APIServer.Stop() // killed, since its watches would go on for long
	s.Expect(plane.Etcd.Stop()).To(Succeed())
	s.Expect(meanwhile()).To(Succeed())
	s.Expect(plane.Etcd.Start()).To(Succeed())
	s.Expect(plane.APIServer.Start()).To(Succeed())
}

// run runs a part of the product until the test ends.
func (s *site) run(what string, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("%s: %v", what, err)
		}
	})
}

func (s *site) startOperator(config *rest.Config) {
	file := filepath.Join(s.t.TempDir(), "kubeconfig")
	user, err := s.env.AddUser(envtest.User{Name: "operator", Groups: []string{"system:masters"}}, config)
	s.Expect(err).NotTo(HaveOccurred())
	kubeconfig, err := user.KubeConfig()
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(os.WriteFile(file, kubeconfig, 0o600)).To(Succeed())
	s.run("the operator", func(ctx context.Context) error {
		if code := operator.Main(ctx, []string{"--master-image=m", "--refinery-image=r", "--kubeconfig=" + file,
			"--health-address=0", "--metrics-address=0"}, io.Discard, s.t.Output()); code != 0 {
			return fmt.Errorf("exit %d", code)
		}
		return nil
	})
}

// startMaster runs a master with the Secret that the operator makes for it.
func (s *site) startMaster(config *rest.Config) {
	secret, directory := &corev1.Secret{}, s.t.TempDir()
	s.Eventually(func() error {
		return s.api.Get(s.t.Context(), client.ObjectKey{Namespace: "plant", Name: "alpha" + v1alpha1.CertificateSuffix}, secret)
	}).Should(Succeed())
	for name, value := range secret.Data {
		s.Expect(os.WriteFile(filepath.Join(directory, name), value, 0o600)).To(Succeed())
	}
	m, err := master.NewMaster(master.Options{Namespace: "plant", Name: "alpha", PodName: "alpha-0", CertificateDirectory: directory,
		Listen: loopback.Reserve(s.t), HealthAddress: loopback.Reserve(s.t)}, config, logr.Discard())
	s.Expect(err).NotTo(HaveOccurred())
	s.run("the master", m.Run)
}

// scale wants another number of nodes of press, and waits until everybody has acted on it.
func (s *site) scale(replicas int32) {
	s.t.Helper()
	press := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "press"}}
	s.Eventually(func() error {
		return s.api.Patch(s.t.Context(), press, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)))
	}).Should(Succeed())
	s.Eventually(func(g Gomega) {
		g.Expect(s.api.Get(s.t.Context(), client.ObjectKeyFromObject(press), press)).To(Succeed())
		g.Expect(press.Status.ObservedGeneration).To(Equal(press.Generation), "by the operator")
		g.Expect(press.Status.Authenticated).NotTo(BeNil(), "by the master")
		g.Expect(press.Status.Authenticated.Wanted).To(Equal(replicas), "by the master")
		deployment := &appsv1.Deployment{}
		g.Expect(s.api.Get(s.t.Context(), client.ObjectKeyFromObject(press), deployment)).To(Succeed())
		g.Expect(*deployment.Spec.Replicas).To(Equal(replicas), "of the Deployment")
	}).Should(Succeed())
}

func TestOperatorAndMasterGoOnWhenEtcdIsRestored(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	s.Expect(s.api.Create(ctx, &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha"}})).To(Succeed())
	s.Expect(s.api.Create(ctx, &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "press"},
		Spec: v1alpha1.RefinerySpec{MasterRef: v1alpha1.LocalReference{Name: "alpha"}, Replicas: ptr.To[int32](1)}})).To(Succeed())
	s.startOperator(s.env.Config)
	s.startMaster(s.env.Config)
	s.scale(2)

	snapshot := filepath.Join(t.TempDir(), "snapshot")
	s.interrupt(func() error { return os.CopyFS(snapshot, os.DirFS(s.data)) })
	for replicas := range int32(8) {
		s.scale(replicas)
	}
	// Much is written that is lost: resource versions must not catch up by what a start writes.
	other := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "other"}}
	s.Expect(s.api.Create(ctx, other)).To(Succeed())
	for i := range 2000 {
		other.Data = map[string]string{"i": fmt.Sprint(i)}
		s.Expect(s.api.Update(ctx, other)).To(Succeed())
	}

	s.interrupt(func() error { return errors.Join(os.RemoveAll(s.data), os.CopyFS(s.data, os.DirFS(snapshot))) })
	s.Expect(apierrors.IsNotFound(s.api.Get(ctx, client.ObjectKeyFromObject(other), other))).To(BeTrue(), "it was restored")
	s.scale(3)
	s.scale(1)

	deployment := &appsv1.Deployment{}
	s.Expect(s.api.Get(ctx, client.ObjectKey{Namespace: "plant", Name: "press"}, deployment)).To(Succeed())
	deployment.Spec.Replicas = ptr.To[int32](9)
	s.Expect(s.api.Update(ctx, deployment)).To(Succeed(), "someone changes what the operator owns")
	s.Eventually(func(g Gomega) {
		g.Expect(s.api.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)).To(Succeed())
		g.Expect(*deployment.Spec.Replicas).To(Equal(int32(1)))
	}).Should(Succeed())
}
