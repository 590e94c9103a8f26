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

// sessions is the protocol.Handler: it asks the Authenticator and records in the registry. It reviews live sessions whenever
// what they rest on may have changed, so that no session outlives its permission.
type sessions struct {
	directory     *directory
	registry      *registry
	authenticator *admit.Authenticator
	permit        *permit
	metrics       *metrics
	clock         clock.WithTicker
	log           logr.Logger
	strangers     *rate.Limiter // log lines of refused nodes that belong to no Refinery,
	refusals      *rate.Limiter // and of those that do
	reviews       workqueue.TypedDelayingInterface[string]
	arrangement   arrangement
	reviewing     sync.Mutex // so that of two reviews of a session the later one decides its upstream
}

// newSessions returns one that reviews no session before Run.
func newSessions(d *directory, r *registry, a *admit.Authenticator, p *permit, m *metrics, clk clock.WithTicker, log logr.Logger) *sessions {
	return &sessions{
		directory: d, registry: r, authenticator: a, permit: p, metrics: m, clock: clk, log: log,
		strangers: rate.NewLimiter(rate.Every(time.Second), 20),
		refusals:  rate.NewLimiter(rate.Every(time.Second), 20),
		reviews:   workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[string]{Clock: clk}),
	}
}

// errMayNotAdmit ends a handshake without auth:dec, which would tell the node that it is denied.
var errMayNotAdmit = errors.New("this master cannot tell whether another one is active, and lets no node in meanwhile")

// Establish implements protocol.Handler: the version check.
func (s *sessions) Establish(_ context.Context, session *protocol.Session) error {
	if !s.permit.MayAdmit() {
		return errMayNotAdmit
	}
	c := &connection{
		session: session,
		Address: host(session.RemoteAddr()),
		since:   s.clock.Now(),
		Announced: admit.Announced{ID: session.ID(), Version: session.Version(), Type: session.Type(), TLS: session.TLS(),
			Proof: s.authenticator.Prove(session.PeerCertificates())},
	}
	c.Fingerprint = c.Announced.Proof.Fingerprint
	c.Refinery = s.authenticator.Attribute(c.Announced)
	session.SetTag(c)
	own := s.authenticator.Own(c.Announced) // status never shows the handshake of a stranger
	if own {
		s.registry.Establishing(c)
	}
	if denial := s.authenticator.Establish(c.Announced); denial != nil {
		return s.refuse(c, denial)
	}
	if own {
		s.registry.Authenticating(c)
	}
	return nil
}

// Authenticate implements protocol.Handler: the certificate checks and the placement.
func (s *sessions) Authenticate(_ context.Context, session *protocol.Session, certificate string) (string, error) {
	c, _ := session.Tag().(*connection)
	if !s.permit.MayAdmit() {
		session.Close(errMayNotAdmit)
		return "", errMayNotAdmit
	}
	grant, denial := s.authenticator.Authenticate(c.Announced, certificate)
	if denial != nil {
		return "", s.refuse(c, denial)
	}
	upstream, err := s.place(c.Announced, grant)
	if err != nil {
		return "", s.refuse(c, &admit.Denial{State: v1alpha1.NodeDenied, Refinery: grant.Refinery, Reason: v1alpha1.ReasonUnknownUpstream, Message: err.Error()})
	}
	if denial := s.registry.Grant(c, grant, upstream); denial != nil {
		s.arrangeSoon()
		return "", s.refuse(c, denial)
	}
	return upstream.Address, nil
}

// Authenticated implements protocol.Handler.
func (s *sessions) Authenticated(session *protocol.Session) {
	c, _ := session.Tag().(*connection)
	if replaced := s.registry.Authenticated(c); replaced != nil {
		replaced.Close(errReplaced)
	}
	s.metrics.handshakes.WithLabelValues(v1alpha1.ReasonAuthenticated).Inc()
	s.metrics.opening.Observe(s.clock.Since(c.since).Seconds())
	s.log.V(1).Info("node authenticated", "id", c.Announced.ID, "version", c.Announced.Version, "address", c.Address)
	// What the grant rests on may have changed since.
	s.review(c)
}

// Acknowledged implements protocol.Handler.
func (s *sessions) Acknowledged(session *protocol.Session, upstream string) {
	c, _ := session.Tag().(*connection)
	s.registry.Acknowledged(c, upstream)
}

