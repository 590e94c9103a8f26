package admit

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// Standing is how an upstream is doing.
type Standing int

const (
	// Gone means that there is nothing behind it.
	Gone Standing = iota
	// Returning means that it is there, and was not a short while ago, or that this is not known. Nodes on it stay.
	Returning
	// Ready to take nodes.
	Ready
)

// slack is how many times its share an upstream may have, and the other way round.
const slack = 1.25

// Layout places nodes by rendezvous hashing with bounded load (Mirrokni, Thorup and Zadimoghaddam 2018), and moves no node that need
// not move. Nodes of each type are spread apart from the others, since an upstream may take some types only. Pinned nodes are no part
// of it. It knows which upstreams have how many nodes by what it was told last; it is not safe for concurrent use.
type Layout struct {
	placement *Placement
	standing  map[string]Standing       // by upstream
	wanted    map[string]int            // by type
	nodes     map[string]map[string]int // by type and upstream
}

// Node is one that is placed.
type Node struct {
	ID, Type string
	// Upstream that it is on, by name.
	Upstream string
	// Fixed: it counts, and is not moved.
	Fixed bool
}

// Move is a node that gets another upstream.
type Move struct {
	// Node is its index.
	Node int
	To   Upstream
	// Urgent: what it is on is of no use to it. Other moves can wait.
	Urgent bool
}

// NewLayout returns one with these nodes, as they are. Upstreams without a standing are Ready. wanted is how many nodes there shall be,
// by type: shares are those of so many, at least, so that nobody moves as nodes restart.
func (p *Placement) NewLayout(standing map[string]Standing, wanted map[string]int, nodes []Node) *Layout {
	l := &Layout{placement: p, standing: standing, wanted: wanted, nodes: map[string]map[string]int{}}
	for i := range nodes {
		l.count(nodes[i].Type, nodes[i].Upstream, 1)
	}
	return l
}

func (l *Layout) count(kind, upstream string, more int) {
	if l.nodes[kind] == nil {
		l.nodes[kind] = map[string]int{}
	}
	l.nodes[kind][upstream] += more
}

func (l *Layout) standingOf(u *Upstream) Standing {
	if s, ok := l.standing[u.Name]; ok {
		return s
	}
	return Ready
}

// Place returns the upstream of a node that comes, which counts from now on. current is the upstream that it has or had last, or "";
// counts says whether the node counts there already. One that comes back to where it was gets its place if there is still room. The error
// is written for people: it becomes the node's message in status.
func (l *Layout) Place(id, kind, pin, current string, counts bool) (Upstream, error) {
	if pin != "" {
		return l.placement.Pinned(kind, pin)
	}
	s := l.spread(kind)
	if len(s.takers) == 0 {
		return Upstream{}, l.placement.Check(kind, "")
	}
	total := max(s.present()+1, l.wanted[kind])
	to := l.placement.Named(current)
	switch fate := s.keeps(to); {
	case counts && fate != leaves:
		return *to, nil
	case counts || fate != stays || s.nodes[kind][to.Name] >= s.bound(to, total):
		to = s.best(id, total)
	}
	l.count(kind, to.Name, 1)
	return *to, nil
}

// Leave takes out a node that is no longer on an upstream.
func (l *Layout) Leave(kind, upstream string) { l.count(kind, upstream, -1) }

// Moves returns the moves after which every node is on an upstream that is of use to it, and all upstreams are between their bounds. The
// nodes are those that it was made with; they count where they go to. A node moves
//   - from an upstream that is of no use to it,
//   - from one of weight 0,
//   - from one over its upper bound to one with less than its share,
//   - from one with more than its share to one under its lower bound.
func (l *Layout) Moves(nodes []Node) (moves []Move) {
	byType := map[string][]int{}
	for i := range nodes {
		if !nodes[i].Fixed {
			byType[nodes[i].Type] = append(byType[nodes[i].Type], i)
		}
	}
	for kind, members := range byType {
		if s := l.spread(kind); len(s.takers) > 0 {
			slices.SortFunc(members, func(a, b int) int { return strings.Compare(nodes[a].ID, nodes[b].ID) })
			moves = append(moves, s.moves(nodes, members)...)
		}
	}
	slices.SortFunc(moves, func(a, b Move) int { return cmp.Or(strings.Compare(nodes[a.Node].ID, nodes[b.Node].ID), a.Node-b.Node) })
	return moves
}

// Postpone takes back a move of a node that is not made yet.
func (l *Layout) Postpone(n Node, m Move) {
	l.count(n.Type, m.To.Name, -1)
	l.count(n.Type, n.Upstream, 1)
}

// spread is the part of a Layout that concerns one type.
type spread struct {
	*Layout
	kind   string
	takers []*Upstream // that nodes without an upstream are placed on
	at     Standing    // of the takers
	weight float64     // of the takers
}

