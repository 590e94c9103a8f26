package operator

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/test/loopback"
	"github.com/refinery-operator/refinery-operator/test/rights"
)

// patience is after how long a test gives up on what must happen. It says nothing about how soon that has to be.
const patience = time.Minute

// server is an API server with the CRDs, and the operator's ClusterRole; nil without the binaries.
var server *envtest.Environment

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS is not set: the tests against a real API server are skipped")
		os.Exit(m.Run())
	}
	server = &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join("..", "..", "config", "crd", "bases")}, ErrorIfCRDPathMissing: true}
	recorder := rights.Recorder{Suite: "operator"}
	code := 1
	err := recorder.Watch(server)
	if err == nil {
		_, err = server.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	_ = server.Stop()
	leaks := goleak.IgnoreTopFunction( // The metadata client's, of a watch that was stopped with an event still to be handed over.
		"k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop")
	if err := goleak.Find(leaks); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(recorder.End(code))
}

// site is two namespaces, and a user that may be what the operator is in some.
type site struct {
	*WithT
	t    *testing.T
	api  client.Client
	user *rest.Config
	name string // of the user
	a, b string // the namespaces
}

func newSite(t *testing.T) *site {
	t.Helper()
	if server == nil {
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
	s := &site{WithT: NewWithT(t), t: t, name: strings.ToLower(t.Name())}
	s.SetDefaultEventuallyTimeout(patience)
	scheme, err := NewScheme()
	s.Expect(err).NotTo(HaveOccurred())
	s.api, err = client.New(server.Config, client.Options{Scheme: scheme})
	s.Expect(err).NotTo(HaveOccurred())
	user, err := server.AddUser(envtest.User{Name: s.name}, server.Config)
	s.Expect(err).NotTo(HaveOccurred())
	s.user = user.Config()
	s.user.UserAgent = rights.OperatorAgent
	for _, name := range []*string{&s.a, &s.b} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "site-"}}
		s.Expect(s.api.Create(t.Context(), namespace)).To(Succeed())
		*name = namespace.Name
	}
	role := &rbacv1.ClusterRole{}
	manifest, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", "role.yaml"))
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(yaml.UnmarshalStrict(manifest, role)).To(Succeed())
	s.Expect(client.IgnoreAlreadyExists(s.api.Create(t.Context(), role))).To(Succeed())
	return s
}

// binding is what gives the user the operator's role in a namespace.
func (s *site) binding(namespace string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: s.name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "refinery-operator"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: s.name}},
	}
}

// running is an operator of a test.
type running struct {
	health  string
	metrics *prometheus.Registry // of the process itself
	stop    func()
}

// start runs an operator until the test ends or stop is called.
func (s *site) start(config *rest.Config, namespaces ...string) *running {
	s.t.Helper()
	return s.startWith(config, Options{WatchNamespaces: namespaces})
}

func (s *site) startWith(config *rest.Config, options Options) *running {
	s.t.Helper()
	r := &running{health: loopback.Reserve(s.t), metrics: prometheus.NewRegistry()}
	log := logr.Discard()
	if testing.Verbose() {
		log = testr.New(s.t)
	}
	options.Images = resource.Images{Master: cmp.Or(options.Images.Master, "m"), Refinery: "r", PullPolicy: corev1.PullNever}
	options.HealthAddress, options.MetricsAddress = r.health, "0"
	p, err := newProcess(options, config, log)
	s.Expect(err).NotTo(HaveOccurred())
	p.interval, p.registry = 100*time.Millisecond, r.metrics
	if p.claims != nil {
		p.claims.interval, p.claims.duration = 200*time.Millisecond, 5*time.Second
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the operator ended: %v", err)
		}
	}
	s.t.Cleanup(r.stop)
	return r
}

