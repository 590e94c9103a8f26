package master

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/internal/master/proxied"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// activeTerm is everything that exists only while this process is the active master. It is the directory's listener.
type activeTerm struct {
	master   *Master
	term     tenure
	began    time.Time
	log      logr.Logger
	registry *registry
	reporter *reporter
	sessions *sessions
	server   *protocol.Server
	refusals *rate.Limiter
	permit   *permit
	// ending reports whether the term is over because the process ends.
	ending func() bool
	// supersede ends the term as a newer master is active; superseded is closed then.
	supersede  func()
	superseded chan struct{}

	mu     sync.Mutex
	policy *admit.Policy // that the server is configured by
	// patience is the longest alive timeout of this term: nodes may still go by it.
	patience time.Duration
}

// lead is active for one term. It returns when ctx is done or a newer master is active; an error is fatal.
func (m *Master) lead(ctx context.Context, p *permit) error {
	policy := m.directory.Policy()
	if policy == nil {
		return nil
	}
	key := client.ObjectKey{Namespace: m.options.Namespace, Name: m.options.Name}
	term, err := claim(ctx, m.client, key, m.options.PodName, m.directory.ReportedEpoch(), m.certificates.Loaded(), m.clock)
	if err != nil {
		m.log.Error(err, "won the Lease but could not claim the epoch; standing by again")
		return nil
	}
	elected := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t, err := m.newTerm(term, policy, p, cancel)
	if err != nil {
		return err
	}
	listeners, err := m.listen(ctx, t)
	if err != nil {
		return fmt.Errorf("cannot listen for nodes: %w", err)
	}
	t.ending = func() bool { return elected.Err() != nil && !errors.Is(context.Cause(elected), errTermOver) }
	m.metrics.lead(term.Epoch, t.registry)
	m.setActive(t)
	t.log.Info("active", "listen", listeners[0].Addr().String())
	nodes := &refineryMetrics{directory: m.directory, registry: t.registry}
	m.metrics.registry.MustRegister(nodes)
	defer m.metrics.registry.Unregister(nodes)
	m.takeOver(ctx, t)
	err = t.run(ctx, listeners, policy.AliveTimeout)
	m.setActive(nil)
	m.standBy()
	m.metrics.standBy()
	t.log.Info("no longer active")
	return err
}

// listen opens where nodes connect and, if there is such a place, where load balancers connect for them.
func (m *Master) listen(ctx context.Context, t *activeTerm) ([]net.Listener, error) {
	var config net.ListenConfig
	direct, err := config.Listen(ctx, "tcp", m.options.Listen)
	if err != nil || m.options.ProxyListen == "" {
		return []net.Listener{direct}, err
	}
	forwarded, err := config.Listen(ctx, "tcp", m.options.ProxyListen)
	if err != nil {
		return nil, errors.Join(err, direct.Close())
	}
	return []net.Listener{direct, proxied.Listen(forwarded.(*net.TCPListener), proxied.Options{Trusted: m.proxies, Refused: t.connectionRefused})}, nil
}

// proxies are the networks of load balancers that are believed.
func (m *Master) proxies() []netip.Prefix {
	if policy := m.directory.Policy(); policy != nil {
		return policy.Proxies
	}
	return nil
}

func (m *Master) newTerm(term tenure, policy *admit.Policy, p *permit, end context.CancelFunc) (*activeTerm, error) {
	log := m.log.WithValues("epoch", term.Epoch)
	superseded := make(chan struct{})
	t := &activeTerm{master: m, term: term, began: m.clock.Now(), log: log, permit: p, policy: policy, superseded: superseded,
		supersede: sync.OnceFunc(func() { close(superseded); end() }),
		refusals:  rate.NewLimiter(rate.Every(time.Second), 5)}
	t.registry = newRegistry(m.clock, func(refinery string, after time.Duration) { t.reporter.Changed(refinery, after) })
	t.reporter = newReporter(m.client, m.directory, t.registry, m.certificates.Loaded, term, m.events, m.metrics, m.clock, log, p, t.supersede)
	t.sessions = newSessions(m.directory, t.registry,
		&admit.Authenticator{Directory: m.directory, Trust: m.certificates.Trust, Clock: m.clock}, p, m.metrics, m.clock, log)
	server, err := protocol.NewServer(t.sessions, t.serverOptions(policy))
	if err != nil {
		return nil, fmt.Errorf("spec.protocol: %w", err)
	}
	t.server = server
	return t, nil
}

