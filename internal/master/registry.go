package master

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

const (
	// maxRefused is the number of refused node ids that are remembered for a Refinery.
	maxRefused = 8
	// refusedFor is how long a refused node is shown after it last tried.
	refusedFor = 2 * time.Minute
	// maxGone is the number of closed and lost nodes that are remembered for a Refinery.
	maxGone = v1alpha1.MaxNodeStatuses
	// minGone is the number of them that are remembered however few nodes are missing. More of them than are missing are there
	// where nodes come back under new ids.
	minGone = 8
	// refusalInterval is how often refused nodes may change a Refinery's status, once the first maxRefused have.
	refusalInterval = 10 * time.Second
	// listingGrace is how long a node is not shown as denied because status does not list its certificate. A node that
	// starts with a new certificate may be ahead of the watch that brings the listing; it then comes again.
	listingGrace = 2 * time.Second
	// handshakeShown is how long a handshake takes before status shows it: showing quicker ones would double the writes.
	handshakeShown = time.Second
	// spareSessions is the number of places that a Refinery has beyond twice its wanted nodes.
	spareSessions = 16
)

// errReplaced is the cause with which a session is closed when a newer one of the same id was authenticated.
var errReplaced = errors.New("a newer session of the same id took its place")

// session is the part of *protocol.Session that ends a session or moves it to another upstream.
type session interface {
	Close(cause error)
	SetUpstream(address string) error
}

// connection is one connection of a node, from conn:establish to its end. The registry's lock guards the fields below.
type connection struct {
	session   session
	Announced admit.Announced
	// Address is the peer's, without the port.
	Address string
	// Fingerprint of the TLS peer's certificate, "" without one.
	Fingerprint string
	// Refinery in whose status the connection may show: that of the certificate that the node proved to hold, and from the
	// grant on the one that let it in. "" for a stranger.
	Refinery string

	state   v1alpha1.NodeState
	since   time.Time
	grant   *admit.Grant   // nil until the node is let in
	offered admit.Upstream // the last one sent, whether or not the node acknowledged it
	said    said           // what the node reported last
}

// node is what is remembered of one node id.
type node struct {
	v1alpha1.NodeStatus
	live        *connection // its authenticated session
	last        string      // the upstream that it was on when its session ended
	presumed    bool        // a former master reported it as Authenticated, and the time to come back has not ended
	own         bool        // it was refused, and is one of the Refinery's own (Denial.Own)
	seen        time.Time   // when it was last refused, closed or lost
	visibleFrom time.Time
	contest     contest
}

func (n *node) authenticated() bool { return n.State == v1alpha1.NodeAuthenticated }

func (n *node) refused() bool {
	return n.State == v1alpha1.NodeDenied || n.State == v1alpha1.NodeVersionMismatch
}

// group is what is remembered of one Refinery's nodes.
type group struct {
	// refusals bounds how often a refused node changes status: whoever has a certificate that is no longer accepted can make
	// up any number of ids.
	refusals   *rate.Limiter
	reports    *rate.Limiter // bounds how often what nodes say about themselves changes status
	wanted     int
	nodes      map[string]*node
	handshakes map[*connection]struct{} // those neither authenticated nor refused yet
	// granted counts, by node id, the handshakes whose grant the node has not acknowledged yet.
	granted  map[string]int
	places   int            // nodes with an authenticated session or a grant
	unlisted int            // nodes that a former master counted as authenticated and did not list by id
	denied   map[string]int // handshakes by reason, for the metrics
}

// registry holds who is connected, and in which state, by Refinery and in memory. It is safe for concurrent use.
type registry struct {
	clock clock.PassiveClock
	// changed is called when Snapshot returns something else for a Refinery, now or after some time.
	changed func(refinery string, after time.Duration)

	mu        sync.Mutex
	groups    map[string]*group
	places    int // of all groups
	moved     move
	strangers strangers
}

// move is how the nodes of a former master came to this one.
type move struct {
	Presumed int       // nodes that were authenticated there
	Back     int       // those of them that connected here
	Last     time.Time // when the last of these did
}

// newRegistry returns an empty one. It calls changed without its lock; changed must not block.
func newRegistry(c clock.PassiveClock, changed func(refinery string, after time.Duration)) *registry {
	return &registry{clock: c, changed: changed, groups: map[string]*group{}}
}

func (r *registry) group(refinery string) *group {
	g := r.groups[refinery]
	if g == nil {
		g = &group{nodes: map[string]*node{}, handshakes: map[*connection]struct{}{}, granted: map[string]int{}, denied: map[string]int{},
			refusals: rate.NewLimiter(rate.Every(refusalInterval), maxRefused),
			reports:  rate.NewLimiter(rate.Every(reportsInterval), reportsShownAtOnce)}
		r.groups[refinery] = g
	}
	return g
}

