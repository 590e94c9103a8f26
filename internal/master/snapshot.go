package master

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

// Snapshot is what the Registry knows of one Refinery's nodes at one moment.
type Snapshot struct {
	// Nodes in no order, without bound.
	Nodes []v1alpha1.NodeStatus
	// Unlisted is the number of nodes that are presumed authenticated and not known by id.
	Unlisted int
	// Next is when the snapshot changes by itself; zero if it does not.
	Next time.Time
}

// Authenticated is the number of nodes with an authenticated session, presumed ones included.
func (s *Snapshot) Authenticated() int {
	count := s.Unlisted
	for i := range s.Nodes {
		if s.Nodes[i].State == v1alpha1.NodeAuthenticated {
			count++
		}
	}
	return count
}

// Snapshot returns what is known of a Refinery's nodes now. What has expired is dropped.
func (r *Registry) Snapshot(refinery string) Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[refinery]
	if g == nil {
		return Snapshot{}
	}
	now := r.clock.Now()
	s := Snapshot{Unlisted: g.unlisted}
	for id, n := range g.nodes {
		if n.refused() {
			if end := n.seen.Add(refusedFor); now.Before(end) {
				s.until(end)
			} else {
				delete(g.nodes, id)
				continue
			}
			if now.Before(n.from) {
				s.until(n.from)
				continue
			}
		}
		s.Nodes = append(s.Nodes, n.NodeStatus)
	}
	if g.authenticated() < g.wanted {
		g.addHandshakes(&s, refinery, now)
	}
	return s
}

// addHandshakes adds those that take long and whose node is not shown as authenticated.
func (g *group) addHandshakes(s *Snapshot, refinery string, now time.Time) {
	shown := map[string]bool{}
	for i := range s.Nodes {
		shown[s.Nodes[i].ID] = true
	}
	added := 0
	for a := range g.attempts {
		if end := a.since.Add(handshakeShown); now.Before(end) {
			s.until(end)
			continue
		}
		id := a.Announced.ID
		if !admit.OwnsID(refinery, id) {
			id = refinery
		}
		if shown[id] || added == maxRefused {
			continue
		}
		shown[id] = true
		added++
		status := a.status(a.state, string(a.state), "", metav1.NewTime(a.since))
		status.ID = id
		s.Nodes = append(s.Nodes, status)
	}
}

func (s *Snapshot) until(t time.Time) {
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
