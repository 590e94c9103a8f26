package admit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Membership says which Refinery of a master a node is of, by what it announces alone: nothing of that is proven. It is never
// changed. Refineries that are suspended or being deleted keep their nodes, so that these do not fall through to another.
type Membership struct {
	names                map[string]bool
	ids, prefixes, types map[string]string // to the name of the Refinery
	lengths              []int             // of prefixes, the longest first
	rest                 string
}

// NewMembership is that of these Refineries, which name one master.
func NewMembership(refineries []*v1alpha1.Refinery) *Membership {
	oldest := slices.Clone(refineries)
	slices.SortFunc(oldest, func(a, b *v1alpha1.Refinery) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	m := &Membership{names: map[string]bool{}, ids: map[string]string{}, prefixes: map[string]string{}, types: map[string]string{}}
	for _, r := range oldest {
		m.names[r.Name] = true
		if r.Spec.Nodes == nil {
			continue
		}
		for _, id := range r.Spec.Nodes.IDs {
			give(m.ids, string(id), r.Name)
		}
		for _, prefix := range r.Spec.Nodes.Prefixes {
			give(m.prefixes, string(prefix), r.Name)
		}
		for _, nodeType := range r.Spec.Nodes.Types {
			give(m.types, nodeType, r.Name)
		}
		if r.Spec.Nodes.Rest {
			m.rest = cmp.Or(m.rest, r.Name)
		}
	}
	for prefix := range m.prefixes {
		m.lengths = append(m.lengths, len(prefix))
	}
	slices.Sort(m.lengths)
	m.lengths = slices.Compact(m.lengths)
	slices.Reverse(m.lengths)
	return m
}

// give gives a key to a Refinery, unless an older one has it.
func give(owners map[string]string, key, refinery string) {
	if owners[key] == "" {
		owners[key] = refinery
	}
}

// Of is the Refinery of a node; "" if it is of none. A Refinery's name at the beginning of an id goes before all that others
// select. Then its id goes before the longest prefix, that before its type, and that before the rest.
func (m *Membership) Of(id, nodeType string) string {
	if name := NamedIn(id); m.names[name] {
		return name
	}
	if refinery := m.ids[id]; refinery != "" {
		return refinery
	}
	for _, length := range m.lengths {
		if length <= len(id) && m.prefixes[id[:length]] != "" {
			return m.prefixes[id[:length]]
		}
	}
	return cmp.Or(m.types[nodeType], m.rest)
}

// Overlaps says what a Refinery selects in vain, since another Refinery has it: the first such thing, and how many there are; ""
// if there is none.
func (m *Membership) Overlaps(r *v1alpha1.Refinery) string {
	if r.Spec.Nodes == nil {
		return ""
	}
	first, count := "", 0
	note := func(what, owner string) {
		if owner == r.Name {
			return
		}
		if count++; count == 1 {
			first = fmt.Sprintf("%s of spec.nodes selects nothing: Refinery %s has that", what, owner)
		}
	}
	named := func(text string) string {
		if name := NamedIn(text); name != text && m.names[name] {
			return name
		}
		return ""
	}
	for _, id := range r.Spec.Nodes.IDs {
		note(fmt.Sprintf("id %q", Truncate(string(id), 64)), m.Of(string(id), ""))
	}
	for _, prefix := range r.Spec.Nodes.Prefixes {
		note(fmt.Sprintf("prefix %q", Truncate(string(prefix), 64)), cmp.Or(named(string(prefix)), m.prefixes[string(prefix)]))
	}
	for _, nodeType := range r.Spec.Nodes.Types {
		note(fmt.Sprintf("type %q", nodeType), m.types[nodeType])
	}
	if r.Spec.Nodes.Rest {
		note("rest", m.rest)
	}
	if count > 1 {
		first += fmt.Sprintf(", and %d more", count-1)
	}
	return first
}
