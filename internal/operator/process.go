package operator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/health"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

const (
	// lookInterval is how often it is looked which namespaces can be watched.
	lookInterval = 15 * time.Second
	// syncTimeout bounds how long a readiness probe waits for the caches; the kubelet gives it a second.
	syncTimeout = 500 * time.Millisecond
)

// process is an operator process: its probes, which are served from the start to the end, and one manager after the other. A
// manager is made anew when the namespaces that can be watched change, since that of controller-runtime waits for the caches
// of all its namespaces before it does anything for one.
type process struct {
	options  Options
	config   *rest.Config
	log      logr.Logger
	clock    clock.WithTicker
	interval time.Duration
	waiting  *health.Wait
	registry prometheus.Registerer

	namespaces *namespaces
	claims     *claims   // nil without a release
	election   *election // nil without a release

	mu      sync.Mutex
	manager manager.Manager // nil before the first one
}

func newProcess(options Options, config *rest.Config, log logr.Logger) (*process, error) {
	real := clock.RealClock{}
	p := &process{options: options, config: config, log: log, clock: real, interval: lookInterval,
		waiting:  &health.Wait{Host: config.Host, Clock: real, Log: log},
		registry: metrics.Registry, namespaces: newNamespaces(options.WatchNamespaces, log)}
	if options.Release == (Release{}) {
		return p, nil
	}
	p.claims = newClaims(options.Release.String(), options.Labels, real, log)
	var err error
	p.election, err = newElection(config, options.Release, options.Labels, log)
	return p, err
}

// Run works until ctx is done.
func (p *process) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer stop(nil)
	if p.options.HealthAddress != "0" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.options.HealthAddress)
		if err != nil {
			return &cli.StartError{Err: err}
		}
		serving.Go(func() {
			if err := health.Serve(ctx, l, p.ready, nil); err != nil {
				stop(fmt.Errorf("health server: %w", err))
			}
		})
	}
	for _, collector := range p.collectors() {
		if err := p.registry.Register(collector); err != nil {
			return &cli.StartError{Err: fmt.Errorf("register metrics: %w", err)}
		}
		defer p.registry.Unregister(collector)
	}
	for ctx.Err() == nil {
		if err := p.work(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// collectors are the metrics of the process itself, which are there before it has a manager.
func (p *process) collectors() []prometheus.Collector {
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "refinery_operator_build_info", Help: "Always 1; the label is the operator's version.",
		ConstLabels: prometheus.Labels{"version": version.Version}})
	build.Set(1)
	own := []prometheus.Collector{build, p.namespaces.watched}
	if p.election != nil {
		own = append(own, p.claims.held, p.election.failing)
	}
	return own
}

// work makes a manager as soon as the API server can be reached, and runs it until ctx is done or the namespaces that can be
// watched have changed.
func (p *process) work(ctx context.Context) error {
	var (
		mgr  manager.Manager
		look *look
		with []string
	)
	err := p.waiting.For(ctx, func(context.Context) (err error) {
		if look, err = newLook(p.config); err != nil {
			return err
		}
		if with, err = p.namespaces.Look(ctx, look); err != nil {
			return err
		}
		if mgr, err = p.newManager(ctx, look, with); err != nil && !fromAPIServer(err) {
			return health.Final(err)
		}
		return err
	})
	if err != nil {
		return &cli.StartError{Err: err}
	}
	p.mu.Lock()
	p.manager = mgr
	p.mu.Unlock()
	ctx, stop := context.WithCancel(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer stop()
	if len(with) > 0 {
		looking.Go(func() {
			defer stop()
			p.lookAgain(ctx, look, with)
		})
	}
	err = mgr.Start(ctx)
	if err != nil && p.election != nil {
		err = errors.Join(err, p.election.Why())
	}
	return err
}

// newManager makes a manager for namespaces, whose controllers work when this operator is elected, and where no other release
// does.
func (p *process) newManager(ctx context.Context, look *look, namespaces []string) (manager.Manager, error) {
	options := p.options
	options.WatchNamespaces = namespaces
	if p.election == nil {
		return NewManager(ctx, p.config, options)
	}
	mgr, err := newManager(ctx, p.config, options, p.election, func(e *controllers.Environment) { e.Claims = p.claims })
	if err != nil {
		return nil, err
	}
	p.claims.Use(look.client, mgr.GetClient(), namespaces)
	return mgr, mgr.Add(manager.RunnableFunc(p.claims.Run))
}

// lookAgain returns when ctx is done, or another manager is needed: a namespace can be watched that is not among with, those
// of the manager, or one of them cannot and keeps its caches from getting in sync. One that cannot be watched any more once
// they are takes nothing from the others; what is known of it is kept, and its watches resume by themselves.
func (p *process) lookAgain(ctx context.Context, look *look, with []string) {
	ticker := p.clock.NewTicker(p.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		now, err := p.namespaces.Look(ctx, look)
		if err != nil {
			continue // it is the API server, and not a namespace
		}
		more := slices.ContainsFunc(now, func(n string) bool { return !slices.Contains(with, n) })
		fewer := slices.ContainsFunc(with, func(n string) bool { return !slices.Contains(now, n) })
		if more || fewer && !p.inSync(ctx) {
			p.log.Info("starting again with the namespaces that can be watched", "namespaces", now)
			return
		}
	}
}

// current returns the manager, nil before the first one.
func (p *process) current() manager.Manager {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.manager
}

// inSync reports whether the caches of the manager are in sync.
func (p *process) inSync(ctx context.Context) bool {
	mgr := p.current()
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	return mgr != nil && mgr.GetCache().WaitForCacheSync(ctx)
}

// ready returns why this process does not do everything that it should, or nil.
func (p *process) ready() error {
	if why := p.waiting.Why(); why != nil {
		return why
	}
	if why := p.namespaces.Why(); why != nil {
		return why
	}
	if !p.inSync(context.Background()) {
		return errors.New("the caches are not in sync yet")
	}
	if p.election == nil {
		return nil
	}
	if why := p.election.Why(); why != nil {
		return why
	}
	select {
	case <-p.current().Elected():
		return p.claims.Why()
	default:
		return p.election.StandsBy()
	}
}

// fromAPIServer reports whether an error is an answer of the API server, or says that there was none.
func fromAPIServer(err error) bool {
	_, network := errors.AsType[*url.Error](err)
	var answer apierrors.APIStatus
	return network || errors.As(err, &answer)
}
