package master

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	"go.uber.org/goleak"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
	"github.com/refinery-operator/refinery-operator/protocol"
	"github.com/refinery-operator/refinery-operator/test/loopback"
	"github.com/refinery-operator/refinery-operator/test/rights"
)

// The tests of this file run against a real etcd and kube-apiserver.

var environment struct {
	once     sync.Once
	env      *envtest.Environment
	recorder rights.Recorder
	config   *rest.Config
	err      error
}

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	ctrllog.SetLogger(logr.Discard())
	code := m.Run()
	if environment.env != nil {
		_ = environment.env.Stop()
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(environment.recorder.End(code))
}

// apiServer starts etcd and kube-apiserver once for all tests, with the CRDs of this repository.
func apiServer(t *testing.T) *rest.Config {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("KUBEBUILDER_ASSETS is not set: make test-controllers builds etcd and kube-apiserver and sets it")
	}
	environment.once.Do(func() {
		environment.env = &envtest.Environment{
			CRDDirectoryPaths:     []string{filepath.Join("..", "..", "config", "crd", "bases")},
			ErrorIfCRDPathMissing: true,
		}
		environment.recorder.Suite = "master"
		if environment.err = environment.recorder.Watch(environment.env); environment.err == nil {
			environment.config, environment.err = environment.env.Start()
		}
	})
	if environment.err != nil {
		t.Fatal(environment.err)
	}
	return environment.config
}

// plant is a namespace with a ClusterMaster alpha, its authority, and a client that plays the operator.
type plant struct {
	*testing.T
	ctx       context.Context
	config    *rest.Config
	client    client.WithWatch
	namespace string
	authority *pkitest.Authority
	directory string
	shared    string // file of the shared certificate, if any
	// lease is that of the masters. So long a one does not run out in a test, however slow the machine is.
	lease time.Duration
	// handover is how long masters that end wait for the next one.
	handover time.Duration
}

// patience is after how long a test gives up on what must happen. It says nothing about how soon that has to be.
const patience = time.Minute

func newPlant(t *testing.T, spec v1alpha1.ClusterMasterSpec) *plant {
	t.Helper()
	config := apiServer(t)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, clientgoscheme.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme, FieldOwner: v1alpha1.OperatorFieldOwner})
	if err != nil {
		t.Fatal(err)
	}
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { // after everything that the test started has been stopped
		goleak.VerifyNone(t, leaks,
			goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
			goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*clientConnReadLoop).run"), goleak.IgnoreAnyFunction("net/http.(*http2clientConnReadLoop).run"))
	})
	p := &plant{T: t, ctx: t.Context(), config: config, client: c, authority: pkitest.NewAuthority("plant"), lease: time.Hour, handover: time.Second}
	p.directory = mounted(t, p.authority)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "plant-"}}
	p.must(c.Create(p.ctx, namespace))
	p.namespace = namespace.Name
	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "alpha"}, Spec: spec}
	p.must(c.Create(p.ctx, m))
	p.must(c.Create(p.ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: m.LeaseName()}}))
	return p
}

func (p *plant) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// refinery creates a Refinery, issues its certificate and lists it in status, as the operator does.
func (p *plant) refinery(name string, replicas int32) tls.Certificate {
	p.Helper()
	r := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name},
		Spec: v1alpha1.RefinerySpec{MasterRef: v1alpha1.LocalReference{Name: "alpha"}, Replicas: ptr.To(replicas)}}
	p.must(p.client.Create(p.ctx, r))
	certificate := admittest.IssueFor(p.authority, "alpha", p.namespace, name)
	p.list(name, certificate)
	return certificate
}

// list makes these certificates the ones that a Refinery lists.
func (p *plant) list(name string, certificates ...tls.Certificate) {
	p.Helper()
	p.patch(p.get(name), func(r *v1alpha1.Refinery) {
		r.Status.Certificates = nil
		for _, c := range certificates {
			r.Status.Certificates = append(r.Status.Certificates, v1alpha1.ListedCertificate{
				Fingerprint: v1alpha1.Fingerprint(c.Leaf), NotAfter: metav1.NewTime(c.Leaf.NotAfter), Use: v1alpha1.CertificateCurrent})
		}
	}, true)
}

func (p *plant) patch(r *v1alpha1.Refinery, edit func(*v1alpha1.Refinery), status bool) {
	p.Helper()
	before := r.DeepCopy()
	edit(r)
	if status {
		p.must(p.client.Status().Patch(p.ctx, r, client.MergeFrom(before)))
		return
	}
	p.must(p.client.Patch(p.ctx, r, client.MergeFrom(before)))
}

func (p *plant) patchMaster(edit func(*v1alpha1.ClusterMaster)) {
	p.Helper()
	m := p.master()
	before := m.DeepCopy()
	edit(m)
	p.must(p.client.Patch(p.ctx, m, client.MergeFrom(before)))
}

