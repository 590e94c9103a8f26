package master

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// Sessions ties the protocol's server to the Authenticator and the Registry (protocol.Handler), and reviews live
// sessions whenever what they rest on may have changed: no session outlives its permission.
type Sessions struct {
	directory     *Directory
	registry      *Registry
	authenticator *admit.Authenticator
	metrics       *Metrics
	clock         clock.WithTicker
	log           logr.Logger
	strangers     *rate.Limiter // log lines of refused nodes that belong to no Refinery,
	refusals      *rate.Limiter // and of those that do
	reviews       workqueue.TypedDelayingInterface[string]
	reviewing     sync.Mutex // so that of two reviews of a session the later one's upstream stands
}

// NewSessions makes one. Run must run for sessions to be reviewed.
func NewSessions(d *Directory, r *Registry, a *admit.Authenticator, m *Metrics, c clock.WithTicker, log logr.Logger) *Sessions {
	return &Sessions{
		directory: d, registry: r, authenticator: a, metrics: m, clock: c, log: log,
		strangers: rate.NewLimiter(rate.Every(time.Second), 20),
		refusals:  rate.NewLimiter(rate.Every(time.Second), 20),
		reviews:   workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[string]{Clock: c}),
	}
}

// Establish implements protocol.Handler: the version check.
func (s *Sessions) Establish(_ context.Context, session *protocol.Session) error {
	a := &Attempt{
		Connection: session,
		Address:    host(session.RemoteAddr()),
		Announced: admit.Announced{ID: session.ID(), Version: session.Version(), Type: session.Type(), TLS: session.TLS(),
			Proof: s.authenticator.Prove(session.PeerCertificates())},
	}
	a.Fingerprint = a.Announced.Proof.Fingerprint
	a.Refinery = s.authenticator.Attribute(a.Announced)
	session.SetTag(a)
	own := s.authenticator.Own(a.Announced) // a stranger's handshake shows nowhere, however long it takes
	if own {
		s.registry.Establishing(a)
	}
	if denial := s.authenticator.Establish(a.Announced); denial != nil {
		return s.refuse(a, denial)
	}
	if own {
		s.registry.Authenticating(a)
	}
	return nil
}

// Authenticate implements protocol.Handler: the certificate checks and the placement.
func (s *Sessions) Authenticate(_ context.Context, session *protocol.Session, certificate string) (string, error) {
	a, _ := session.Tag().(*Attempt)
	grant, denial := s.authenticator.Authenticate(a.Announced, certificate)
	if denial != nil {
		return "", s.refuse(a, denial)
	}
	upstream, err := s.place(a.Announced, grant)
	if err != nil {
		return "", s.refuse(a, &admit.Denial{State: v1alpha1.NodeDenied, Refinery: grant.Refinery, Reason: v1alpha1.ReasonUnknownUpstream, Message: err.Error()})
	}
	if denial := s.registry.Grant(a, grant, upstream); denial != nil {
		return "", s.refuse(a, denial)
	}
	return upstream.Address, nil
}

// Authenticated implements protocol.Handler.
func (s *Sessions) Authenticated(session *protocol.Session) {
	a, _ := session.Tag().(*Attempt)
	if replaced := s.registry.Authenticated(a); replaced != nil {
		replaced.Close(ErrReplaced)
	}
	s.metrics.handshakes.WithLabelValues(v1alpha1.ReasonAuthenticated).Inc()
	s.log.V(1).Info("node authenticated", "id", a.Announced.ID, "version", a.Announced.Version, "address", a.Address)
	// What the grant rests on may have changed since it was given.
	s.review(a)
}

// Acknowledged implements protocol.Handler.
func (s *Sessions) Acknowledged(session *protocol.Session, upstream string) {
	a, _ := session.Tag().(*Attempt)
	s.registry.Acknowledged(a, upstream)
}

