package master

import (
	"fmt"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

// Grant lets a connection in, or says why there is no place for it. A node has one place, from its first grant until its
// last session has ended: a session that replaces another of the same id needs no further one. From here on the connection
// is among sessions.
func (r *registry) Grant(c *connection, grant *admit.Grant, offered admit.Upstream) *admit.Denial {
	r.mu.Lock()
	defer r.mu.Unlock()
	g, id := r.group(grant.Refinery), c.Announced.ID
	if denial := g.duplicate(c, grant, r.clock.Now()); denial != nil {
		return denial
	}
	if !g.holds(id) {
		if denial := r.full(g, grant); denial != nil {
			return denial
		}
		r.places++
		g.places++
	}
	g.granted[id]++
	if former := r.groups[c.Refinery]; former != nil { // may have been attributed to another one than it belongs to
		delete(former.handshakes, c)
	}
	c.grant, c.offered, c.Refinery = grant, offered, grant.Refinery
	if c.since.IsZero() {
		c.since = r.clock.Now()
	}
	c.state = v1alpha1.NodeAuthenticating
	c.Announced.Proof = admit.Proof{} // an idle session keeps no certificates
	g.handshakes[c] = struct{}{}
	return nil
}

// full says why there is no place for one more node, or returns nil. A Refinery has places for twice its wanted nodes,
// for a rolling update, and a few more, so that it cannot take the places of all others.
func (r *registry) full(g *group, grant *admit.Grant) *admit.Denial {
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

// waits reports whether a connection is neither authenticated nor refused nor ended.
func (g *group) waits(c *connection) bool {
	_, waits := g.handshakes[c]
	return waits
}

// settleGrant ends the wait for the acknowledgement of a connection that holds a grant.
func (g *group) settleGrant(c *connection) {
	delete(g.handshakes, c)
	if g.granted[c.Announced.ID]--; g.granted[c.Announced.ID] == 0 {
		delete(g.granted, c.Announced.ID)
	}
}
