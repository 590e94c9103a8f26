package master

import (
	"strconv"
	"time"
)

const (
	// reportsShownAtOnce is how often what nodes say about themselves may change a Refinery's status at once,
	reportsShownAtOnce = 8
	// reportsInterval is how often it may after that. Nodes may say another thing with each heartbeat, and send as many as they like.
	reportsInterval = 10 * time.Second
)

// said is what a node says about itself, in its session.
type said struct {
	// Status is empty if the node is well.
	Status string
	// Load is from 0 to 1, and Loaded whether the node says it.
	Load   float64
	Loaded bool
}

// saidBy reads what the protocol has found to be valid.
func saidBy(status, load string) (s said) {
	if status != "ok" {
		s.Status = status
	}
	if number, err := strconv.ParseFloat(load, 64); err == nil {
		s.Load, s.Loaded = number, true
	}
	return s
}

// Reported records what a node says about itself. Status changes only when it begins or ceases to be unwell, or is so in another
// way; load is for metrics alone.
func (r *registry) Reported(c *connection, s said) {
	r.mu.Lock()
	c.said = s
	wait, differs := time.Duration(0), false
	if g := r.groups[c.Refinery]; g != nil {
		n := g.nodes[c.Announced.ID]
		if differs = n != nil && n.live == c && n.saysAnother(); differs {
			wait = g.untilReport(r.clock.Now()) // before, a look at all of its nodes would be for nothing
		}
	}
	r.mu.Unlock()
	if differs {
		r.changed(c.Refinery, wait)
	}
}

// untilReport is the time until what nodes say about themselves may change status again.
func (g *group) untilReport(now time.Time) time.Duration {
	turn := g.reports.ReserveN(now, 1)
	defer turn.CancelAt(now)
	return turn.DelayFrom(now)
}

// saysAnother reports whether the node says another thing about itself than status shows.
func (n *node) saysAnother() bool { return n.live != nil && n.Status != n.live.said.Status }

// showReports lets status show what all nodes say now, or says when it may.
func (g *group) showReports(now time.Time, s *snapshot) {
	var differ []*node
	for _, n := range g.nodes {
		if n.saysAnother() {
			differ = append(differ, n)
		}
	}
	if len(differ) == 0 {
		return
	}
	if wait := g.untilReport(now); wait > 0 {
		s.changesAt(now.Add(wait))
		return
	}
	g.reports.AllowN(now, 1)
	for _, n := range differ {
		n.Status = n.live.said.Status
	}
}

// place is where a node is: of a Refinery, at an upstream.
type place struct{ Refinery, Upstream string }

// loads sums up what nodes say of their load.
type loads struct {
	Sum   float64
	Nodes int // that say it
}

// Loads are those of all nodes with an authenticated session that say their load.
func (r *registry) Loads() map[place]loads {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[place]loads{}
	for name, g := range r.groups {
		for _, n := range g.nodes {
			if n.live == nil || !n.live.said.Loaded {
				continue
			}
			at := place{name, n.Upstream}
			l := all[at]
			l.Sum += n.live.said.Load
			l.Nodes++
			all[at] = l
		}
	}
	return all
}
