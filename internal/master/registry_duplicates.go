package master

import (
	"fmt"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

const (
	// maxReturns is how often within the alive timeout a session may take the place of another one of the same id and address.
	// A node that comes back before its former session has ended does that.
	maxReturns = 10
	// maxGranted is the number of connections of one id that may be let in at once and have not acknowledged it.
	maxGranted = 4
	// duplicateShown is how long status shows that several nodes announce an id, after the last of them was denied.
	duplicateShown = 2 * time.Minute
)

// contest is how sessions of one id have taken each other's place. That of a node that comes back looks like that of another node,
// so it is allowed, but not often: two nodes of one id would end each other's sessions all the time, and one that takes the ids of
// others would keep them out while nobody sees that.
type contest struct {
	moved   time.Time // when a session from another address took the place last
	since   time.Time // from when returns counts
	returns int
	rival   string    // address of one that was denied since it came too soon; "" for none
	denied  time.Time // when that was
}

// duplicate says why a connection may not take the place of the live session of its id now, or returns nil. Whether it does is
// counted when it acknowledges its grant: one that is lost before has ended no session, and its node tries again.
func (g *group) duplicate(c *connection, grant *admit.Grant, now time.Time) *admit.Denial {
	id := c.Announced.ID
	n := g.nodes[id]
	if g.granted[id] < maxGranted && (n == nil || n.live == nil || n.contest.allows(n.live.Address, c.Address, now, grant.Policy.AliveTimeout)) {
		return nil
	}
	return &admit.Denial{State: v1alpha1.NodeDenied, Refinery: grant.Refinery, Reason: v1alpha1.ReasonDuplicateID,
		Message: "other nodes announce the same id; give each node an id of its own"}
}

// allows reports whether a session from an address may take the place of the live one.
func (c *contest) allows(live, newer string, now time.Time, window time.Duration) bool {
	if newer != live {
		return !now.Before(c.moved.Add(window))
	}
	return c.returns < maxReturns || !now.Before(c.since.Add(window))
}

// contested remembers that a connection was denied for the live one of its id, and reports whether status changes.
func (n *node) contested(c *connection, now time.Time) bool {
	was := n.contest.shown(now)
	n.contest.denied = now
	if !was {
		n.contest.rival = c.Address
	}
	return !was
}

func (c *contest) shown(now time.Time) bool {
	return c.rival != "" && now.Before(c.denied.Add(duplicateShown))
}

// replacedBy records that a session took the place of another one.
func (c *contest) replacedBy(former, newer string, now time.Time, window time.Duration) {
	switch {
	case newer != former:
		c.moved = now
	case !now.Before(c.since.Add(window)):
		c.since, c.returns = now, 1
	default:
		c.returns++
	}
	if c.rival == newer {
		c.rival = former
	}
}

// statusAt is a node's status, which says so while several nodes announce its id.
func (n *node) statusAt(now time.Time, s *snapshot) v1alpha1.NodeStatus {
	status := n.NodeStatus
	if n.live == nil || !n.contest.shown(now) {
		return status
	}
	s.changesAt(n.contest.denied.Add(duplicateShown))
	from := "twice from " + n.contest.rival
	if a, b := n.contest.rival, n.live.Address; a != b {
		from = fmt.Sprintf("from %s and from %s", min(a, b), max(a, b))
	}
	status.Reason = v1alpha1.ReasonDuplicateID
	status.Message = admit.Truncate(fmt.Sprintf("several nodes announce this id, %s, and one at a time is let in; give each node an id of its own", from), 1024)
	return status
}
