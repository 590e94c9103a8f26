// Package trust runs operator, masters and nodes as processes of their own against a real API server that keeps an
// audit log, and looks at what becomes of trust when it is taken away, and of keys wherever something is written.
package trust

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/operator"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/test/loopback"
	"github.com/refinery-operator/refinery-operator/test/programs"
)

// server is one API server for all tests; auditLog holds everything but the content of Secrets.
var (
	server     *envtest.Environment
	api        client.WithWatch
	kubeconfig string
	auditLog   string
)

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: RequestResponse}
`

func TestMain(m *testing.M) {
	programs.Main()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS is not set: the tests against a real API server are skipped")
		return
	}
	ctrllog.SetLogger(logr.Discard())
	directory, err := os.MkdirTemp("", "trust-")
	code := 1
	if err == nil {
		if err = startServer(directory); err == nil {
			code = m.Run()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if server != nil {
		_ = server.Stop()
	}
	_ = os.RemoveAll(directory)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func startServer(directory string) error {
	policy := filepath.Join(directory, "policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	auditLog = filepath.Join(directory, "audit.log")
	server = &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join("..", "..", "config", "crd", "bases")}, ErrorIfCRDPathMissing: true}
	server.ControlPlane.GetAPIServer().Configure().
		Append("audit-policy-file", policy).Append("audit-log-path", auditLog).Append("audit-log-mode", "blocking")
	config, err := server.Start()
	if err != nil {
		return err
	}
	config.QPS = -1
	scheme, err := operator.NewScheme()
	if err != nil {
		return err
	}
	if api, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	admin, err := server.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, config)
	if err != nil {
		return err
	}
	content, err := admin.KubeConfig()
	if err != nil {
		return err
	}
	kubeconfig = filepath.Join(directory, "kubeconfig")
	return os.WriteFile(kubeconfig, content, 0o600)
}

// plant is a namespace with an operator of its own, and what else the test starts.
type plant struct {
	*testing.T
	namespace string
	directory string
	processes []*running
}

// running is a process, and the address of its metrics.
type running struct {
	*programs.Process
	metrics string
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "plant-"}}
	p := &plant{T: t, directory: t.TempDir()}
	p.must(api.Create(t.Context(), namespace))
	p.namespace = namespace.Name
	metrics := loopback.Reserve(t)
	p.start(programs.Operator, "operator", metrics, "--master-image=m", "--refinery-image=r", "--kubeconfig="+kubeconfig, "--watch-namespaces="+p.namespace,
		"--health-address=0", "--metrics-address="+metrics, "--log-level=debug")
	return p
}

func (p *plant) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// start runs a process until the test ends.
func (p *plant) start(kind, name, metrics string, args ...string) {
	p.Helper()
	p.processes = append(p.processes, &running{programs.Start(p.T, kind, name, p.directory, args...), metrics})
}

// master runs a ClusterMaster's master, and returns its address.
func (p *plant) master(name string, more ...string) string {
	p.Helper()
	address, health := loopback.Reserve(p.T), loopback.Reserve(p.T)
	p.start(programs.Master, name, health, append([]string{"--namespace=" + p.namespace, "--name=" + name, "--pod-name=" + name + "-0", "--kubeconfig=" + kubeconfig,
		"--certificate-dir=" + p.mount(name+"-tls"), "--listen=" + address, "--health-address=" + health, "--debug"}, more...)...)
	p.until("master "+name+" active", func() bool {
		conn, err := net.DialTimeout("tcp", address, patience)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return address
}

// mount waits for a Secret and writes it to a directory, as a kubelet does once.
func (p *plant) mount(secret string) (directory string) {
	p.Helper()
	directory = filepath.Join(p.directory, secret)
	p.must(os.MkdirAll(directory, 0o700))
	for name, content := range p.secret(secret).Data {
		p.must(os.WriteFile(filepath.Join(directory, name), content, 0o600))
	}
	return directory
}

func (p *plant) secret(name string) *corev1.Secret {
	p.Helper()
	secret := &corev1.Secret{}
	p.until("Secret "+name+" there", func() bool { return api.Get(p.Context(), p.key(name), secret) == nil })
	return secret
}

// serverName is what nodes verify a master by.
func (p *plant) serverName(master string) string { return master + "." + p.namespace + ".svc" }

func (p *plant) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: p.namespace, Name: name}
}

// authority is the one that the operator made for a master.
func (p *plant) authority(master string) *pki.Authority {
	p.Helper()
	secret := p.secret(master + "-ca")
	a, err := pki.ParseAuthority(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey], time.Now())
	p.must(err)
	return a
}

func (p *plant) createMaster(name string, spec v1alpha1.ClusterMasterSpec) {
	p.Helper()
	p.must(api.Create(p.Context(), &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name}, Spec: spec}))
}

func (p *plant) refinery(name, master string) *v1alpha1.Refinery {
	return &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name}, Spec: v1alpha1.RefinerySpec{
		MasterRef: v1alpha1.LocalReference{Name: master}, Replicas: ptr.To[int32](1), Placement: v1alpha1.PlacementExternal}}
}

func (p *plant) tlsSecret(name string, pair pki.PEMPair) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name},
		Data: map[string][]byte{corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key}}
}

// listed waits until a Refinery lists a certificate as its current one.
func (p *plant) listed(name string, pair pki.PEMPair) *v1alpha1.Refinery {
	p.Helper()
	want := v1alpha1.Fingerprint(leafOf(p.T, pair))
	r := &v1alpha1.Refinery{}
	p.until(name+" listing its certificate", func() bool {
		return api.Get(p.Context(), p.key(name), r) == nil && len(r.Status.Certificates) > 0 && r.Status.Certificates[0].Fingerprint == want
	})
	return r
}

// conditionIs waits for a condition's status.
func (p *plant) conditionIs(name, kind string, status metav1.ConditionStatus) {
	p.Helper()
	p.until(fmt.Sprintf("%s of %s %s", kind, name, status), func() bool {
		r := &v1alpha1.Refinery{}
		return api.Get(p.Context(), p.key(name), r) == nil && meta.IsStatusConditionPresentAndEqual(r.Status.Conditions, kind, status)
	})
}

// patience is after how long a test gives up on what must happen. It says nothing about how soon that has to be.
const patience = time.Minute

// until polls.
func (p *plant) until(what string, is func() bool) {
	p.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			p.Fatalf("not in time: %s", what)
		}
	}
}

func leafOf(t *testing.T, pair pki.PEMPair) *x509.Certificate {
	t.Helper()
	chain, err := pki.ParseCertificates("tls.crt", pair.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return chain[0]
}

func clientConfig(t *testing.T, pair pki.PEMPair, trusted []byte, serverName string) *tls.Config {
	t.Helper()
	certificate, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: serverName, Certificates: []tls.Certificate{certificate}}
}
