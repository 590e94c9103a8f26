package controllers_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/operator"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/test/rights"
)

var (
	server     *envtest.Environment
	restConfig *rest.Config
	// api reads and writes at the API server, as a person does.
	api    client.WithWatch
	images = resource.Images{Master: "example.com/master:1", Refinery: "example.com/refinery:1", PullPolicy: corev1.PullIfNotPresent}
)

func TestMain(m *testing.M) {
	if os.Getenv(operatorProcess) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		code := operator.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
		stop()
		os.Exit(code)
	}
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS is not set: the tests against a real API server are skipped")
		os.Exit(m.Run())
	}
	ctrl.SetLogger(zap.New(zap.UseDevMode(true), zap.WriteTo(GinkgoWriter)))
	server = &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	// Nobody deletes the Services of the specs, as no garbage collector runs: they need more addresses than the 254 that
	// there are by default. There are some of IPv6 too, as in a dual-stack cluster.
	// Clusters whose admission asks who may block the deletion of an owner need rights that others do not: so this is one.
	server.ControlPlane.GetAPIServer().Configure().Set("service-cluster-ip-range", "10.0.0.0/16,fd00:10::/108").
		Set("enable-admission-plugins", "OwnerReferencesPermissionEnforcement")
	code := 1
	recorder := rights.Recorder{Suite: "controllers", Apart: "TestControllers$"}
	err := recorder.Watch(server)
	if err == nil {
		err = startServer()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	leaks := goleak.Find(
		goleak.IgnoreTopFunction( // Ginkgo's own, for good.
			"github.com/onsi/ginkgo/v2/internal/interrupt_handler.(*InterruptHandler).registerForInterrupts.func2"),
		goleak.IgnoreTopFunction( // The metadata client's, of a watch that was stopped with an event still to be handed over.
			"k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"))
	if leaks != nil && code == 0 {
		fmt.Fprintln(os.Stderr, leaks)
		code = 1
	}
	os.Exit(recorder.End(code))
}

func startServer() error {
	var err error
	if restConfig, err = server.Start(); err != nil {
		return err
	}
	restConfig.QPS = -1
	scheme, err := operator.NewScheme()
	if err != nil {
		return err
	}
	api, err = client.NewWithWatch(restConfig, client.Options{Scheme: scheme})
	return err
}

func requireServer(t *testing.T) {
	t.Helper()
	if restConfig == nil {
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
}

// patience is after how long a test gives up on what must happen. It says nothing about how soon that has to be.
const patience = time.Minute

func TestControllers(t *testing.T) {
	requireServer(t)
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(patience)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	SetDefaultConsistentlyDuration(500 * time.Millisecond)
	RunSpecs(t, "Controllers")
	for _, failed := range left {
		t.Error(failed)
	}
}

var (
	// operatorWrites are those of the operator that runs beside the specs.
	operatorWrites  = &writeCounter{}
	operatorClock   = clocktesting.NewFakeClock(time.Now())
	operatorMetrics = controllers.NewMetrics()
	operatorLeases  = &leaseCounter{byNamespace: map[string]int{}}
)

var _ = BeforeSuite(func() {
	ctx, cancel := context.WithCancel(context.Background())
	mgr, err := operator.NewManager(ctx, operatorConfig(ctx), operator.Options{Images: images, HealthAddress: "0", MetricsAddress: "0",
		Release: operator.Release{Namespace: "default", Name: "refinery-operator"}},
		func(e *controllers.Environment) {
			e.Client = operatorWrites.count(e.Client)
			e.Live = operatorLeases.count(e.Live)
			e.Clock = operatorClock
			e.Metrics = operatorMetrics
			e.Recheck = 200 * time.Millisecond
		})
	Expect(err).NotTo(HaveOccurred())
	stopped := make(chan error)
	go func() { stopped <- mgr.Start(ctx) }()
	DeferCleanup(func() {
		cancel()
		Expect(<-stopped).To(Succeed())
	})
	Expect(mgr.GetCache().WaitForCacheSync(ctx)).To(BeTrue())
})

// operatorConfig is for a user with the permissions that the operator is installed with, and no more.
func operatorConfig(ctx context.Context) *rest.Config {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{}
	manifest, err := os.ReadFile(filepath.Join("..", "config", "rbac", "role.yaml"))
	Expect(err).NotTo(HaveOccurred())
	Expect(yaml.UnmarshalStrict(manifest, role)).To(Succeed())
	Expect(api.Create(ctx, role)).To(Succeed())
	Expect(api.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "operator"}},
	})).To(Succeed())
	user, err := server.AddUser(envtest.User{Name: "operator"}, restConfig)
	Expect(err).NotTo(HaveOccurred())
	config := user.Config()
	config.QPS, config.UserAgent = -1, rights.OperatorAgent
	return config
}

