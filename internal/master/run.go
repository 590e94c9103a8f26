package master

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	eventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/connrotation"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/cli"
	"github.com/refinery-operator/refinery-operator/internal/eventlog"
	"github.com/refinery-operator/refinery-operator/internal/health"
	"github.com/refinery-operator/refinery-operator/internal/master/peer"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

const (
	// tryTimeout bounds one try at the Lease.
	tryTimeout = 3 * time.Second
	// dialTimeout bounds how long a connection to the API server may take.
	dialTimeout = 3 * time.Second
)

// Main runs the command and returns its exit code: 0 after an orderly end, 2 if it cannot start (wrong flags, no cluster),
// and 1 if it fails later. It writes one line to stderr that says what is wrong.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		log := logr.FromSlogHandler(o.Log.Handler(stderr))
		klog.SetLogger(log)
		ctrllog.SetLogger(log)
		err = run(ctx, o, log)
	} else {
		err = &cli.StartError{Err: err}
	}
	return cli.ExitCode("master", err, stderr)
}

// Run runs a master until ctx is done.
func run(ctx context.Context, o Options, log logr.Logger) error {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return &cli.StartError{Err: fmt.Errorf("no cluster: %w; run in a pod, or name one with --kubeconfig or KUBECONFIG", err)}
	}
	config.QPS = -1 // the reporter bounds its writes itself
	config.UserAgent = "refinery-master/" + version.Version
	m, err := NewMaster(o, config, log)
	if err != nil {
		return &cli.StartError{Err: err}
	}
	return m.Run(ctx)
}

// Master is one master process: standing by or active.
type Master struct {
	options Options
	log     logr.Logger
	clock   clock.WithTicker
	config  *rest.Config
	scheme  *runtime.Scheme
	client  client.WithWatch
	// leaseDuration, retryPeriod and doubt are those of election; handover and settle stand for handoverFor and settleFor.
	leaseDuration, retryPeriod, doubt, handover, settle time.Duration
	// endpointInterval is how often the active master looks whether it is still the endpoint of its Service. It asks: a watch
	// needs one more permission, and asking costs the API server less than renewing the Lease does.
	endpointInterval time.Duration

	waiting      *health.Wait // for the API server, at the start
	directory    *directory
	certificates *certificates
	metrics      *metrics
	events       events.EventRecorder
	wake         chan struct{}                   // a token whenever readiness may have changed
	released     chan struct{}                   // a token when another master has given the Lease back
	draining     sync.WaitGroup                  // terms that are over and still send their nodes away
	connections  *connrotation.ConnectionTracker // to the API server

	contact contact
	link    *peer.Link // nil without --peers

	mu     sync.Mutex
	synced bool
	active *activeTerm
	terms  map[*activeTerm]bool // the active one, and those that still send their nodes away
}

// NewMaster returns a master for a cluster. It connects to nothing before Run.
func NewMaster(o Options, config *rest.Config, log logr.Logger) (*Master, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	connections := connrotation.NewConnectionTracker()
	config = rest.CopyConfig(config)
	if config.Dial == nil {
		config.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	config.Dial = connrotation.NewDialerWithTracker(config.Dial, connections).DialContext
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: newMapper()})
	if err != nil {
		return nil, err
	}
	m := &Master{options: o, log: log, clock: clock.RealClock{}, config: config, scheme: scheme, client: c,
		leaseDuration: 10 * time.Second, retryPeriod: 2 * time.Second, doubt: doubtFor, handover: handoverFor, settle: settleFor, endpointInterval: 10 * time.Second,
		directory: newDirectory(clock.RealClock{}), metrics: newMetrics(), wake: make(chan struct{}, 1),
		waiting:     &health.Wait{Host: config.Host, Clock: clock.RealClock{}, Log: log},
		connections: connections, released: make(chan struct{}, 1), terms: map[*activeTerm]bool{}}
	m.certificates = &certificates{directory: o.CertificateDirectory, sharedFile: o.SharedCertificateFile,
		clock: m.clock, log: log, changed: m.certificatesChanged}
	if len(o.Peers) > 0 {
		m.link = &peer.Link{Pod: o.PodName, Addresses: o.Peers, Directory: o.PeerCertificateDirectory, Master: others{m}, Clock: m.clock, Log: log}
	}
	return m, nil
}