// Reported is the OnReport of the protocol's server.
func (s *sessions) Reported(session *protocol.Session, r protocol.Report) {
	s.metrics.ignored.Add(float64(r.Ignored))
	c, _ := session.Tag().(*connection)
	s.registry.Reported(c, saidBy(r.Status, r.Load))
}

// Closed implements protocol.Handler.
func (s *sessions) Closed(session *protocol.Session, cause error) {
	c, ok := session.Tag().(*connection)
	if !ok {
		return
	}
	s.ended(c, cause)
	_, denied := errors.AsType[*admit.Denial](cause)
	switch {
	case c.state == v1alpha1.NodeAuthenticated:
		_, reason, _ := ending(cause)
		s.metrics.ended.WithLabelValues(reason).Inc()
		s.log.V(1).Info("session ended", "id", c.Announced.ID, "reason", reason, "cause", cause.Error())
	case !denied:
		s.metrics.handshakes.WithLabelValues("Incomplete").Inc()
	}
}

func (s *sessions) ended(c *connection, cause error) {
	if s.registry.Ended(c, cause) {
		s.left(c)
	}
}

// byClock adds to a denial that depends on the time what the clock of this machine shows: that of the node may show something
// else, and nobody compares them.
func (s *sessions) byClock(d *admit.Denial) *admit.Denial {
	if d.Reason != v1alpha1.ReasonNotYetValid && d.Reason != v1alpha1.ReasonExpired {
		return d
	}
	with := *d
	with.Message += "; the clock of the master's machine shows " + s.clock.Now().UTC().Format(time.RFC3339)
	return &with
}

// refuse records, counts and logs a denial, and returns it.
func (s *sessions) refuse(c *connection, d *admit.Denial) error {
	d = s.byClock(d)
	s.registry.Refused(c, d)
	s.metrics.handshakes.WithLabelValues(d.Reason).Inc()
	limit := s.refusals
	if d.Refinery == "" {
		limit = s.strangers
	}
	if limit.AllowN(s.clock.Now(), 1) {
		s.log.Info("node refused", "id", admit.Truncate(c.Announced.ID, admit.MaxIDBytes), "address", c.Address, "reason", d.Reason,
			"message", admit.Truncate(d.Message, 512), "refinery", d.Refinery)
	}
	return d
}

// Review schedules a review of the sessions of a Refinery.
func (s *sessions) Review(refinery string) { s.reviews.Add(refinery) }

// Run reviews until ctx is done.
func (s *sessions) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, s.reviews.ShutDown)
	defer stop()
	for {
		refinery, done := s.reviews.Get()
		if done {
			return
		}
		s.permit.WaitToAnswer()
		if refinery == arrangeKey {
			s.arrange()
		}
		for _, c := range s.registry.Sessions(refinery) {
			s.review(c)
		}
		s.reviews.Done(refinery)
	}
}

// review closes a session that may not stay, and moves one that gets another upstream.
func (s *sessions) review(c *connection) {
	s.reviewing.Lock()
	defer s.reviewing.Unlock()
	live := s.registry.Live(c)
	if denial := s.authenticator.Review(live.Grant); denial != nil {
		denial = s.byClock(denial)
		s.log.Info("session closed", "id", c.Announced.ID, "reason", denial.Reason, "message", denial.Message)
		c.session.Close(denial)
		s.ended(c, denial) // status does not wait for the peer to hang up
		return
	}
	if end := s.authenticator.Until(live.Grant); !end.IsZero() {
		// Review again when the certificate has expired. Of several such times the queue keeps the earliest.
		s.reviews.AddAfter(live.Grant.Refinery, end.Sub(s.clock.Now())+time.Millisecond)
	}
	if !live.Acknowledged {
		return // Authenticated reviews it again
	}
	pin, policy := s.directory.pin(live.Grant.Refinery), s.directory.Policy()
	if pin == "" || policy == nil {
		s.arrangeSoon()
		return
	}
	upstream, err := policy.Placement.Pinned(c.Announced.Type, pin)
	if err != nil {
		// A live node keeps its upstream: taking it away would only take the node out of service.
		s.log.V(1).Info("node keeps its upstream", "id", c.Announced.ID, "upstream", live.Offered.Name, "reason", err.Error())
		return
	}
	s.move(c, live.Offered, upstream)
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
