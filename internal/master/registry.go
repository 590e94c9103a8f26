package master

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/protocol"
)

const (
	// maxRefused is the number of refused node ids that are remembered for a Refinery.
	maxRefused = 8
	// refusedFor is how long a refused node is shown after its last attempt.
	refusedFor = 2 * time.Minute
	// maxGone is the number of closed and lost nodes that are remembered for a Refinery.
	maxGone = v1alpha1.MaxNodeStatuses
	// refusalInterval is how often refused nodes may change a Refinery's status, once the first maxRefused have.
	refusalInterval = 10 * time.Second
	// listingGrace is how long a certificate that is not listed is not held against its node: a node that starts with a
	// new certificate may be ahead of the watch that brings its listing, and then comes again.
	listingGrace = 2 * time.Second
	// handshakeShown is how long a handshake takes before it is shown: quicker ones would only double the writes.
	handshakeShown = time.Second
	// spareSessions is what a Refinery may hold beyond twice its wanted nodes.
	spareSessions = 16
)

// ErrReplaced is the cause with which a session is closed when a newer one of the same id was authenticated.
var ErrReplaced = errors.New("a newer session of the same id took its place")

// Connection is what the Registry and those who walk it need of a *protocol.Session.
type Connection interface {
	Close(cause error)
	SetUpstream(address string) error
}

// Attempt is one connection, from conn:establish to its end. What is in it belongs to the Registry that took it.
type Attempt struct {
	Connection Connection
	Announced  admit.Announced
	// Address is the peer's, without the port.
	Address string
	// Fingerprint of the TLS peer's certificate, "" without one.
	Fingerprint string
	// Refinery that the attempt is attributed to or, from the grant on, belongs to; "" for a stranger.
	Refinery string

	state   v1alpha1.NodeState
	since   time.Time
	grant   *admit.Grant
	offered admit.Upstream // last one sent; settled when acknowledged
}

// node is what is remembered of one node id.
type node struct {
	v1alpha1.NodeStatus
	live     *Attempt  // its authenticated session
	presumed bool      // the status that was found says Authenticated, and the grace has not ended
	own      bool      // it was refused, and is one of the Refinery's own (Denial.Own)
	seen     time.Time // when it was last refused, closed or lost
	from     time.Time // when it is shown from on
}

func (n *node) authenticated() bool { return n.State == v1alpha1.NodeAuthenticated }

func (n *node) refused() bool {
	return n.State == v1alpha1.NodeDenied || n.State == v1alpha1.NodeVersionMismatch
}

// group is what is remembered of one Refinery's nodes.
type group struct {
	// refusals bounds how often a refused node changes what is shown: whoever holds a certificate that is no longer
	// accepted chooses ids as it likes.
	refusals *rate.Limiter
	wanted   int
	nodes    map[string]*node
	attempts map[*Attempt]struct{} // attributed, and not yet authenticated or refused
	// granted counts the attempts of an id that hold a grant which the node has not acknowledged yet.
	granted  map[string]int
	places   int // ids with an authenticated session or a grant
	unlisted int // nodes that the status found counts as authenticated and does not list
}

// Registry is who is connected, and in which state: per Refinery, in memory. Safe for concurrent use.
type Registry struct {
	clock clock.PassiveClock
	// changed is told that what Snapshot returns for a Refinery is, or after some time will be, different.
	changed func(refinery string, after time.Duration)

	mu     sync.Mutex
	groups map[string]*group
	places int // of all groups
}

// NewRegistry makes an empty one. changed is called without a lock held and must not block.
func NewRegistry(c clock.PassiveClock, changed func(refinery string, after time.Duration)) *Registry {
	return &Registry{clock: c, changed: changed, groups: map[string]*group{}}
}

func (r *Registry) group(refinery string) *group {
	g := r.groups[refinery]
	if g == nil {
		g = &group{nodes: map[string]*node{}, attempts: map[*Attempt]struct{}{}, granted: map[string]int{},
			refusals: rate.NewLimiter(rate.Every(refusalInterval), maxRefused)}
		r.groups[refinery] = g
	}
	return g
}