// Run stands by, leads whenever it wins the Lease, and returns when ctx is done, its nodes are sent away and the Lease is
// released.
func (m *Master) Run(ctx context.Context) error {
	probes, err := (&net.ListenConfig{}).Listen(ctx, "tcp", m.options.HealthAddress)
	if err != nil {
		return &cli.StartError{Err: err}
	}
	leases, err := coordinationv1.NewForConfig(m.config)
	if err != nil {
		return &cli.StartError{Err: err}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// What a term needs goes on until its nodes are sent away: a certificate that is revoked meanwhile still ends its session.
	living, end := context.WithCancel(context.WithoutCancel(ctx))
	var workers sync.WaitGroup
	defer workers.Wait()
	defer end()
	defer m.draining.Wait()
	workers.Go(func() {
		if err := serveHealth(living, probes, m.metrics, m.ready, m.observe); err != nil {
			stop(fmt.Errorf("health server: %w", err))
		}
	})
	workers.Go(func() { m.certificates.Run(living) })
	if err := m.runLink(living, &workers, stop); err != nil {
		return &cli.StartError{Err: err}
	}
	if err := m.reach(ctx); err != nil {
		return m.outcome(ctx, &cli.StartError{Err: err})
	}
	stopEvents, err := m.recordEvents(living)
	if err != nil {
		return &cli.StartError{Err: err}
	}
	defer stopEvents()
	watches, err := m.follow(ctx, living, &workers)
	if err != nil {
		return m.outcome(ctx, err)
	}
	m.log.Info("standing by", "version", version.Version)
	if err := m.waitReady(ctx); err != nil {
		return m.outcome(ctx, err)
	}
	return m.outcome(ctx, m.newElection(leases, watches).Run(ctx, m.lead))
}

func (m *Master) newElection(leases coordinationv1.LeasesGetter, watches *watches) *election {
	var master v1alpha1.ClusterMaster
	master.Name = m.options.Name
	return &election{
		lease: &lease{client: leases.Leases(m.options.Namespace), name: master.LeaseName(), identity: m.options.PodName,
			duration: m.leaseDuration, patience: m.leaseDuration / 2, clock: m.clock},
		retryPeriod: m.retryPeriod, tryTimeout: tryTimeout, doubt: m.doubt, clock: m.clock, log: m.log,
		outage: m.outage, confirm: m.confirm, current: watches.Connected, failed: m.connections.CloseAll,
		released: m.tellReleased, wake: m.released, contact: &m.contact,
	}
}

// outage is for how long the active master serves without the API server.
func (m *Master) outage() time.Duration {
	master := m.directory.Master()
	if master == nil {
		return 0
	}
	return master.APIServerOutage()
}

// outcome is the error of Run: the failure that ended ctx, or nil if the caller ended it.
func (m *Master) outcome(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// reach waits until the ClusterMaster can be read. That it does not exist is an error: it was deleted, or the name is wrong.
func (m *Master) reach(ctx context.Context) error {
	key := client.ObjectKey{Namespace: m.options.Namespace, Name: m.options.Name}
	return m.waiting.For(ctx, func(ctx context.Context) error {
		var found v1alpha1.ClusterMaster
		err := m.client.Get(ctx, key, &found)
		if apierrors.IsNotFound(err) {
			return health.Final(fmt.Errorf("ClusterMaster %s does not exist in %s: %w", key, m.config.Host, err))
		}
		return err
	})
}

func (m *Master) recordEvents(ctx context.Context) (stop func(), err error) {
	sink, err := eventsv1.NewForConfig(m.config)
	if err != nil {
		return nil, err
	}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: sink})
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return nil, err
	}
	m.events = eventlog.New(broadcaster.NewRecorder(m.scheme, "refinery-master"), m.scheme)
	return broadcaster.Shutdown, nil
}

