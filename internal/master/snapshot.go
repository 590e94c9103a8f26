package master

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// snapshot is what the registry knows of one Refinery's nodes at one moment.
type snapshot struct {
	// Nodes in no order, without bound.
	Nodes []v1alpha1.NodeStatus
	// Unlisted is the number of nodes that are presumed authenticated and not known by id.
	Unlisted int
	// Next is when the snapshot changes by itself; zero if it does not.
	Next time.Time
}

// Authenticated is the number of nodes with an authenticated session, presumed ones included.
func (s *snapshot) Authenticated() int {
	count := s.Unlisted
	for i := range s.Nodes {
		if s.Nodes[i].State == v1alpha1.NodeAuthenticated {
			count++
		}
	}
	return count
}

// Snapshot returns what is known of a Refinery's nodes now. What has expired is dropped.
func (r *registry) Snapshot(refinery string) snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[refinery]
	if g == nil {
		return snapshot{}
	}
	now := r.clock.Now()
	s := snapshot{Unlisted: g.unlisted}
	g.showReports(now, &s)
	for id, n := range g.nodes {
		if n.refused() {
			if end := n.seen.Add(refusedFor); now.Before(end) {
				s.changesAt(end)
			} else {
				delete(g.nodes, id)
				continue
			}
			if now.Before(n.visibleFrom) {
				s.changesAt(n.visibleFrom)
				continue
			}
		}
		s.Nodes = append(s.Nodes, n.statusAt(now, &s))
	}
	if g.authenticated() < g.wanted {
		r.addHandshakes(&s, g, refinery, now)
	}
	return s
}

// Modes counts the nodes of a Refinery with an authenticated session by how they connected. Those that are presumed to come
// back are not counted.
func (r *registry) Modes(refinery string) map[v1alpha1.SecurityMode]int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := map[v1alpha1.SecurityMode]int32{}
	if g := r.groups[refinery]; g != nil {
		for _, n := range g.nodes {
			if n.live != nil && n.live.grant != nil {
				count[n.live.grant.Mode]++
			}
		}
	}
	return count
}

// addHandshakes adds the handshakes that take long, unless their node shows already.
func (r *registry) addHandshakes(s *snapshot, g *group, refinery string, now time.Time) {
	shown := map[string]bool{}
	for i := range s.Nodes {
		shown[s.Nodes[i].ID] = true
	}
	added := 0
	for c := range g.handshakes {
		if end := c.since.Add(handshakeShown); now.Before(end) {
			s.changesAt(end)
			continue
		}
		id := r.shownID(refinery, c.Announced.ID)
		if shown[id] || added == maxRefused {
			continue
		}
		shown[id] = true
		added++
		status := c.status(c.state, string(c.state), "", metav1.NewTime(c.since))
		status.ID = id
		s.Nodes = append(s.Nodes, status)
	}
}

func (s *snapshot) changesAt(t time.Time) {
	if s.Next.IsZero() || t.Before(s.Next) {
		s.Next = t
	}
}

// authenticated is the number of nodes that are, or are presumed to be.
func (g *group) authenticated() int {
	count := g.unlisted
	for _, n := range g.nodes {
		if n.authenticated() {
			count++
		}
	}
	return count
}

// settle drops everything but authenticated nodes, and own ones that were refused, once there are as many of the former
// as are wanted.
func (g *group) settle() {
	if g.authenticated() < g.wanted {
		return
	}
	for id, n := range g.nodes {
		if !n.authenticated() && (!n.own || !n.refused()) {
			delete(g.nodes, id)
		}
	}
}

// boundGone bounds the nodes that are closed or lost.
func (g *group) boundGone() {
	missing := g.wanted - g.authenticated()
	g.bound(func(n *node) bool { return n.State == v1alpha1.NodeClosed || n.State == v1alpha1.NodeLost }, min(maxGone, max(minGone, missing)))
}

// bound drops the nodes of a kind that were seen longest ago until at most limit are left.
func (g *group) bound(kind func(*node) bool, limit int) {
	for {
		count, oldest := 0, ""
		for id, n := range g.nodes {
			if !kind(n) {
				continue
			}
			count++
			if o := g.nodes[oldest]; o == nil || n.seen.Before(o.seen) {
				oldest = id
			}
		}
		if count <= limit {
			return
		}
		delete(g.nodes, oldest)
	}
}
