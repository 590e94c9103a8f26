package operator

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/controllers/clustermaster"
	"github.com/refinery-operator/refinery-operator/controllers/refinery"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/eventlog"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

const (
	// reporter is the component that events name as their source.
	reporter = "refinery-operator"
	// conflictRecheck is how soon a name that was taken is looked at again.
	conflictRecheck = 30 * time.Second
	// certManagerInterval is how often a cert-manager that is needed and missing is looked for.
	certManagerInterval = 2 * time.Second
)

// Main is the command: it returns the exit code, 2 if it cannot start (wrong flags, no cluster is configured), 1 if it fails
// later. Then it writes one line to stderr.
func Main(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	options, err := ParseOptions(arguments)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = io.WriteString(stdout, usage())
		return 0
	}
	var restConfig *rest.Config
	if err == nil {
		restConfig, err = loadConfig(options.Kubeconfig)
	}
	if err != nil {
		err = &cli.StartError{Err: err}
	} else {
		setLogger(options, stderr)
		ctrl.Log.Info("starting", "version", version.Version, "masterImage", options.Images.Master, "refineryImage", options.Images.Refinery)
		err = run(ctx, options, restConfig)
	}
	return cli.ExitCode("operator", err, stderr)
}

func run(ctx context.Context, options Options, restConfig *rest.Config) error {
	p, err := newProcess(options, restConfig, ctrl.Log)
	if err != nil {
		return &cli.StartError{Err: err}
	}
	return p.Run(ctx)
}

func setLogger(options Options, stderr io.Writer) {
	logger := logr.FromSlogHandler(options.Log.Handler(stderr))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger.WithName("client-go"))
}

// NewManager returns the manager with both controllers. The functions in with can change the Environment of the
// controllers.
func NewManager(ctx context.Context, restConfig *rest.Config, options Options, with ...func(*controllers.Environment)) (manager.Manager, error) {
	return newManager(ctx, restConfig, options, nil, with...)
}

// newManager is NewManager, whose controllers start when lock, if there is one, is got.
func newManager(ctx context.Context, restConfig *rest.Config, options Options, lock resourcelock.Interface,
	with ...func(*controllers.Environment),
) (manager.Manager, error) {
	mgr, err := newPlainManager(restConfig, options, lock)
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
		Events: eventlog.New(mgr.GetEventRecorder(reporter), mgr.GetScheme()), Clock: clock.RealClock{}, Metrics: controllers.NewMetrics(),
		Images: options.Images, SecretAnnotations: options.SecretAnnotations, Issuers: options.Issuers, ClusterDomain: options.ClusterDomain, Recheck: conflictRecheck,
	}
	for _, change := range with {
		change(environment)
	}
	if options.Release != (Release{}) {
		environment.Marks = certificates.NewMarks(environment.Client, environment.Live, environment.Clock, options.Release.markKey(), options.Labels)
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

// newPlainManager has no controllers.
func newPlainManager(restConfig *rest.Config, options Options, lock resourcelock.Interface) (manager.Manager, error) {
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	return manager.New(restConfig, manager.Options{
		Scheme:                              scheme,
		Logger:                              ctrl.Log,
		Cache:                               cacheOptions(options.WatchNamespaces),
		LeaderElection:                      lock != nil,
		LeaderElectionID:                    options.Release.String(),
		LeaderElectionResourceLockInterface: lock,
		LeaderElectionReleaseOnCancel:       true, // nothing of the manager runs on when it has stopped
		HealthProbeBindAddress:              "0",  // the process serves them, also before there is a manager
		// A process has one manager after the other, and each of them has controllers of the same names.
		Controller: ctrlconfig.Controller{SkipNameValidation: ptr.To(true)},
		Metrics: metricsserver.Options{
			BindAddress:    options.MetricsAddress,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
	})
}