// follow starts the watches, which go on until living is done, and waits until the directory holds everything they found.
func (m *Master) follow(ctx, living context.Context, workers *sync.WaitGroup) (*watches, error) {
	m.directory.Listen(waker(m.wake))
	watches := newWatches(m.client, m.options.Namespace, m.options.Name, m.directory, m.clock, m.log)
	workers.Go(func() { watches.Run(living) })
	workers.Go(func() { m.followServices(living) })
	if err := watches.WaitListed(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.synced = true
	m.mu.Unlock()
	return watches, nil
}

// followServices watches Services and their endpoints while an upstream is a Service, until ctx is done. Nobody waits for what it
// finds: without it upstreams stay as they were reported last.
func (m *Master) followServices(ctx context.Context) {
	wake := make(chan struct{}, 1)
	m.directory.Listen(waker(wake))
	defer m.directory.Unlisten(waker(wake))
	stop := func() {}
	defer func() { stop() }()
	for watching := false; ; {
		policy := m.directory.Policy()
		switch wanted := policy != nil && policy.Placement.UsesServices(); {
		case wanted && !watching:
			watching, stop = true, m.watchServices(ctx)
		case !wanted && watching:
			stop()
			m.directory.services.Forget()
			watching, stop = false, func() {}
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}

// watchServices watches until the function that it returns is called, which waits for the end.
func (m *Master) watchServices(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		newServiceWatches(m.client, m.options.Namespace, m.directory.services, m.clock, m.log).Run(ctx)
	}()
	return func() { cancel(); <-ended }
}

// waitReady returns when ready does not report anything missing.
func (m *Master) waitReady(ctx context.Context) error {
	logged := ""
	for {
		err := m.ready()
		if err == nil {
			return nil
		}
		if err.Error() != logged {
			logged = err.Error()
			m.log.Info("waiting until this master can lead", "reason", logged)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.wake:
		}
	}
}

// ready returns why this process cannot lead, or nil.
func (m *Master) ready() error {
	if why := m.waiting.Why(); why != nil {
		return why
	}
	m.mu.Lock()
	synced := m.synced
	m.mu.Unlock()
	if !synced {
		return errors.New("the watches of ClusterMaster and Refineries are not in sync yet")
	}
	policy := m.directory.Policy()
	if policy == nil {
		return fmt.Errorf("ClusterMaster %s/%s does not exist", m.options.Namespace, m.options.Name)
	}
	if missing := m.certificates.Missing(policy); missing != "" {
		return errors.New(missing)
	}
	return nil
}

func (m *Master) setActive(t *activeTerm) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.active = t; t != nil {
		m.terms[t] = true
	}
}

func (m *Master) forgetTerm(t *activeTerm) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.terms, t)
}

func (m *Master) activeTerm() *activeTerm {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.active
}

// observe updates the gauges of sessions.
func (m *Master) observe() {
	if t := m.activeTerm(); t != nil {
		m.metrics.observe(t.server.Stats())
	}
}

func (m *Master) certificatesChanged() {
	waker(m.wake).MasterChanged()
	m.mu.Lock()
	terms := slices.Collect(maps.Keys(m.terms))
	m.mu.Unlock()
	for _, t := range terms {
		t.reviewAll()
	}
}

// waker is the directory's listener while this process stands by.
type waker chan struct{}

func (w waker) MasterChanged() {
	select {
	case w <- struct{}{}:
	default:
	}
}

func (w waker) UpstreamsChanged() {}

func (w waker) RefineryChanged(string) {}

func (w waker) MembershipChanged(string) {}
