package master

import (
	"errors"
	"fmt"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// ending is the state, reason and message of a node whose session ended by cause.
func ending(cause error) (v1alpha1.NodeState, string, string) {
	if denial, ok := errors.AsType[*admit.Denial](cause); ok {
		return v1alpha1.NodeClosed, denial.Reason, denial.Message
	}
	switch {
	case errors.Is(cause, errReplaced):
		return v1alpha1.NodeClosed, v1alpha1.ReasonReplaced, errReplaced.Error()
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

// liveSession is what the master granted a node, and the upstream that it sent last.
type liveSession struct {
	Grant   *admit.Grant
	Offered admit.Upstream
	// Acknowledged reports whether the node is authenticated; false while its first auth:ack is awaited.
	Acknowledged bool
}

// Live returns that of a connection that was let in.
func (r *registry) Live(c *connection) liveSession {
	r.mu.Lock()
	defer r.mu.Unlock()
	return liveSession{Grant: c.grant, Offered: c.offered, Acknowledged: c.state == v1alpha1.NodeAuthenticated}
}

// Sessions returns the connections of a Refinery that were let in, whether or not the node has acknowledged it.
func (r *registry) Sessions(refinery string) []*connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[refinery]
	if g == nil {
		return nil
	}
	var sessions []*connection
	for c := range g.handshakes {
		if c.grant != nil {
			sessions = append(sessions, c)
		}
	}
	for _, n := range g.nodes {
		if n.live != nil {
			sessions = append(sessions, n.live)
		}
	}
	return sessions
}

// placedNode is a node with an upstream.
type placedNode struct {
	// Node as it was told last. It is Fixed while it has no session in which it could be told.
	admit.Node
	refinery   string
	address    string      // of the upstream
	moving     bool        // it has not acknowledged what it was told
	connection *connection // nil while it is presumed to come back
}

// Placed returns all nodes with an upstream: those that were let in, and those that are presumed to come back.
func (r *registry) Placed() []placedNode {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]placedNode, 0, r.places)
	for name, g := range r.groups {
		for id, n := range g.nodes {
			switch {
			case n.live != nil:
				p := n.live.placed(name)
				p.moving = n.Upstream != p.Upstream
				all = append(all, p)
			case n.presumed:
				all = append(all, placedNode{Node: admit.Node{ID: id, Type: n.Type, Upstream: n.Upstream, Fixed: true}, refinery: name})
			}
		}
		for c := range g.handshakes {
			if n := g.nodes[c.Announced.ID]; c.grant != nil && (n == nil || n.live == nil && !n.presumed) {
				p := c.placed(name)
				p.Fixed = true // its auth:ack is awaited
				all = append(all, p)
			}
		}
	}
	return all
}

func (c *connection) placed(refinery string) placedNode {
	return placedNode{Node: admit.Node{ID: c.Announced.ID, Type: c.Announced.Type, Upstream: c.offered.Name},
		refinery: refinery, address: c.offered.Address, connection: c}
}

// UpstreamOf is the name of the upstream that a node is on, or was on when its session ended; "" if that is not known. placed says
// whether it is among those that are Placed.
func (r *registry) UpstreamOf(refinery, id string) (upstream string, placed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[refinery]
	if g == nil {
		return "", false
	}
	switch n := g.nodes[id]; {
	case n == nil:
		return "", false
	case n.live != nil:
		return n.live.offered.Name, true
	case n.presumed:
		return n.Upstream, true
	default:
		return n.last, false
	}
}

// Bearing returns the other Refineries of which a session has an id that is, or begins with, a Refinery's name.
func (r *registry) Bearing(name string) (refineries []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for refinery, g := range r.groups {
		if refinery != name && g.bears(name) {
			refineries = append(refineries, refinery)
		}
	}
	return refineries
}

func (g *group) bears(name string) bool {
	for c := range g.handshakes {
		if admit.NamedIn(c.Announced.ID) == name {
			return true
		}
	}
	for id := range g.nodes {
		if admit.NamedIn(id) == name {
			return true
		}
	}
	return false
}