// SetWanted takes the number of nodes that a Refinery asks for, which makes it known.
func (r *Registry) SetWanted(refinery string, wanted int) {
	r.mu.Lock()
	g := r.group(refinery)
	g.wanted = wanted
	g.settle()
	r.mu.Unlock()
}

// Forget drops a Refinery that was deleted, unless sessions of it are still to be closed.
func (r *Registry) Forget(refinery string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[refinery]
	if g == nil || len(g.attempts) > 0 {
		return
	}
	for _, n := range g.nodes {
		if n.live != nil {
			return
		}
	}
	delete(r.groups, refinery)
}

// Presume takes over what a former master wrote of a Refinery's nodes. Those that it says are Authenticated
// are presumed to come back until EndGrace.
func (r *Registry) Presume(refinery string, status *v1alpha1.RefineryStatus) {
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
	g.settle()
}

// EndGrace makes Lost whoever was presumed to come back and did not.
func (r *Registry) EndGrace() {
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
				r.leave(n, v1alpha1.NodeLost, v1alpha1.ReasonLost, "did not come back after the master changed")
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

// Establishing takes a new attempt. It is remembered only if it is attributed to a Refinery that is known.
func (r *Registry) Establishing(a *Attempt) {
	r.progress(a, v1alpha1.NodeEstablishing)
}

// Authenticating is told that conn:startAuth answered the attempt.
func (r *Registry) Authenticating(a *Attempt) {
	r.progress(a, v1alpha1.NodeAuthenticating)
}

func (r *Registry) progress(a *Attempt, state v1alpha1.NodeState) {
	r.mu.Lock()
	g := r.groups[a.Refinery]
	if a.since.IsZero() {
		a.since = r.clock.Now()
	}
	a.state = state
	known := g != nil
	if known {
		g.attempts[a] = struct{}{}
	}
	r.mu.Unlock()
	if known {
		r.changed(a.Refinery, handshakeShown)
	}
}

// Grant lets an attempt in, or says why there is no place for it. A node has one place, from its first grant until its
// last session has ended: a session that replaces another of the same id needs no further one. From here on the attempt
// is among Sessions.
func (r *Registry) Grant(a *Attempt, grant *admit.Grant, offered admit.Upstream) *admit.Denial {
	r.mu.Lock()
	defer r.mu.Unlock()
	g, id := r.group(grant.Refinery), a.Announced.ID
	if !g.holds(id) {
		if denial := r.full(g, grant); denial != nil {
			return denial
		}
		r.places++
		g.places++
	}
	g.granted[id]++
	if former := r.groups[a.Refinery]; former != nil { // may have been attributed to another one than it belongs to
		delete(former.attempts, a)
	}
	a.grant, a.offered, a.Refinery = grant, offered, grant.Refinery
	if a.since.IsZero() {
		a.since = r.clock.Now()
	}
	a.state = v1alpha1.NodeAuthenticating
	a.Announced.Proof = admit.Proof{} // an idle session keeps no certificates
	g.attempts[a] = struct{}{}
	return nil
}

// full says why there is no place for one more node, or nil. One Refinery does not get those of all others: it has twice
// the nodes that it wants, for a rolling update, and a few.
func (r *Registry) full(g *group, grant *admit.Grant) *admit.Denial {
	message := ""
	switch {
	case r.places >= grant.Policy.MaxSessions:
		message = "the master holds as many sessions as spec.protocol.maxSessions allows"
	case g.places >= 2*g.wanted+spareSessions:
		message = fmt.Sprintf("the Refinery holds %d sessions and wants %d nodes; raise spec.replicas, or stop nodes", g.places, g.wanted)
	default:
		return nil
	}
	return &admit.Denial{State: v1alpha1.NodeDenied, Refinery: grant.Refinery, Reason: v1alpha1.ReasonTooManySessions, Message: message}
}

// holds reports whether a node has its place.
func (g *group) holds(id string) bool {
	n := g.nodes[id]
	return g.granted[id] > 0 || (n != nil && n.live != nil)
}

// waits reports whether an attempt is neither authenticated nor refused nor ended.
func (g *group) waits(a *Attempt) bool {
	_, waits := g.attempts[a]
	return waits
}

// settleGrant ends the wait for the acknowledgement of an attempt that holds a grant.
func (g *group) settleGrant(a *Attempt) {
	delete(g.attempts, a)
	if g.granted[a.Announced.ID]--; g.granted[a.Announced.ID] == 0 {
		delete(g.granted, a.Announced.ID)
	}
}

// Authenticated is told that the node acknowledged. It returns the session of the same id that it replaces, or nil:
// the caller closes it with ErrReplaced. An attempt that has ended meanwhile replaces nothing.
func (r *Registry) Authenticated(a *Attempt) Connection {
	r.mu.Lock()
	g := r.groups[a.Refinery]
	if g == nil || !g.waits(a) {
		r.mu.Unlock()
		return nil
	}
	g.settleGrant(a)
	var replaced Connection
	n := g.nodes[a.Announced.ID]
	switch {
	case n == nil:
		n = &node{}
		g.nodes[a.Announced.ID] = n
		g.unlisted = max(0, g.unlisted-1)
	case n.live != nil:
		replaced = n.live.Connection
	}
	since := metav1.NewTime(r.clock.Now())
	if n.authenticated() {
		since = n.LastTransitionTime
	}
	a.state = v1alpha1.NodeAuthenticated
	n.live, n.presumed = a, false
	n.NodeStatus = a.status(v1alpha1.NodeAuthenticated, v1alpha1.ReasonAuthenticated, "", since)
	n.Upstream = a.offered.Name
	g.settle()
	r.mu.Unlock()
	r.changed(a.Refinery, 0)
	return replaced
}

// Offered is told that another upstream was sent in a live session, or that the one it has got another name.
func (r *Registry) Offered(a *Attempt, u admit.Upstream) {
	r.mu.Lock()
	same := a.offered.Address == u.Address
	a.offered = u
	r.mu.Unlock()
	if same {
		r.Acknowledged(a, u.Address)
	}
}

// Acknowledged is told that the node switched to an upstream.
func (r *Registry) Acknowledged(a *Attempt, address string) {
	r.mu.Lock()
	g := r.groups[a.Refinery]
	moved := false
	if g != nil && a.offered.Address == address {
		if n := g.nodes[a.Announced.ID]; n != nil && n.live == a && n.Upstream != a.offered.Name {
			n.Upstream = a.offered.Name
			moved = true
		}
	}
	r.mu.Unlock()
	if moved {
		r.changed(a.Refinery, 0)
	}
}

// Refused is told that conn:close or auth:dec answered the attempt. What it may move in status is little: it never takes
// the place of a live session, nothing but the Refinery's own nodes shows while all wanted ones are authenticated, and few
// are remembered.
func (r *Registry) Refused(a *Attempt, d *admit.Denial) {
	r.mu.Lock()
	if g := r.groups[a.Refinery]; g != nil {
		delete(g.attempts, a)
	}
	g := r.groups[d.Refinery]
	if g == nil || !g.refuse(a, d, r.clock.Now()) {
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	r.changed(d.Refinery, 0)
}

// refuse remembers a refused attempt, and reports whether it did.
func (g *group) refuse(a *Attempt, d *admit.Denial, now time.Time) bool {
	if !d.Own && g.authenticated() >= g.wanted {
		return false
	}
	id := a.Announced.ID
	if !admit.OwnsID(d.Refinery, id) {
		id = d.Refinery // what a node claims to be is not shown where it does not belong
	}
	n := g.nodes[id]
	if n != nil && (n.live != nil || n.presumed) {
		return false
	}
	if n == nil {
		n = &node{}
	}
	if n.State == d.State && n.Reason == d.Reason && n.Version == a.Announced.Version && n.Certificate == a.Fingerprint {
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
	status := a.status(d.State, d.Reason, d.Message, since)
	status.ID = id
	n.NodeStatus, n.seen, n.own, n.from = status, now, d.Own, now
	if d.Reason == v1alpha1.ReasonCertificateNotListed {
		n.from = now.Add(listingGrace)
	}
	g.nodes[id] = n
	g.bound((*node).refused, maxRefused)
	return true
}

// Ended is told that the connection is closed, whatever ended it.
func (r *Registry) Ended(a *Attempt, cause error) {
	r.mu.Lock()
	changed := r.end(a, cause)
	r.mu.Unlock()
	if changed {
		r.changed(a.Refinery, 0)
	}
}

// end reports whether the attempt was still there to be ended: not refused, replaced or ended before.
func (r *Registry) end(a *Attempt, cause error) bool {
	g := r.groups[a.Refinery]
	if g == nil {
		return false
	}
	n := g.nodes[a.Announced.ID]
	switch {
	case g.waits(a) && a.grant == nil:
		delete(g.attempts, a)
		return true
	case g.waits(a):
		g.settleGrant(a)
	case n != nil && n.live == a:
		n.live = nil
		state, reason, message := ending(cause)
		r.leave(n, state, reason, message)
	default:
		return false
	}
	if !g.holds(a.Announced.ID) {
		r.places--
		g.places--
	}
	g.settle()
	g.bound(func(n *node) bool { return n.State == v1alpha1.NodeClosed || n.State == v1alpha1.NodeLost }, maxGone)
	return true
}

func (r *Registry) leave(n *node, state v1alpha1.NodeState, reason, message string) {
	n.seen = r.clock.Now()
	n.State, n.Reason, n.Message, n.Upstream = state, reason, admit.Truncate(message, 1024), ""
	n.LastTransitionTime = metav1.NewTime(n.seen)
}

// ending says what the end of an authenticated session is called.
func ending(cause error) (v1alpha1.NodeState, string, string) {
	if denial, ok := errors.AsType[*admit.Denial](cause); ok {
		return v1alpha1.NodeClosed, denial.Reason, denial.Message
	}
	switch {
	case errors.Is(cause, ErrReplaced):
		return v1alpha1.NodeClosed, v1alpha1.ReasonReplaced, ErrReplaced.Error()
	case errors.Is(cause, protocol.ErrPeerGone):
		return v1alpha1.NodeLost, v1alpha1.ReasonConnectionBroken, "the node's end of the connection was closed without conn:close: its process ended, or its host did"
	case errors.Is(cause, protocol.ErrPeerClosed):
		return v1alpha1.NodeClosed, v1alpha1.ReasonClosedByNode, "the node closed its session"
	case errors.Is(cause, protocol.ErrAliveTimeout):
		return v1alpha1.NodeLost, v1alpha1.ReasonSilent, "nothing came from the node within the alive timeout"
	case errors.Is(cause, protocol.ErrAckTimeout):
		return v1alpha1.NodeLost, v1alpha1.ReasonSilent, "the node did not acknowledge its new upstream within the alive timeout"
	case errors.Is(cause, protocol.ErrProtocol):
		return v1alpha1.NodeLost, v1alpha1.ReasonConnectionBroken, fmt.Sprintf("the node broke the protocol: %v", cause)
	default:
		return v1alpha1.NodeLost, v1alpha1.ReasonConnectionBroken, "the connection to the node broke"
	}
}

// Live is a session that holds a grant, and what it was last sent.
type Live struct {
	Grant   *admit.Grant
	Offered admit.Upstream
	// Acknowledged reports whether the node is authenticated; false while its first auth:ack is awaited.
	Acknowledged bool
}

// Live returns the state of an attempt that holds a grant.
func (r *Registry) Live(a *Attempt) Live {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Live{Grant: a.grant, Offered: a.offered, Acknowledged: a.state == v1alpha1.NodeAuthenticated}
}

// Sessions returns those of a Refinery that hold a grant, whether or not the node has acknowledged it.
func (r *Registry) Sessions(refinery string) []*Attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[refinery]
	if g == nil {
		return nil
	}
	var sessions []*Attempt
	for a := range g.attempts {
		if a.grant != nil {
			sessions = append(sessions, a)
		}
	}
	for _, n := range g.nodes {
		if n.live != nil {
			sessions = append(sessions, n.live)
		}
	}
	return sessions
}

func (a *Attempt) status(state v1alpha1.NodeState, reason, message string, since metav1.Time) v1alpha1.NodeStatus {
	return v1alpha1.NodeStatus{
		ID: a.Announced.ID, State: state, Reason: reason, Message: admit.Truncate(message, 1024),
		Version: admit.Truncate(a.Announced.Version, 64), Type: admit.Truncate(a.Announced.Type, 64), Address: admit.Truncate(a.Address, 64),
		Certificate: a.Fingerprint, LastTransitionTime: since,
	}
}
