// Package agent is the node side of the cluster: it authenticates one refinery node at its master, keeps the session alive,
// follows its certificate files, and publishes the upstream it was granted to the workload beside it.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/refinery-operator/refinery-operator/internal/agent/backoff"
	"github.com/refinery-operator/refinery-operator/internal/relay"
)

// stopTimeout bounds what happens between SIGTERM and the end of the process. It is longer than a session waits, after its
// conn:close, for the master to close.
const stopTimeout = 1500 * time.Millisecond

// Run is New and Agent.Run.
func Run(ctx context.Context, config Config, log *slog.Logger) error {
	a, err := New(config, log)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// Agent is one refinery node.
type Agent struct {
	config    Config
	log       *slog.Logger
	loop      *loop
	store     *credentialStore
	endpoints []endpoint
}

type endpoint struct {
	flag     string
	listener net.Listener
	// serve returns nil when its context or the endpoint is at an end.
	serve func(context.Context) error
	// close ends serve, and what is under way.
	close func() error
}

// New listens on the addresses of a validated config. Run must follow: it closes them.
func New(config Config, log *slog.Logger) (*Agent, error) {
	return NewIn(config, log, Process{Dial: (&net.Dialer{}).DialContext, Watch: fsnotify.NewWatcher})
}

// Process is what a node shares with whatever else there is in its process, which may be many more nodes.
type Process struct {
	// Dial reaches the master and the upstream.
	Dial DialFunc
	// Watch may fail: files are then read at intervals only. Watchers are few on a machine.
	Watch func() (*fsnotify.Watcher, error)
}

// NewIn is New in a process that has more to do.
func NewIn(config Config, log *slog.Logger, in Process) (*Agent, error) {
	m := newMetrics()
	r := &readiness{}
	r.set(false, "the agent is starting")
	p := newPublisher(config.ID, config.UpstreamFile, log)
	a := &Agent{config: config, log: log}
	a.store = newCredentialStore(credentialFiles{config}, log, m, in.Watch)
	a.loop = &loop{
		connector:   &connector{config: config, dial: in.Dial, publisher: p, loads: newLoads(config, log, m)},
		credentials: a.store, readiness: r, metrics: m, log: log, retry: backoff.New(config.MaxBackoff),
		failures: failureLog{log: log, message: "not authenticated"},
	}
	if err := errors.Join(
		a.listen("http-address", config.HTTPAddress, workloadHandler(p, a.loop.loads)),
		a.listen("health-address", config.HealthAddress, healthHandler(r, m)),
		a.listenToRelay(p, m),
	); err != nil {
		a.closeEndpoints()
		return nil, err
	}
	r.expect(0)
	return a, nil
}

// Ready reports what /readyz answers: whether the node is ready, and why.
func (a *Agent) Ready() (ready bool, why string) {
	ready, why, _ = a.loop.readiness.get()
	return ready, why
}

func (a *Agent) listen(flag, address string, handler http.Handler) error {
	if address == "" {
		return nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return cannotListen(flag, address, err)
	}
	server := newServer(handler, a.log)
	serve := func(context.Context) error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
	a.endpoints = append(a.endpoints, endpoint{flag, l, serve, server.Close})
	return nil
}

// listenToRelay lets the workload connect to the upstream through the agent, if that is asked for.
func (a *Agent) listenToRelay(p *publisher, m *metrics) error {
	const flag = "relay-address"
	if a.config.RelayAddress == "" {
		return nil
	}
	l, err := relay.Listen(a.config.RelayAddress)
	if err != nil {
		return cannotListen(flag, a.config.RelayAddress, err)
	}
	r := relay.New(relay.Options{
		Upstream: p.follow, MaxConnections: a.config.RelayMaxConnections,
		Drain: a.config.RelayDrain, IdleTimeout: a.config.RelayIdleTimeout, Log: a.log,
	})
	m.addRelay(&r.Counters)
	a.endpoints = append(a.endpoints, endpoint{flag, l, func(ctx context.Context) error { return r.Serve(ctx, l) }, l.Close})
	return nil
}

func cannotListen(flag, address string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("--%s=%s cannot be listened on: %w; choose another address, or write --%s= to serve nothing", flag, address, err, flag)
}

// address is where the endpoint of the flag listens, "" if it does not.
func (a *Agent) address(flag string) string {
	for _, e := range a.endpoints {
		if e.flag == flag {
			return e.listener.Addr().String()
		}
	}
	return ""
}

// Run returns nil when ctx is done: within two seconds, after conn:close has been sent. Any other return is the error of an
// endpoint that could no longer be served. Certificate files that are missing or unusable are not an error: it waits until they are usable.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.log.Info("starting", "version", a.config.Version, "id", a.config.ID, "type", a.config.Type, "master", cmp.Or(a.config.Address, a.config.MasterFile),
		"transport", string(a.config.Transport), "workload", a.address("http-address"), "health", a.address("health-address"),
		"relay", a.address("relay-address"))

	a.store.look()

	var running sync.WaitGroup
	for _, e := range a.endpoints {
		running.Go(func() {
			if err := e.serve(ctx); err != nil {
				cancel(fmt.Errorf("--%s: %w", e.flag, err))
			}
		})
	}
	running.Go(func() { a.store.watch(ctx) })
	running.Go(func() { a.loop.publisher.keep(ctx) })
	running.Go(func() { a.loop.loads.watch(ctx) })
	running.Go(func() { a.loop.run(ctx) })

	<-ctx.Done()
	a.log.Info("stopping")
	stopped := make(chan struct{})
	go func() {
		running.Wait()
		close(stopped)
	}()
	a.closeEndpoints()
	select {
	case <-stopped:
	case <-time.After(stopTimeout):
		a.log.Warn("the master did not read conn:close in time")
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// closeEndpoints ends requests under way too: none of them is worth waiting for.
func (a *Agent) closeEndpoints() {
	for _, e := range a.endpoints {
		_ = e.close()          // nothing can be done about an error
		_ = e.listener.Close() // of a server that was never started
	}
}