// Closed implements protocol.Handler.
func (s *Sessions) Closed(session *protocol.Session, cause error) {
	a, ok := session.Tag().(*Attempt)
	if !ok {
		return
	}
	s.registry.Ended(a, cause)
	_, denied := errors.AsType[*admit.Denial](cause)
	switch {
	case a.state == v1alpha1.NodeAuthenticated:
		_, reason, _ := ending(cause)
		s.metrics.ended.WithLabelValues(reason).Inc()
		s.log.V(1).Info("session ended", "id", a.Announced.ID, "reason", reason, "cause", cause.Error())
	case !denied:
		s.metrics.handshakes.WithLabelValues("Incomplete").Inc()
	}
}

// refuse counts, remembers and logs a refusal, and returns it.
func (s *Sessions) refuse(a *Attempt, d *admit.Denial) error {
	s.registry.Refused(a, d)
	s.metrics.handshakes.WithLabelValues(d.Reason).Inc()
	limit := s.refusals
	if d.Refinery == "" {
		limit = s.strangers
	}
	if limit.AllowN(s.clock.Now(), 1) {
		s.log.Info("node refused", "id", admit.Truncate(a.Announced.ID, admit.MaxIDBytes), "address", a.Address, "reason", d.Reason,
			"message", admit.Truncate(d.Message, 512), "refinery", d.Refinery)
	}
	return d
}

func (s *Sessions) place(n admit.Announced, g *admit.Grant) (admit.Upstream, error) {
	pin := ""
	if r := s.directory.Refinery(g.Refinery); r != nil {
		pin = r.Spec.Upstream
	}
	policy := s.directory.Policy()
	if policy == nil {
		policy = g.Policy
	}
	return policy.Placement.Place(n.ID, n.Type, pin)
}

// Review has the sessions of a Refinery reviewed soon.
func (s *Sessions) Review(refinery string) { s.reviews.Add(refinery) }

// Run reviews until ctx is done.
func (s *Sessions) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, s.reviews.ShutDown)
	defer stop()
	for {
		refinery, done := s.reviews.Get()
		if done {
			return
		}
		for _, a := range s.registry.Sessions(refinery) {
			s.review(a)
		}
		s.reviews.Done(refinery)
	}
}

// review closes a session that may not stay, and moves one that is to have another upstream.
func (s *Sessions) review(a *Attempt) {
	s.reviewing.Lock()
	defer s.reviewing.Unlock()
	live := s.registry.Live(a)
	if denial := s.authenticator.Review(live.Grant); denial != nil {
		s.log.Info("session closed", "id", a.Announced.ID, "reason", denial.Reason, "message", denial.Message)
		a.Connection.Close(denial)
		s.registry.Ended(a, denial) // status does not wait for the peer to hang up
		return
	}
	if end := s.authenticator.Until(live.Grant); !end.IsZero() {
		// Reviewed again when its certificate has expired; of several such times the queue keeps the earliest.
		s.reviews.AddAfter(live.Grant.Refinery, end.Sub(s.clock.Now())+time.Millisecond)
	}
	if !live.Acknowledged {
		return // Authenticated reviews it again
	}
	upstream, err := s.place(a.Announced, live.Grant)
	if err != nil {
		// A living node keeps what it has: refusing it an upstream now would only take it out of service.
		s.log.V(1).Info("node keeps its upstream", "id", a.Announced.ID, "upstream", live.Offered.Name, "because", err.Error())
		return
	}
	if upstream.Name == live.Offered.Name && upstream.Address == live.Offered.Address {
		return
	}
	s.registry.Offered(a, upstream)
	if upstream.Address == live.Offered.Address {
		return
	}
	if err := a.Connection.SetUpstream(upstream.Address); err != nil && !errors.Is(err, protocol.ErrNotAuthenticated) {
		a.Connection.Close(err)
		return
	}
	s.log.V(1).Info("node moved", "id", a.Announced.ID, "from", live.Offered.Name, "to", upstream.Name)
}

func host(address net.Addr) string {
	if address == nil {
		return ""
	}
	h, _, err := net.SplitHostPort(address.String())
	if err != nil {
		return address.String()
	}
	return h
}