// spread finds the takers. Those that return take nodes if no other does, and if all are gone one of them is better than none: the
// workload sees for itself whether it can connect, and what is known of the upstream may be wrong.
func (l *Layout) spread(kind string) *spread {
	s := &spread{Layout: l, kind: kind}
	for i := range l.placement.upstreams {
		u := &l.placement.upstreams[i]
		standing := l.standingOf(u)
		if u.Weight <= 0 || !u.takes(kind) || standing < s.at {
			continue
		}
		if standing > s.at {
			s.at, s.takers, s.weight = standing, nil, 0
		}
		s.takers = append(s.takers, u)
		s.weight += float64(u.Weight)
	}
	return s
}

// What becomes of a node on an upstream.
const (
	stays  = iota
	waits  // to be moved when it is its turn
	leaves // at once
)

// keeps returns what becomes of a node that is on u; nil if there is no such upstream any more.
func (s *spread) keeps(u *Upstream) int {
	switch {
	case u == nil || !u.takes(s.kind):
		return leaves
	case s.at == Gone:
		return stays
	case s.standingOf(u) == Gone && s.at == Returning: // others may follow in a moment, and the first would have them all
		return waits
	case s.standingOf(u) == Gone:
		return leaves
	case u.Weight <= 0:
		return waits
	}
	return stays
}

// present is how many nodes there are.
func (s *spread) present() (present int) {
	for _, n := range s.nodes[s.kind] {
		present += n
	}
	return present
}

// share is what an upstream would have of all nodes if they could be divided.
func (s *spread) share(u *Upstream, total int) float64 {
	return float64(total) * float64(u.Weight) / s.weight
}

// bound is how many nodes an upstream has at most: its share, rounded up, or a quarter more, rounded down. So there is always one with
// room.
func (s *spread) bound(u *Upstream, total int) int {
	share := s.share(u, total)
	return max(int(math.Ceil(share)), int(slack*share))
}

// best is the upstream that scores highest for a node, of those that have room for one more.
func (s *spread) best(id string, total int) *Upstream {
	best, bestScore := s.takers[0], -1.0
	for _, u := range s.takers {
		if s.nodes[s.kind][u.Name] >= s.bound(u, total) {
			continue
		}
		if score := score(id, *u); score > bestScore {
			best, bestScore = u, score
		}
	}
	return best
}

// moves are those of the members, which are indexes of nodes sorted by id.
func (s *spread) moves(nodes []Node, members []int) (moves []Move) {
	present := s.present()
	total := max(present, s.wanted[s.kind])
	staying := map[string][]int{}
	for _, i := range members {
		from := s.placement.Named(nodes[i].Upstream)
		fate := s.keeps(from)
		if fate == stays {
			staying[from.Name] = append(staying[from.Name], i)
			continue
		}
		to := s.best(nodes[i].ID, total)
		s.move(nodes[i].Upstream, to.Name)
		moves = append(moves, Move{Node: i, To: *to, Urgent: fate == leaves})
	}
	if s.at == Gone {
		return moves
	}
	return append(moves, s.even(nodes, staying, total, total-present)...)
}

func (s *spread) move(from, to string) {
	s.count(s.kind, from, -1)
	s.count(s.kind, to, 1)
}

// even moves nodes between takers until all are between their bounds. Of the nodes that may move, those do that score highest where
// they go to. missing nodes may come, and count for the lower bound of each.
func (s *spread) even(nodes []Node, staying map[string][]int, total, missing int) (moves []Move) {
	var candidates []candidate
	for _, to := range s.takers {
		for _, from := range s.takers {
			if !s.draws(from, to, total, missing) {
				continue
			}
			for _, i := range staying[from.Name] {
				candidates = append(candidates, candidate{i, from, to, score(nodes[i].ID, *to)})
			}
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.score, a.score), a.node-b.node)
	})
	moved := map[int]bool{}
	for _, c := range candidates { // one that is passed over could not move later either: what draws it only gets fuller
		if !moved[c.node] && s.draws(c.from, c.to, total, missing) {
			moved[c.node] = true
			s.move(c.from.Name, c.to.Name)
			moves = append(moves, Move{Node: c.node, To: *c.to})
		}
	}
	return moves
}

// candidate is a node that could move.
type candidate struct {
	node     int
	from, to *Upstream
	score    float64
}

// draws reports whether a node is to move from one taker to another.
func (s *spread) draws(from, to *Upstream, total, missing int) bool {
	has, gets := s.nodes[s.kind][from.Name], s.nodes[s.kind][to.Name]
	share := s.share(to, total)
	return has > s.bound(from, total) && float64(gets) < share ||
		gets+missing < int(share/slack) && float64(has) > s.share(from, total)
}
