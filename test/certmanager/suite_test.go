// Package certmanager tests spec.certificates.issuerRef with cert-manager's own controllers and CRDs, against a
// real API server.
package certmanager

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/format"
	"go.uber.org/goleak"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/internal/operator"
	"github.com/refinery-operator/refinery-operator/test/rights"
)

var (
	server = &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	recorder   = rights.Recorder{Suite: "certmanager"}
	restConfig *rest.Config
	api        client.Client
	// operatorKubeconfig is a file.
	operatorKubeconfig string
	// operatorLog is what the operator said.
	operatorLog = &lockedBuffer{}
)

// operatorProcess in the environment makes this test binary the operator.
const operatorProcess = "RUN_AS_OPERATOR"

func TestMain(m *testing.M) {
	if os.Getenv(operatorProcess) == "" {
		goleak.VerifyTestMain(m, goleak.IgnoreTopFunction( // Ginkgo's own, for good.
			"github.com/onsi/ginkgo/v2/internal/interrupt_handler.(*InterruptHandler).registerForInterrupts.func2"),
			goleak.Cleanup(func(code int) { os.Exit(recorder.End(code)) }))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	code := operator.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// patience is after how long a spec gives up on what must happen. It says nothing about how soon that has to be.
const patience = 2 * time.Minute

func TestCertManager(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" || os.Getenv("CERT_MANAGER") == "" {
		t.Skip("KUBEBUILDER_ASSETS and CERT_MANAGER are not set; make test-certmanager sets them")
	}
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(patience)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	SetDefaultConsistentlyDuration(500 * time.Millisecond)
	format.MaxLength = 0
	format.TruncatedDiff = false
	RunSpecs(t, "cert-manager")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	ctrl.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	Expect(recorder.Watch(server)).To(Succeed())
	var err error
	restConfig, err = server.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(server.Stop()).To(Succeed()) })
	restConfig.QPS = -1
	scheme, err := operator.NewScheme()
	Expect(err).NotTo(HaveOccurred())
	api, err = client.New(restConfig, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	operatorKubeconfig = operatorUser(ctx)
})

// operatorUser makes a user with the permissions that the operator is installed with, and returns its kubeconfig.
func operatorUser(ctx context.Context) string {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{}
	manifest, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", "role.yaml"))
	Expect(err).NotTo(HaveOccurred())
	Expect(yaml.UnmarshalStrict(manifest, role)).To(Succeed())
	Expect(api.Create(ctx, role)).To(Succeed())
	Expect(api.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "operator"}},
	})).To(Succeed())
	return kubeconfig(envtest.User{Name: "operator"})
}

// startOperator returns what stops it, once.
func startOperator() (stop func()) {
	GinkgoHelper()
	process := exec.Command(os.Args[0], "--master-image=example.com/master:1", "--refinery-image=example.com/refinery:1", //nolint:gosec // this test binary
		"--kubeconfig="+operatorKubeconfig, "--health-address=0", "--metrics-address=0", "--allowed-issuers=Issuer/*,Signer.example.com/*")
	process.Env, process.Stderr = append(os.Environ(), operatorProcess+"=1"), operatorLog
	return start(process)
}

// start returns what ends a process, once.
func start(process *exec.Cmd) (stop func()) {
	GinkgoHelper()
	Expect(process.Start()).To(Succeed())
	return sync.OnceFunc(func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		_ = process.Wait()
	})
}

// crds are those of the version of cert-manager that is run.
func crds() envtest.CRDInstallOptions {
	return envtest.CRDInstallOptions{Paths: []string{filepath.Join(filepath.Dir(os.Getenv("CERT_MANAGER")), "crds")}, ErrorIfPathMissing: true}
}

// installCertManager installs the CRDs and starts the controllers. It returns what stops these.
func installCertManager() (stop func()) {
	GinkgoHelper()
	_, err := envtest.InstallCRDs(restConfig, crds())
	Expect(err).NotTo(HaveOccurred())
	process := exec.Command(os.Getenv("CERT_MANAGER"), "--kubeconfig="+kubeconfig(envtest.User{Name: "cert-manager", Groups: []string{"system:masters"}})) //nolint:gosec // what make test-certmanager built
	process.Stdout, process.Stderr = GinkgoWriter, GinkgoWriter
	return start(process)
}

// kubeconfig is a file for a user.
func kubeconfig(who envtest.User) string {
	GinkgoHelper()
	user, err := server.AddUser(who, restConfig)
	Expect(err).NotTo(HaveOccurred())
	content, err := user.KubeConfig()
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(GinkgoT().TempDir(), who.Name)
	Expect(os.WriteFile(file, content, 0o600)).To(Succeed())
	return file
}

// lockedBuffer may be written and read at once.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = GinkgoWriter.Write(p)
	return b.buffer.Write(p)
}

// lines are those that were written from the given one on.
func (b *lockedBuffer) lines(from int) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Split(strings.TrimSuffix(b.buffer.String(), "\n"), "\n")[from:]
}

// errors are the lines of level error, from the given line on.
func (b *lockedBuffer) errors(from int) []string {
	var found []string
	for _, line := range b.lines(from) {
		if strings.Contains(line, `"level":"error"`) {
			found = append(found, fmt.Sprintf("%.500s", line))
		}
	}
	return found
}