// SetWanted sets how many nodes a Refinery asks for. Nothing is remembered of a Refinery before.
func (r *registry) SetWanted(refinery string, wanted int) {
	r.mu.Lock()
	g := r.group(refinery)
	g.wanted = wanted
	g.settle()
	r.mu.Unlock()
}

// Forget drops a Refinery that was deleted, unless sessions of it are still to be closed.
func (r *registry) Forget(refinery string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[refinery]
	if g == nil || len(g.handshakes) > 0 {
		return
	}
	for _, n := range g.nodes {
		if n.live != nil {
			return
		}
	}
	delete(r.groups, refinery)
}

// Presume takes over the nodes that a former master reported. Those that were Authenticated are presumed to come back, and
// stay so in status until EndGrace.
func (r *registry) Presume(refinery string, status *v1alpha1.RefineryStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g, now, listed := r.group(refinery), r.clock.Now(), 0
	for _, s := range status.Nodes {
		n := &node{NodeStatus: s, seen: now}
		switch {
		case n.authenticated():
			n.presumed = true
			listed++
		case s.State == v1alpha1.NodeEstablishing || s.State == v1alpha1.NodeAuthenticating:
			continue
		}
		g.nodes[s.ID] = n
	}
	if status.Authenticated != nil {
		g.unlisted = max(0, int(status.Authenticated.Nodes)-listed)
	}
	r.moved.Presumed += listed + g.unlisted
	g.settle()
}

// Moved is how the nodes that were presumed to come back have done so.
func (r *registry) Moved() move {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved
}

// EndGrace marks as Lost each node that was presumed to come back and did not.
func (r *registry) EndGrace() {
	r.mu.Lock()
	var touched []string
	for name, g := range r.groups {
		if g.unlisted > 0 {
			g.unlisted = 0
			touched = append(touched, name)
		}
		for _, n := range g.nodes {
			if n.presumed {
				n.presumed = false
				r.leave(n, v1alpha1.NodeLost, v1alpha1.ReasonLost, "did not connect again after another master became active")
				touched = append(touched, name)
			}
		}
		g.settle()
	}
	r.mu.Unlock()
	for _, name := range touched {
		r.changed(name, 0)
	}
}

// Establishing records a connection whose conn:establish was read. It is remembered only for a Refinery that is known.
func (r *registry) Establishing(c *connection) {
	r.progress(c, v1alpha1.NodeEstablishing)
}

// Authenticating records that conn:startAuth was the answer.
func (r *registry) Authenticating(c *connection) {
	r.progress(c, v1alpha1.NodeAuthenticating)
}

func (r *registry) progress(c *connection, state v1alpha1.NodeState) {
	r.mu.Lock()
	g := r.groups[c.Refinery]
	if c.since.IsZero() {
		c.since = r.clock.Now()
	}
	c.state = state
	known := g != nil
	if known {
		g.handshakes[c] = struct{}{}
	}
	r.mu.Unlock()
	if known {
		r.changed(c.Refinery, handshakeShown)
	}
}

// Authenticated records that the node acknowledged its grant. It returns the session of the same id that it replaces, which
// the caller closes with errReplaced, or nil. A connection that has ended meanwhile replaces nothing.
func (r *registry) Authenticated(c *connection) session {
	r.mu.Lock()
	g := r.groups[c.Refinery]
	if g == nil || !g.waits(c) {
		r.mu.Unlock()
		return nil
	}
	g.settleGrant(c)
	var replaced session
	n := g.nodes[c.Announced.ID]
	switch {
	case n == nil:
		n = &node{presumed: g.unlisted > 0}
		g.nodes[c.Announced.ID] = n
		g.unlisted = max(0, g.unlisted-1)
	case n.live != nil:
		replaced = n.live.session
		n.contest.replacedBy(n.live.Address, c.Address, r.clock.Now(), c.grant.Policy.AliveTimeout)
	default:
		n.contest = contest{}
	}
	since := metav1.NewTime(r.clock.Now())
	if n.authenticated() {
		since = n.LastTransitionTime
	}
	if n.presumed {
		r.moved.Back++
		r.moved.Last = r.clock.Now()
	}
	c.state = v1alpha1.NodeAuthenticated
	n.live, n.presumed = c, false
	n.NodeStatus = c.status(v1alpha1.NodeAuthenticated, v1alpha1.ReasonAuthenticated, "", since)
	n.Upstream = c.offered.Name
	g.settle()
	r.mu.Unlock()
	r.changed(c.Refinery, 0)
	return replaced
}

// Offered records that another upstream was sent in a live session, or that its upstream has another name now.
func (r *registry) Offered(c *connection, u admit.Upstream) {
	r.mu.Lock()
	same := c.offered.Address == u.Address
	c.offered = u
	r.mu.Unlock()
	if same {
		r.Acknowledged(c, u.Address)
	}
}

