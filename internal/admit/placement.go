package admit

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
)

// Placement is which upstreams there are for whom. Each node scores each upstream on its own (weighted rendezvous hashing), so that a
// change of one upstream moves only the nodes that it gains or loses.
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

// Check says why there is no upstream for a node. pin is the name of the one its Refinery asks for, or "".
// The error is written for people: it becomes the node's message in status.
func (p *Placement) Check(nodeType, pin string) error {
	if pin != "" {
		_, err := p.Pinned(nodeType, pin)
		return err
	}
	if slices.ContainsFunc(p.upstreams, func(u Upstream) bool { return u.Weight > 0 && u.takes(nodeType) }) {
		return nil
	}
	return fmt.Errorf("no upstream of the master takes nodes of type %q: give one of %s a weight over 0 and this type", nodeType, p.names())
}

// Named returns the upstream of that name, or nil.
func (p *Placement) Named(name string) *Upstream {
	for i := range p.upstreams {
		if p.upstreams[i].Name == name {
			return &p.upstreams[i]
		}
	}
	return nil
}

// Pinned returns the upstream that a Refinery asks for. The error is like that of Check.
func (p *Placement) Pinned(nodeType, pin string) (Upstream, error) {
	u := p.Named(pin)
	switch {
	case u == nil:
		return Upstream{}, fmt.Errorf("spec.upstream pins %q, which the master does not have; it has %s", pin, p.names())
	case !u.takes(nodeType):
		return Upstream{}, fmt.Errorf("spec.upstream pins %q, which takes nodes of type %s only, not %q",
			pin, strings.Join(quoted(u.Types), ", "), nodeType)
	}
	return *u, nil
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
