package rotation

import (
	"fmt"
	"slices"
	"strings"
)

// maxNodes and maxCauses bound how many of those that block a rotation are named.
const (
	maxNodes  = 10
	maxCauses = 5
)

// Progress is who has completed a phase of a rotation, and who has not.
type Progress struct {
	// completed of total nodes have.
	completed, total int
	// behind are the ids of nodes that have not, unlisted the number of those whose ids are not known.
	behind   []string
	unlisted int
	// causes are what else has to happen, in words.
	causes []string
	// unobservable reports whether there are connected pods that do not show what they have loaded.
	unobservable bool
}

// blocked reports whether someone would be cut off by the next step.
func (p *Progress) blocked() bool { return p.completed < p.total || len(p.causes) > 0 }

// waiting names who blocks the next step.
func (p *Progress) waiting() string {
	var parts []string
	if nodes := p.total - p.completed; nodes > 0 && len(p.behind)+p.unlisted > 0 {
		ids := slices.Sorted(slices.Values(p.behind))
		more := p.unlisted + max(0, len(ids)-maxNodes)
		ids = ids[:min(len(ids), maxNodes)]
		if more > 0 {
			ids = append(ids, fmt.Sprintf("%d more nodes", more))
		}
		parts = append(parts, strings.Join(ids, ", "))
	}
	causes := slices.Sorted(slices.Values(p.causes))
	parts = append(parts, causes[:min(len(causes), maxCauses)]...)
	if more := len(causes) - maxCauses; more > 0 {
		parts = append(parts, fmt.Sprintf("%d more causes", more))
	}
	return strings.Join(parts, "; ")
}
