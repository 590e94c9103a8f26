package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	// leaseSuffix follows the name of a release in that of the Lease which its elected operator holds.
	leaseSuffix = ".operator.cluster.refinery.dev"
	// electionTimeout bounds one request, so that one that hangs does not cost the Lease.
	electionTimeout = 5 * time.Second
)

// election is the Lease of a release, by which one of its operators is elected. It notes what those who use it do not tell:
// why it cannot be read or written, and whether another operator is there.
type election struct {
	resourcelock.Interface
	log     logr.Logger
	failing prometheus.Gauge

	mu    sync.Mutex
	why   error
	last  resourcelock.LeaderElectionRecord
	alive bool
}

// newElection returns the election of a release. The Lease gets the labels.
func newElection(config *rest.Config, release Release, labels map[string]string, log logr.Logger) (*election, error) {
	config = rest.CopyConfig(config)
	config.Timeout = electionTimeout
	leases, err := coordinationclient.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return &election{log: log,
		Interface: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: release.Namespace, Name: release.Name + leaseSuffix},
			Client:     leases,
			Labels:     labels,
			LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
		},
		failing: prometheus.NewGauge(prometheus.GaugeOpts{Name: "refinery_operator_leader_election_failing",
			Help: "1 while the Lease of the release cannot be read or written, by which one of its operators is elected."}),
	}, nil
}

// Get implements resourcelock.Interface.
func (e *election) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := e.Interface.Get(ctx)
	switch {
	case err == nil:
		e.read(*record)
	case !apierrors.IsNotFound(err): // then it is created
		e.note(err)
	}
	return record, raw, err
}

// Create implements resourcelock.Interface.
func (e *election) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	err := e.Interface.Create(ctx, record)
	e.wrote(err)
	return err
}

// Update implements resourcelock.Interface.
func (e *election) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	err := e.Interface.Update(ctx, record)
	e.wrote(err)
	return err
}

// wrote notes how a write ended. That another operator was faster is no failure.
func (e *election) wrote(err error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		err = nil
	}
	e.note(err)
}

// read notes what the Lease says. Another operator is there if it was seen to renew it. Then this one need not be able to
// write it.
func (e *election) read(record resourcelock.LeaderElectionRecord) {
	e.mu.Lock()
	renews := record.HolderIdentity != "" && record.HolderIdentity != e.Identity() &&
		record.HolderIdentity == e.last.HolderIdentity && !record.RenewTime.Equal(&e.last.RenewTime)
	e.last, e.alive = record, e.alive || renews
	e.mu.Unlock()
	if renews {
		e.note(nil)
	}
}

// note logs and counts what has changed.
func (e *election) note(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err != nil && (e.why == nil || apierrors.ReasonForError(err) != apierrors.ReasonForError(e.why)):
		e.log.Info("the leader election fails; it is tried again", "lease", e.Describe(), "reason", err.Error())
	case err == nil && e.why != nil:
		e.log.Info("the leader election works again", "lease", e.Describe())
	}
	e.why = err
	e.failing.Set(0)
	if err != nil {
		e.failing.Set(1)
		e.why = fmt.Errorf("the leader election fails, Lease %s: %w", e.Describe(), err)
	}
}

// Why returns why the Lease cannot be read or written, or nil.
func (e *election) Why() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.why
}

// StandsBy returns nil if this operator, which is not elected, stands by for one that is there.
func (e *election) StandsBy() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.alive {
		return nil
	}
	return errors.New("no operator of this release is elected yet")
}
