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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/health"
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

	mu         sync.Mutex
	manager    manager.Manager // nil before the first one
	namespaces *namespaces
}

func newProcess(options Options, config *rest.Config, log logr.Logger) *process {
	real := clock.RealClock{}
	return &process{options: options, config: config, log: log, clock: real, interval: lookInterval,
		waiting:    &health.Wait{Host: config.Host, Clock: real, Log: log},
		namespaces: newNamespaces(options.WatchNamespaces, log)}
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
	if err := metrics.Registry.Register(p.namespaces.watched); err != nil {
		return &cli.StartError{Err: fmt.Errorf("register metrics: %w", err)}
	}
	defer metrics.Registry.Unregister(p.namespaces.watched)
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
		options := p.options
		options.WatchNamespaces = with
		if mgr, err = NewManager(ctx, p.config, options); err != nil && !fromAPIServer(err) {
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
	return mgr.Start(ctx)
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

// inSync reports whether the caches of the manager are in sync.
func (p *process) inSync(ctx context.Context) bool {
	p.mu.Lock()
	mgr := p.manager
	p.mu.Unlock()
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
	return nil
}

// fromAPIServer reports whether an error is an answer of the API server, or says that there was none.
func fromAPIServer(err error) bool {
	_, network := errors.AsType[*url.Error](err)
	var answer apierrors.APIStatus
	return network || errors.As(err, &answer)
}
