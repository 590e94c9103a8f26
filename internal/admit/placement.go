package admit

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
)

// Placement places nodes on upstreams by weighted rendezvous hashing: each node takes the upstream with
// the highest score of its own, so a node gets the same upstream after any restart, and a change of one
// upstream moves only the nodes that it gains or loses.
type Placement struct {
	upstreams []Upstream // sorted by name
}

// NewPlacement places over these upstreams.
func NewPlacement(upstreams []Upstream) *Placement {
	sorted := slices.Clone(upstreams)
	slices.SortFunc(sorted, func(a, b Upstream) int { return strings.Compare(a.Name, b.Name) })
	return &Placement{upstreams: sorted}
}

// Upstreams are all of them, sorted by name.
func (p *Placement) Upstreams() []Upstream { return p.upstreams }

// UsesServices reports whether one of them is a Service.
func (p *Placement) UsesServices() bool {
	return slices.ContainsFunc(p.upstreams, func(u Upstream) bool { return u.Service != nil })
}

// Place returns the upstream of a node. pin is the name of the one its Refinery asks for, or "".
// The error is written for people: it becomes the node's message in status.
func (p *Placement) Place(nodeID, nodeType, pin string) (Upstream, error) {
	if pin != "" {
		return p.pinned(nodeType, pin)
	}
	var best Upstream
	bestScore := -1.0
	for _, u := range p.upstreams {
		if u.Weight <= 0 || !u.takes(nodeType) {
			continue
		}
		if s := score(nodeID, u); s > bestScore {
			best, bestScore = u, s
		}
	}
	if bestScore < 0 {
		return Upstream{}, fmt.Errorf("no upstream of the master takes nodes of type %q: give one of %s a weight over 0 and this type",
			nodeType, p.names())
	}
	return best, nil
}

func (p *Placement) pinned(nodeType, pin string) (Upstream, error) {
	for _, u := range p.upstreams {
		if u.Name != pin {
			continue
		}
		if !u.takes(nodeType) {
			return Upstream{}, fmt.Errorf("spec.upstream pins %q, which takes nodes of type %s only, not %q",
				pin, strings.Join(quoted(u.Types), ", "), nodeType)
		}
		return u, nil
	}
	return Upstream{}, fmt.Errorf("spec.upstream pins %q, which the master does not have; it has %s", pin, p.names())
}

func (p *Placement) names() string {
	names := make([]string, len(p.upstreams))
	for i, u := range p.upstreams {
		names[i] = u.Name
	}
	return strings.Join(names, ", ")
}

// score is the weight over the negative logarithm of a uniform number in (0,1) drawn from node and
// upstream name: the share of nodes that score highest at an upstream is its share of all weights.
func score(nodeID string, u Upstream) float64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(u.Name)) // a hash never fails
	_, _ = hash.Write([]byte{0})
	_, _ = hash.Write([]byte(nodeID))
	uniform := (float64(mix(hash.Sum64())>>11) + 0.5) / (1 << 53)
	return float64(u.Weight) / -math.Log(uniform)
}

// mix spreads the bits of an FNV hash, whose high bits hardly depend on the last bytes it read
// (the finalizer of SplitMix64, Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	x ^= x >> 31
	return x
}