// Acknowledged records that the node switched to an upstream.
func (r *registry) Acknowledged(c *connection, address string) {
	r.mu.Lock()
	g := r.groups[c.Refinery]
	moved := false
	if g != nil && c.offered.Address == address {
		if n := g.nodes[c.Announced.ID]; n != nil && n.live == c && n.Upstream != c.offered.Name {
			n.Upstream = c.offered.Name
			moved = true
		}
	}
	r.mu.Unlock()
	if moved {
		r.changed(c.Refinery, 0)
	}
}

// Refused records that conn:close or auth:dec was the answer. A refused node changes little of status: it never replaces a
// live session, shows only if it is one of the Refinery's own while all wanted nodes are authenticated, and few are
// remembered.
func (r *registry) Refused(c *connection, d *admit.Denial) {
	r.mu.Lock()
	if g := r.groups[c.Refinery]; g != nil {
		delete(g.handshakes, c)
	}
	if d.Stranger {
		after := r.strangers.add(c, d.Reason, r.clock.Now())
		r.mu.Unlock()
		r.changed(totalsKey, after)
		return
	}
	g := r.groups[d.Refinery]
	if g != nil {
		g.denied[d.Reason]++
	}
	if g == nil || !g.refuse(c, d, r.shownID(d.Refinery, c.Announced.ID), r.clock.Now()) {
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	r.changed(d.Refinery, 0)
}

// shownID is the id under which status of a Refinery shows a node that nothing has let in: its own, unless that is another
// Refinery's.
func (r *registry) shownID(refinery, announced string) string {
	if name := admit.NamedIn(announced); name != refinery && r.groups[name] != nil {
		return refinery
	}
	return announced
}

// refuse remembers a refused connection under an id, and reports whether it did.
func (g *group) refuse(c *connection, d *admit.Denial, id string, now time.Time) bool {
	n := g.nodes[id]
	if d.Reason == v1alpha1.ReasonDuplicateID && n != nil && n.live != nil {
		return n.contested(c, now)
	}
	if !d.Own && g.authenticated() >= g.wanted {
		return false
	}
	if n != nil && (n.live != nil || n.presumed) {
		return false
	}
	if n == nil {
		n = &node{}
	}
	if n.State == d.State && n.Reason == d.Reason && n.Version == c.Announced.Version && n.Certificate == c.Fingerprint {
		n.seen = now
		return false // it came again, perhaps from another address
	}
	if !g.refusals.AllowN(now, 1) {
		return false
	}
	since := metav1.NewTime(now)
	if n.State == d.State {
		since = n.LastTransitionTime
	}
	status := c.status(d.State, d.Reason, d.Message, since)
	status.ID = id
	n.NodeStatus, n.seen, n.own, n.visibleFrom = status, now, d.Own, now
	if d.Reason == v1alpha1.ReasonCertificateNotListed {
		n.visibleFrom = now.Add(listingGrace)
	}
	g.nodes[id] = n
	g.bound((*node).refused, maxRefused)
	return true
}

// Ended records that the connection is closed, whatever ended it, and reports whether its node was there by it.
func (r *registry) Ended(c *connection, cause error) bool {
	r.mu.Lock()
	changed := r.end(c, cause)
	r.mu.Unlock()
	if changed {
		r.changed(c.Refinery, 0)
	}
	return changed
}

// end reports whether the connection was still there to be ended: not refused, replaced or ended before.
func (r *registry) end(c *connection, cause error) bool {
	g := r.groups[c.Refinery]
	if g == nil {
		return false
	}
	n := g.nodes[c.Announced.ID]
	switch {
	case g.waits(c) && c.grant == nil:
		delete(g.handshakes, c)
		return true
	case g.waits(c):
		g.settleGrant(c)
	case n != nil && n.live == c:
		n.live = nil
		state, reason, message := ending(cause)
		r.leave(n, state, reason, message)
	default:
		return false
	}
	if !g.holds(c.Announced.ID) {
		r.places--
		g.places--
	}
	g.settle()
	g.boundGone()
	return true
}

func (r *registry) leave(n *node, state v1alpha1.NodeState, reason, message string) {
	n.seen, n.last = r.clock.Now(), n.Upstream
	n.State, n.Reason, n.Message, n.Upstream, n.Status = state, reason, admit.Truncate(message, 1024), "", ""
	n.LastTransitionTime = metav1.NewTime(n.seen)
}

func (c *connection) status(state v1alpha1.NodeState, reason, message string, since metav1.Time) v1alpha1.NodeStatus {
	return v1alpha1.NodeStatus{
		ID: c.Announced.ID, State: state, Reason: reason, Message: admit.Truncate(message, 1024),
		Version: admit.Truncate(c.Announced.Version, 64), Type: admit.Truncate(c.Announced.Type, 64), Address: admit.Truncate(c.Address, 64),
		Certificate: c.Fingerprint, LastTransitionTime: since,
	}
}
