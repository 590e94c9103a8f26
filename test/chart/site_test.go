package chart

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/operator"
	"github.com/refinery-operator/refinery-operator/test/programs"
	"github.com/refinery-operator/refinery-operator/test/rights"
)

// patience is after how long a test gives up on what must happen. It says nothing about how soon that has to be.
const patience = time.Minute

var recorder = rights.Recorder{Suite: "chart"}

func TestMain(m *testing.M) {
	programs.Main()
	ctrl.SetLogger(logr.Discard())
	os.Exit(recorder.End(m.Run()))
}

// site is an API server of a test with namespace plant. Nothing runs in its pods.
type site struct {
	*WithT
	t     *testing.T
	env   *envtest.Environment
	api   client.Client
	admin string // a kubeconfig
}

// newSite starts an API server that has CRDs from the files of a folder, or none.
func newSite(t *testing.T, crds ...string) *site {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set; make test-chart sets it")
	}
	s := &site{WithT: NewWithT(t), t: t, env: &envtest.Environment{CRDDirectoryPaths: crds, ErrorIfCRDPathMissing: true}}
	s.SetDefaultEventuallyTimeout(patience)
	s.Expect(recorder.Watch(s.env)).To(Succeed())
	config, err := s.env.Start()
	s.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = s.env.Stop() })
	scheme, err := operator.NewScheme()
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(apiextensionsv1.AddToScheme(scheme)).To(Succeed())
	s.api, err = client.New(config, client.Options{Scheme: scheme})
	s.Expect(err).NotTo(HaveOccurred())
	s.admin = s.user("admin", "system:masters")
	s.Expect(s.api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "plant"}})).To(Succeed())
	return s
}

// user returns the kubeconfig of a user.
func (s *site) user(name string, groups ...string) string {
	s.t.Helper()
	user, err := s.env.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	s.Expect(err).NotTo(HaveOccurred())
	config, err := user.KubeConfig()
	s.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(s.t.TempDir(), "kubeconfig")
	s.Expect(os.WriteFile(file, config, 0o600)).To(Succeed())
	return file
}

func (s *site) helm(arguments ...string) {
	s.t.Helper()
	_, err := run(s.t, "HELM", append(arguments, "--kubeconfig="+s.admin)...)
	s.Expect(err).NotTo(HaveOccurred(), "helm %v", arguments)
}

func (s *site) kubectl(arguments ...string) {
	s.t.Helper()
	_, err := run(s.t, "KUBECTL", append(arguments, "--kubeconfig="+s.admin)...)
	s.Expect(err).NotTo(HaveOccurred(), "kubectl %v", arguments)
}

// newRefinery makes a Refinery as soon as there is its CRD.
func (s *site) newRefinery(name string) *v1alpha1.Refinery {
	s.t.Helper()
	refinery := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name}}
	refinery.Spec.MasterRef.Name = "alpha"
	s.Eventually(func() error { return s.api.Create(s.t.Context(), refinery) }).Should(Succeed())
	return refinery
}

// expectUnharmed expects that an object is the one that was made.
func (s *site) expectUnharmed(refinery *v1alpha1.Refinery) {
	s.t.Helper()
	now := &v1alpha1.Refinery{}
	s.Expect(s.api.Get(s.t.Context(), client.ObjectKeyFromObject(refinery), now)).To(Succeed())
	s.Expect([]types.UID{now.UID}).To(Equal([]types.UID{refinery.UID}))
	s.Expect(now.DeletionTimestamp).To(BeNil())
}

func (s *site) crd(plural string) *apiextensionsv1.CustomResourceDefinition {
	s.t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	s.Expect(s.api.Get(s.t.Context(), client.ObjectKey{Name: plural + "." + v1alpha1.GroupVersion.Group}, crd)).To(Succeed())
	return crd
}

// expectOwner expects that both CRDs belong to a release of Helm.
func (s *site) expectOwner(release, namespace string) {
	s.t.Helper()
	for _, plural := range []string{"clustermasters", "refineries"} {
		s.Expect(s.crd(plural).Annotations).To(And(HaveKeyWithValue("meta.helm.sh/release-name", release),
			HaveKeyWithValue("meta.helm.sh/release-namespace", namespace)), fmt.Sprintf("CRD of %s", plural))
	}
}

// get returns the code of the answer to a request, 0 for none.
func get(url string) func() int {
	return func() int {
		response, err := http.Get(url) //nolint:gosec // of a process of the test
		if err != nil {
			return 0
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
}
