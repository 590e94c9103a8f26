package operator

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/controllers/clustermaster"
	"github.com/refinery-operator/refinery-operator/controllers/refinery"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

const (
	// leaseName is the Lease that the working operator holds.
	leaseName = "operator.cluster.refinery.dev"
	// reporter is the component that events name as their source.
	reporter = "refinery-operator"
	// connectTimeout bounds the first question to the API server.
	connectTimeout = 10 * time.Second
	// conflictRecheck is how soon a name that was taken is looked at again.
	conflictRecheck = 30 * time.Second
	// certManagerInterval is how often a cert-manager that is needed and missing is looked for.
	certManagerInterval = 2 * time.Second
)

// Main is the command: it returns the exit code, 2 for wrong flags and for no usable cluster.
func Main(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	options, err := ParseOptions(arguments)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = io.WriteString(stdout, usage())
		return 0
	}
	var mgr manager.Manager
	if err == nil {
		mgr, err = connect(ctx, options, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "operator: %v\n", err)
		return 2
	}
	ctrl.Log.Info("starting", "version", version.Version, "masterImage", options.Images.Master, "refineryImage", options.Images.Refinery)
	if err := mgr.Start(ctx); err != nil {
		fmt.Fprintf(stderr, "operator: %v\n", err)
		return 1
	}
	return 0
}

func setLogger(options Options, stderr io.Writer) {
	logger := logr.FromSlogHandler(options.Log.Handler(stderr))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger.WithName("client-go"))
}

// connect finds the cluster, makes sure that it answers and has the CRDs, and sets everything up.
// Until it does, nothing but its one error is written.
func connect(ctx context.Context, options Options, stderr io.Writer) (manager.Manager, error) {
	restConfig, err := loadConfig(options.Kubeconfig)
	if err != nil {
		return nil, err
	}
	if err := probe(restConfig); err != nil {
		return nil, err
	}
	setLogger(options, stderr)
	return NewManager(ctx, restConfig, options)
}

// NewManager returns the manager with both controllers. The functions in with can change the Environment of the
// controllers.
func NewManager(ctx context.Context, restConfig *rest.Config, options Options, with ...func(*controllers.Environment)) (manager.Manager, error) {
	mgr, err := newManager(restConfig, options)
	if err != nil {
		return nil, err
	}
	secrets, err := newSecretCache(restConfig, mgr.GetScheme(), mgr.GetRESTMapper(), options.WatchNamespaces)
	if err != nil {
		return nil, fmt.Errorf("watch Secrets: %w", err)
	}
	if err := mgr.Add(secrets); err != nil {
		return nil, err
	}
	certManager, err := newCertManager(mgr, options.WatchNamespaces)
	if err != nil {
		return nil, fmt.Errorf("look for cert-manager: %w", err)
	}
	environment := &controllers.Environment{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Secrets: secrets, CertManager: certManager,
		Events: mgr.GetEventRecorder(reporter), Clock: clock.RealClock{}, Metrics: controllers.NewMetrics(),
		Images: options.Images, Recheck: conflictRecheck,
	}
	for _, change := range with {
		change(environment)
	}
	metrics.Registry.Unregister(environment.Metrics) // those of a former manager in this process
	if err := metrics.Registry.Register(environment.Metrics); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	if err := controllers.AddIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return nil, err
	}
	if err := clustermaster.Setup(mgr, environment); err != nil {
		return nil, err
	}
	return mgr, refinery.Setup(mgr, environment)
}

func newCertManager(mgr manager.Manager, namespaces []string) (*certificates.CertManager, error) {
	api, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	certManager := certificates.NewCertManager(
		func(ctx context.Context) (bool, error) { return servesCertificates(ctx, api) },
		func(failed toolscache.WatchErrorHandlerWithContext) (cache.Cache, error) {
			return newCertificateCache(mgr.GetConfig(), mgr.GetScheme(), mgr.GetRESTMapper(), namespaces, failed)
		}, certManagerInterval)
	return certManager, mgr.Add(certManager)
}

func loadConfig(kubeconfig string) (*rest.Config, error) {
	var (
		restConfig *rest.Config
		err        error
	)
	if kubeconfig != "" {
		restConfig, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	} else {
		restConfig, err = config.GetConfig()
	}
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("no cluster: not running in one, and there is no kubeconfig; give --kubeconfig, or set KUBECONFIG")
	}
	if err != nil {
		return nil, fmt.Errorf("no cluster: %w", err)
	}
	// The API server's own fairness limits the operator.
	restConfig.QPS = -1
	restConfig.UserAgent = "refinery-operator/" + version.Version
	return restConfig, nil
}

// probe asks the API server for the kinds of the operator.
func probe(restConfig *rest.Config) error {
	bounded := rest.CopyConfig(restConfig)
	bounded.Timeout = connectTimeout
	httpClient, err := rest.HTTPClientFor(bounded)
	if err != nil {
		return fmt.Errorf("no cluster at %s: %w", restConfig.Host, err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(bounded, httpClient)
	if err != nil {
		return fmt.Errorf("no cluster at %s: %w", restConfig.Host, err)
	}
	for _, kind := range []string{"ClusterMaster", "Refinery"} {
		_, err := mapper.RESTMapping(v1alpha1.GroupVersion.WithKind(kind).GroupKind(), v1alpha1.GroupVersion.Version)
		if meta.IsNoMatchError(err) {
			return fmt.Errorf("the cluster at %s does not know kind %s: apply config/crd/bases first", restConfig.Host, kind)
		}
		if err != nil {
			return fmt.Errorf("no cluster at %s: %w", restConfig.Host, err)
		}
	}
	return nil
}

func newManager(restConfig *rest.Config, options Options) (manager.Manager, error) {
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	mgr, err := manager.New(restConfig, manager.Options{
		Scheme:                        scheme,
		Logger:                        ctrl.Log,
		Cache:                         cacheOptions(options.WatchNamespaces),
		LeaderElection:                options.LeaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       options.LeaderElectionNamespace,
		LeaderElectionReleaseOnCancel: true, // Main returns as soon as the manager has stopped
		HealthProbeBindAddress:        options.HealthAddress,
		Metrics: metricsserver.Options{
			BindAddress:    options.MetricsAddress,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
	})
	if err != nil {
		return nil, err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, err
	}
	return mgr, mgr.AddReadyzCheck("ping", healthz.Ping)
}
