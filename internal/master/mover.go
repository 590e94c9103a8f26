package master

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/protocol"
)

const (
	// moveInterval is the time between two batches of moves that can wait.
	moveInterval = 2 * time.Second
	// moveShare is the part of all nodes that such a batch moves at most, as a divisor; one node at least.
	moveShare = 10
	// arrangeDelay is for how long nodes that come and go are collected before it is looked at what they leave uneven.
	arrangeDelay = time.Second
)

// arrangeKey is the key of the queue of reviews for the upstreams of all nodes; every other key is a Refinery's name.
const arrangeKey = ""

// arrangement is where nodes are.
type arrangement struct {
	mu sync.Mutex
	// layout is from the last look at all nodes, and follows those that come and go; nil before the first.
	layout *admit.Layout
	policy *admit.Policy // that it was made under
	moved  time.Time     // when the last batch began
}

// Arrange schedules a look at the upstreams of all nodes.
func (s *sessions) Arrange() { s.reviews.Add(arrangeKey) }

// arrangeSoon does so after more nodes have come or gone.
func (s *sessions) arrangeSoon() { s.reviews.AddAfter(arrangeKey, arrangeDelay) }

// place gives a node that comes its upstream.
func (s *sessions) place(n admit.Announced, g *admit.Grant) (admit.Upstream, error) {
	policy := s.directory.Policy()
	if policy == nil {
		policy = g.Policy
	}
	a := &s.arrangement
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.policy != policy {
		s.layOut(policy, s.placed())
	}
	current, counts := s.registry.UpstreamOf(g.Refinery, n.ID)
	return a.layout.Place(n.ID, n.Type, s.directory.pin(g.Refinery), current, counts)
}

// left takes a node out that has no session any more.
func (s *sessions) left(c *connection) {
	a := &s.arrangement
	a.mu.Lock()
	defer a.mu.Unlock()
	live := s.registry.Live(c)
	if live.Grant == nil || a.layout == nil || s.directory.pin(live.Grant.Refinery) != "" {
		return
	}
	a.layout.Leave(live.Grant.Type, live.Offered.Name)
	s.arrangeSoon()
}

// placed are the nodes that are not pinned, as they are now.
func (s *sessions) placed() []placedNode {
	return slices.DeleteFunc(s.registry.Placed(), func(n placedNode) bool { return s.directory.pin(n.refinery) != "" })
}

// layOut makes the layout anew. Called with the lock of the arrangement held.
func (s *sessions) layOut(policy *admit.Policy, nodes []placedNode) []admit.Node {
	plain := make([]admit.Node, len(nodes))
	for i := range nodes {
		plain[i] = nodes[i].Node
	}
	standing, next := s.directory.standings(policy)
	if !next.IsZero() {
		s.reviews.AddAfter(arrangeKey, next.Sub(s.clock.Now()))
		s.registry.changed(totalsKey, next.Sub(s.clock.Now()))
	}
	s.arrangement.layout, s.arrangement.policy = policy.Placement.NewLayout(standing, s.directory.wantedByType(), plain), policy
	return plain
}

// step is a node that is to be told an upstream.
type step struct {
	node placedNode
	to   admit.Upstream
}

// arrange moves nodes: at once where they must, and a few at a time where what they are on is still of use.
func (s *sessions) arrange() {
	if policy := s.directory.Policy(); policy != nil {
		for _, step := range s.steps(policy) {
			s.follow(&step.node, step.to)
		}
	}
}

// steps are the moves that are to be made now, and the nodes whose upstream has another address. Those that are left are scheduled.
func (s *sessions) steps(policy *admit.Policy) (steps []step) {
	a := &s.arrangement
	a.mu.Lock()
	defer a.mu.Unlock()
	nodes := s.placed()
	plain := s.layOut(policy, nodes)
	budget, now := max(1, len(nodes)/moveShare), s.clock.Now()
	for i := range nodes {
		if nodes[i].moving {
			budget--
		}
		if u := policy.Placement.Named(nodes[i].Upstream); u != nil && u.Address != nodes[i].address {
			steps = append(steps, step{nodes[i], *u})
		}
	}
	due := !now.Before(a.moved.Add(moveInterval))
	for _, m := range a.layout.Moves(plain) {
		if !m.Urgent {
			if !due || budget <= 0 {
				s.reviews.AddAfter(arrangeKey, max(a.moved.Add(moveInterval).Sub(now), arrangeDelay))
				a.layout.Postpone(plain[m.Node], m)
				continue
			}
			budget--
			a.moved = now
		}
		steps = append(steps, step{nodes[m.Node], m.To})
	}
	return steps
}

// follow has a node go to an upstream, unless what was known of the node is over.
func (s *sessions) follow(n *placedNode, to admit.Upstream) {
	if n.Fixed {
		return // and is looked at again when its session is there
	}
	s.reviewing.Lock()
	defer s.reviewing.Unlock()
	if offered := s.registry.Live(n.connection).Offered; offered.Name == n.Upstream && s.directory.pin(n.refinery) == "" {
		s.move(n.connection, offered, to)
	}
}

// move tells a node its upstream if it is another one than was offered before. Called with reviewing held.
func (s *sessions) move(c *connection, from, to admit.Upstream) {
	if to.Name == from.Name && to.Address == from.Address {
		return
	}
	s.registry.Offered(c, to)
	if to.Address == from.Address {
		return
	}
	if err := c.session.SetUpstream(to.Address); err != nil && !errors.Is(err, protocol.ErrNotAuthenticated) {
		c.session.Close(err)
		return
	}
	s.log.V(1).Info("node moved", "id", c.Announced.ID, "from", from.Name, "to", to.Name)
}