// probe returns the answer of the health server in one line, "" for none.
func (r *running) probe(path string) func() string {
	return func() string {
		response, err := http.Get("http://" + r.health + path)
		if err != nil {
			return ""
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(response.Body)
		return fmt.Sprintf("%d %s", response.StatusCode, body)
	}
}

// works waits until the operator has reconciled a ClusterMaster that is created now.
func (s *site) works(namespace, name string) {
	s.t.Helper()
	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	s.Expect(s.api.Create(s.t.Context(), m)).To(Succeed())
	s.t.Cleanup(func() { _ = s.api.Delete(context.Background(), m) }) // a release that watches all namespaces would work there in other tests
	s.Eventually(func(g Gomega) {
		g.Expect(s.api.Get(s.t.Context(), client.ObjectKeyFromObject(m), m)).To(Succeed())
		g.Expect(m.Status.ObservedGeneration).To(Equal(m.Generation))
	}).Should(Succeed())
}

// gauge reads a metric of a namespace, or of none; -1 if there is no such metric.
func (r *running) gauge(name, namespace string) func() float64 {
	return func() float64 {
		families, err := r.metrics.Gather()
		if err != nil {
			return -1
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				if family.GetName() == name && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() == namespace) {
					return m.GetGauge().GetValue()
				}
			}
		}
		return -1
	}
}

func TestAnOperatorThatStartsWhileTheAPIServerIsAwayWaitsAndResumes(t *testing.T) {
	s := newSite(t)
	s.Expect(s.api.Create(t.Context(), s.binding(s.a))).To(Succeed())
	direct, err := url.Parse(s.user.Host)
	s.Expect(err).NotTo(HaveOccurred())
	address := loopback.Reserve(t)
	config := rest.CopyConfig(s.user)
	config.Host = "https://" + address
	operator := s.start(config, s.a)
	s.Eventually(operator.probe("/readyz")).Should(And(HavePrefix("503"), ContainSubstring("the API server at https://"+address)))
	s.Expect(operator.probe("/healthz")()).To(HavePrefix("200"))
	loopback.Forward(t, address, direct.Host)
	s.works(s.a, "alpha")
	s.Eventually(operator.probe("/readyz")).Should(HavePrefix("200"))
	operator.stop() // before the way to the API server ends
}

func TestANamespaceThatCannotBeWatchedTakesNothingFromTheOthers(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	s.Expect(s.api.Create(ctx, s.binding(s.a))).To(Succeed())
	operator := s.start(s.user, s.a, s.b)
	s.works(s.a, "one")
	s.Eventually(operator.probe("/readyz")).Should(And(HavePrefix("503"), ContainSubstring("namespace "+s.b+" cannot be watched"),
		Not(ContainSubstring(s.a+" cannot"))))
	s.Expect(operator.probe("/healthz")()).To(HavePrefix("200"))
	s.Eventually(operator.gauge("refinery_operator_namespace_watched", s.b)).Should(BeZero())
	s.Expect(operator.gauge("refinery_operator_namespace_watched", s.a)()).To(Equal(1.))

	s.Expect(s.api.Create(ctx, s.binding(s.b))).To(Succeed())
	s.works(s.b, "one")
	s.Eventually(operator.probe("/readyz")).Should(HavePrefix("200"))
	s.Eventually(operator.gauge("refinery_operator_namespace_watched", s.b)).Should(Equal(1.))

	s.Expect(s.api.Delete(ctx, s.binding(s.b))).To(Succeed())
	s.Eventually(operator.probe("/readyz")).Should(ContainSubstring("namespace " + s.b + " cannot be watched"))
	s.works(s.a, "two")
	s.Expect(s.api.Create(ctx, s.binding(s.b))).To(Succeed())
	s.works(s.b, "two")
	s.Eventually(operator.probe("/readyz")).Should(HavePrefix("200"))
	operator.stop()

	s.Expect(s.api.Delete(ctx, s.binding(s.b))).To(Succeed())

	operator = s.start(s.user, s.a, s.b)
	s.works(s.a, "three")
	s.Eventually(operator.probe("/readyz")).Should(ContainSubstring("namespace " + s.b + " cannot be watched"))
}