func (p *plant) get(name string) *v1alpha1.Refinery {
	p.Helper()
	var r v1alpha1.Refinery
	p.must(p.client.Get(p.ctx, client.ObjectKey{Namespace: p.namespace, Name: name}, &r))
	return &r
}

func (p *plant) master() *v1alpha1.ClusterMaster {
	p.Helper()
	var m v1alpha1.ClusterMaster
	p.must(p.client.Get(p.ctx, client.ObjectKey{Namespace: p.namespace, Name: "alpha"}, &m))
	return &m
}

// eventually waits on the watch of a Refinery until its status is as wanted.
func (p *plant) eventually(name, what string, is func(*v1alpha1.Refinery) bool) *v1alpha1.Refinery {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	w, err := p.client.Watch(ctx, &v1alpha1.RefineryList{}, client.InNamespace(p.namespace))
	p.must(err)
	defer w.Stop()
	var last *v1alpha1.Refinery
	for event := range w.ResultChan() {
		r, ok := event.Object.(*v1alpha1.Refinery)
		if !ok || r.Name != name {
			continue
		}
		if last = r; is(r) {
			return r
		}
	}
	p.Fatalf("%s: not %s in time: %+v", name, what, last.Status)
	return nil
}

// eventuallyMaster waits on the watch of the ClusterMaster.
func (p *plant) eventuallyMaster(what string, is func(*v1alpha1.ClusterMaster) bool) *v1alpha1.ClusterMaster {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	w, err := p.client.Watch(ctx, &v1alpha1.ClusterMasterList{}, client.InNamespace(p.namespace))
	p.must(err)
	defer w.Stop()
	var last *v1alpha1.ClusterMaster
	for event := range w.ResultChan() {
		m, ok := event.Object.(*v1alpha1.ClusterMaster)
		if !ok {
			continue
		}
		if last = m; is(m) {
			return m
		}
	}
	p.Fatalf("not %s in time: %+v", what, last.Status)
	return nil
}

// process is one master process of a test.
type process struct {
	*Master
	address string
	stop    func()
}

// start runs a master until the test ends or stop is called.
func (p *plant) start(pod string, configure ...func(*Options, *rest.Config)) *process {
	p.Helper()
	o := Options{Namespace: p.namespace, Name: "alpha", PodName: pod, CertificateDirectory: p.directory, SharedCertificateFile: p.shared,
		Listen: loopback.Reserve(p.T), HealthAddress: loopback.Reserve(p.T)}
	config := rest.CopyConfig(p.config)
	config.UserAgent = rights.MasterAgent
	for _, c := range configure {
		c(&o, config)
	}
	m, err := NewMaster(o, config, p.logger(pod))
	p.must(err)
	m.leaseDuration, m.retryPeriod, m.doubt, m.handover, m.settle = p.lease, 200*time.Millisecond, time.Second, p.handover, 200*time.Millisecond
	m.endpointInterval = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				p.Errorf("master %s: %v", pod, err)
			}
		})
	}
	p.Cleanup(stop)
	return &process{Master: m, address: o.Listen, stop: stop}
}

func (p *plant) logger(pod string) logr.Logger {
	if testing.Verbose() {
		return testr.NewWithOptions(p.T, testr.Options{LogTimestamp: true, Verbosity: 1}).WithName(pod)
	}
	return logr.Discard()
}

// agent is a node that keeps trying, as the real one does.
type agent struct {
	id, version string
	certificate tls.Certificate
	roots       *pkitest.Authority
	address     string
	header      string // said before TLS, as a load balancer does
	upstreams   chan string
}

// run connects again and again until ctx is done.
func (a *agent) run(ctx context.Context) {
	for ctx.Err() == nil {
		if c, err := a.connect(ctx); err == nil {
			_ = c.Run(ctx)
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (a *agent) connect(ctx context.Context) (*protocol.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pkitest.Pool(a.roots), ServerName: "localhost"}
	if a.certificate.Leaf != nil {
		config.Certificates = []tls.Certificate{a.certificate}
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", a.address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if _, err = io.WriteString(raw, a.header); err == nil {
		err = conn.HandshakeContext(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	o := protocol.DefaultClientOptions()
	o.ID, o.Version, o.Type = a.id, a.version, "refinery"
	o.Certificate = admittest.PEM(a.certificate.Leaf)
	o.OnUpstream = func(u string) error {
		select {
		case a.upstreams <- u:
		default:
		}
		return nil
	}
	return protocol.Handshake(ctx, conn, o)
}

// node runs an agent until the test ends or stop is called.
func (p *plant) node(m *process, id string, certificate tls.Certificate) (a *agent, stop func()) {
	ctx, cancel := context.WithCancel(p.ctx)
	a = &agent{id: id, version: "0.1.0", certificate: certificate, roots: p.authority, address: m.address, upstreams: make(chan string, 16)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.run(ctx)
	}()
	stop = func() { cancel(); <-done }
	p.Cleanup(stop)
	return a, stop
}