// leaseCounter counts how often the Leases of a namespace were read.
type leaseCounter struct {
	client.Reader
	mu          sync.Mutex
	byNamespace map[string]int
}

func (l *leaseCounter) count(r client.Reader) client.Reader {
	l.Reader = r
	return l
}

func (l *leaseCounter) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	err := l.Reader.Get(ctx, key, o, options...)
	if _, ok := o.(*coordinationv1.Lease); ok {
		l.mu.Lock()
		l.byNamespace[key.Namespace]++
		l.mu.Unlock()
	}
	return err
}

func (l *leaseCounter) reads(namespace string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byNamespace[namespace]
}

// writeCounter counts the writes through a client.
type writeCounter struct {
	mu     sync.Mutex
	writes []string
	// fail, if set, is asked about each write: an error ends it, before it was done, or, with answerLost, after.
	fail       func() error
	answerLost bool
}

func (w *writeCounter) total() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.writes)
}

func (w *writeCounter) since(n int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.writes[n:]...)
}

func (w *writeCounter) do(name string, write func() error) error {
	w.mu.Lock()
	w.writes = append(w.writes, name)
	fail, answerLost := w.fail, w.answerLost
	w.mu.Unlock()
	var failure error
	if fail != nil {
		failure = fail()
	}
	if failure != nil && !answerLost {
		return failure
	}
	if err := write(); err != nil {
		return err
	}
	return failure
}

// count wraps c. The operator writes by applying, also to status, by patching and deleting, and once by creating.
func (w *writeCounter) count(c client.Client) client.Client {
	return interceptor.NewClient(withoutWatch{c}, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, options ...client.ApplyOption) error {
			return w.do(describe("apply", o), func() error { return c.Apply(ctx, o, options...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, options ...client.SubResourceApplyOption) error {
			return w.do(describe(sub, o), func() error { return c.SubResource(sub).Apply(ctx, o, options...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			return w.do(fmt.Sprintf("create %T %s", o, o.GetName()), func() error { return c.Create(ctx, o, options...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			return w.do(fmt.Sprintf("patch %T %s", o, o.GetName()), func() error { return c.Patch(ctx, o, patch, options...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			return w.do(fmt.Sprintf("delete %T %s", o, o.GetName()), func() error { return c.Delete(ctx, o, options...) })
		},
	})
}

func describe(verb string, o runtime.ApplyConfiguration) string {
	object, ok := o.(interface {
		GetKind() string
		GetName() string
	})
	if !ok {
		return fmt.Sprintf("%s %T", verb, o)
	}
	return fmt.Sprintf("%s %s %s", verb, object.GetKind(), object.GetName())
}

// withoutWatch gives a client the form that the interceptor asks for; the operator never watches with it. It finds objects
// by the indexes of the operator's cache.
type withoutWatch struct{ client.Client }

func (w withoutWatch) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	o := (&client.ListOptions{}).ApplyOptions(options)
	if o.FieldSelector == nil {
		return w.Client.List(ctx, list, o)
	}
	by := o.FieldSelector.Requirements()[0]
	extract := controllers.Index(list, by.Field)
	if extract == nil {
		return w.Client.List(ctx, list, o)
	}
	o.FieldSelector = nil
	if err := w.Client.List(ctx, list, o); err != nil {
		return err
	}
	all, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	return meta.SetList(list, slices.DeleteFunc(all, func(item runtime.Object) bool {
		return !slices.Contains(extract(item.(client.Object)), by.Value)
	}))
}

func (withoutWatch) Watch(context.Context, client.ObjectList, ...client.ListOption) (watchInterface, error) {
	return nil, fmt.Errorf("not watchable")
}

// newNamespace makes a namespace for one test.
func newNamespace(ctx context.Context) (string, error) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	err := api.Create(ctx, namespace)
	return namespace.Name, err
}