// run serves until ctx is done. Nodes that a former master reported are presumed to come back within grace. When it returns, no
// status is written any more; the nodes are sent away meanwhile, and until the last is gone their sessions are reviewed.
func (t *activeTerm) run(ctx context.Context, listeners []net.Listener, grace time.Duration) error {
	reviewing, endReviews := context.WithCancel(context.WithoutCancel(ctx))
	var reviews sync.WaitGroup
	t.presume()
	t.master.directory.Listen(t)
	t.reviewAll() // what changed between presuming and listening, and what has to be written at once
	reviews.Go(func() { t.sessions.Run(reviewing) })

	reporting, stop := context.WithCancel(ctx)
	defer stop()
	var workers sync.WaitGroup
	workers.Go(func() { t.reporter.Run(reporting) })
	workers.Go(func() { t.publishEndpoint(reporting) })
	workers.Go(func() {
		select {
		case <-reporting.Done():
		case <-t.master.clock.After(grace):
			t.tellTakeover()
			t.registry.EndGrace()
			t.reporter.TotalsChanged()
		}
	})
	served := make(chan error, len(listeners))
	for _, listener := range listeners {
		go func() { served <- t.server.Serve(listener) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	stop()
	workers.Wait()
	t.drain(ctx, func() {
		endReviews()
		t.master.directory.Unlisten(t)
		t.permit.End()
		reviews.Wait()
		t.master.forgetTerm(t)
	})
	return err
}

// tellTakeover says how it went, when the nodes of the former master had the time to come back.
func (t *activeTerm) tellTakeover() {
	former, master, moved := t.term.Former, t.master.directory.Master(), t.registry.Moved()
	if former == "" || former == t.term.Pod || master == nil {
		return
	}
	took := max(0, moved.Last.Sub(t.began))
	t.master.metrics.tookOver(took, moved)
	message := fmt.Sprintf("pod %s took over from %s: %d of %d nodes came back", t.term.Pod, former, moved.Back, moved.Presumed)
	if moved.Back > 0 {
		message += " within " + took.Round(time.Millisecond).String()
	}
	t.log.Info(message)
	t.master.events.Eventf(master, nil, corev1.EventTypeNormal, "TookOver", "Activate", "%s", message)
}

// presume takes over what a former master reported. If the operator has reported since that there is no master, or access is
// suspended, nobody is presumed to be connected.
func (t *activeTerm) presume() {
	d := t.master.directory
	for _, name := range d.Names() {
		refinery := d.Refinery(name)
		if refinery == nil {
			continue
		}
		t.registry.SetWanted(name, int(refinery.WantedNodes()))
		standing := reportIn(&refinery.Status)
		if standing.Condition.Reason != v1alpha1.ReasonMasterUnavailable && refinery.Spec.Access != v1alpha1.AccessSuspended {
			t.registry.Presume(name, &refinery.Status)
		}
	}
}

// reviewAll schedules a review of every session and a comparison of every status.
func (t *activeTerm) reviewAll() {
	for _, name := range t.master.directory.Names() {
		t.RefineryChanged(name)
	}
	t.reporter.TotalsChanged()
}

// RefineryChanged implements listener.
func (t *activeTerm) RefineryChanged(name string) {
	if r := t.master.directory.Refinery(name); r != nil {
		t.registry.SetWanted(name, int(r.WantedNodes()))
	}
	t.sessions.Review(name)
	t.reporter.Changed(name, 0)
}

// MembershipChanged implements listener.
func (t *activeTerm) MembershipChanged(bearing string) {
	if bearing == "" {
		t.reviewAll()
		return
	}
	for _, refinery := range t.registry.Bearing(bearing) {
		t.RefineryChanged(refinery)
	}
}

// UpstreamsChanged implements listener.
func (t *activeTerm) UpstreamsChanged() {
	t.sessions.Arrange()
	t.reporter.TotalsChanged()
}

// MasterChanged implements listener. Every field of spec takes effect here without a restart, except the pods' template.
func (t *activeTerm) MasterChanged() {
	d := t.master.directory
	if m := d.Master(); m != nil && m.Status.Active != nil && m.Status.Active.Epoch > t.term.Epoch {
		t.log.Info("a newer master is active; this one steps down", "newer", m.Status.Active.Epoch)
		t.supersede()
		return
	}
	policy := d.Policy()
	t.mu.Lock()
	same := policy == t.policy
	t.policy = policy
	t.mu.Unlock()
	if same {
		t.reporter.TotalsChanged()
		return
	}
	if policy != nil {
		if err := t.server.Reconfigure(t.serverOptions(policy)); err != nil {
			t.log.Error(err, "cannot use spec.protocol; what was in force before stays so")
		}
	}
	t.sessions.Arrange()
	t.reviewAll()
}

// serverOptions are the options of the protocol's server under a policy.
func (t *activeTerm) serverOptions(p *admit.Policy) protocol.ServerOptions {
	o := protocol.DefaultServerOptions()
	o.TLSConfig, o.Plaintext = t.master.certificates.ServerConfig(p), p.Uses(v1alpha1.TransportPlaintext)
	o.HandshakeTimeout, o.AliveInterval, o.AliveTimeout = p.HandshakeTimeout, p.AliveInterval, p.AliveTimeout
	// Nodes go by the alive timeout that they were given last, or by the protocol's own.
	t.mu.Lock()
	t.patience = max(t.patience, p.AliveTimeout, protocol.DefaultAliveTimeout)
	o.Patience = t.patience
	t.mu.Unlock()
	o.LiteralPayloads = p.LiteralPayloads
	o.DrainWindow = drainWindow(p.AliveTimeout)
	// The registry counts nodes against maxSessions, so that a refusal has a reason in status.
	o.MaxSessions = p.MaxSessions + o.MaxHandshakes + o.MaxSlowHandshakes + o.MaxWaiting
	o.MaxHandshakesPerSource = p.MaxHandshakesPerSource
	o.Hold = t.permit.WaitToAnswer
	o.OnRefused = t.connectionRefused
	o.OnReport = t.sessions.Reported
	o.OnPanic = func(_ *protocol.Session, err *protocol.PanicError) {
		t.log.Error(err, "ended a session after a panic", "stack", string(err.Stack))
	}
	return o
}

func (t *activeTerm) connectionRefused(remote net.Addr, cause error) {
	t.master.metrics.refusal(remote, cause)
	if errors.Is(cause, protocol.ErrPeerClosed) || errors.Is(cause, protocol.ErrServerClosed) {
		return // probes and load balancers look whether the port is open
	}
	if t.refusals.AllowN(t.master.clock.Now(), 1) {
		t.log.Info("connection refused", "address", host(remote), "error", admit.Truncate(cause.Error(), 256))
	}
}
