package admit

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
)

// selecting is an edit of a Refinery.
func selecting(age int, nodes *v1alpha1.NodeSelection) func(*v1alpha1.Refinery) {
	return func(r *v1alpha1.Refinery) {
		r.CreationTimestamp = metav1.Time{Time: time.Unix(1e9, 0).Add(-time.Duration(age) * time.Hour)}
		r.Spec.Nodes = nodes
	}
}

// selection describes how well a Refinery selects a node in one way: the tier, the lowest first, and within it the length.
type selection struct {
	tier, length int
	refinery     *v1alpha1.Refinery
}

// plainOf says by the sentences of docs/nodes.md which Refinery a node is of: all that select it, the best first.
func plainOf(refineries []*v1alpha1.Refinery, id, nodeType string) string {
	var all []selection
	for _, r := range refineries {
		if id == r.Name || strings.HasPrefix(id, r.Name+"/") {
			all = append(all, selection{0, 0, r})
		}
		if r.Spec.Nodes == nil {
			continue
		}
		for _, own := range r.Spec.Nodes.IDs {
			if id == string(own) {
				all = append(all, selection{1, 0, r})
			}
		}
		for _, prefix := range r.Spec.Nodes.Prefixes {
			if strings.HasPrefix(id, string(prefix)) {
				all = append(all, selection{2, len(prefix), r})
			}
		}
		if slices.Contains(r.Spec.Nodes.Types, nodeType) {
			all = append(all, selection{3, 0, r})
		}
		if r.Spec.Nodes.Rest {
			all = append(all, selection{4, 0, r})
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.MinFunc(all, func(a, b selection) int {
		return cmp.Or(cmp.Compare(a.tier, b.tier), cmp.Compare(b.length, a.length),
			a.refinery.CreationTimestamp.Compare(b.refinery.CreationTimestamp.Time), cmp.Compare(a.refinery.Name, b.refinery.Name))
	}).refinery.Name
}

var (
	someNames = rapid.SampledFrom([]string{"a", "b", "ab", "a-b", "c"})
	someIDs   = rapid.Custom(func(t *rapid.T) string {
		return rapid.StringMatching(`(a|b|ab|a-b|d|é)(/|-|a|é){0,3}`).Draw(t, "id")
	})
	someTypes = rapid.SampledFrom([]string{"refinery", "smelter", "mill"})
)

func someRefineries(t *rapid.T) (refineries []*v1alpha1.Refinery) {
	nodeIDs := rapid.SliceOfN(rapid.Map(someIDs, func(s string) v1alpha1.NodeID { return v1alpha1.NodeID(s) }), 0, 3)
	for _, name := range rapid.SliceOfNDistinct(someNames, 0, 5, rapid.ID).Draw(t, "names") {
		var nodes *v1alpha1.NodeSelection
		if rapid.Bool().Draw(t, "selects") {
			nodes = &v1alpha1.NodeSelection{IDs: nodeIDs.Draw(t, "ids"), Prefixes: nodeIDs.Draw(t, "prefixes"),
				Types: rapid.SliceOfN(someTypes, 0, 2).Draw(t, "types"), Rest: rapid.Bool().Draw(t, "rest")}
		}
		r := admittest.Refinery(name, selecting(rapid.IntRange(0, 2).Draw(t, "age"), nodes))
		if rapid.Bool().Draw(t, "suspended") {
			r.Spec.Access = v1alpha1.AccessSuspended
		}
		refineries = append(refineries, r)
	}
	return refineries
}

func TestANodeIsOfTheRefineryThatSelectsItBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		refineries := someRefineries(t)
		m := NewMembership(refineries)
		id, nodeType := someIDs.Draw(t, "id"), someTypes.Draw(t, "type")
		if got, want := m.Of(id, nodeType), plainOf(refineries, id, nodeType); got != want {
			t.Errorf("%q of type %s is of Refinery %q, want %q", id, nodeType, got, want)
		}
		slices.Reverse(refineries)
		if got, want := NewMembership(refineries).Of(id, nodeType), m.Of(id, nodeType); got != want {
			t.Errorf("in another order %q, else %q", got, want)
		}
	})
}

func TestSuspendingARefineryGivesItsNodesToNoOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		refineries := someRefineries(t)
		before := NewMembership(refineries)
		for _, r := range refineries {
			r.Spec.Access = v1alpha1.AccessSuspended
			r.DeletionTimestamp = &metav1.Time{Time: time.Unix(1e9, 0)}
		}
		id, nodeType := someIDs.Draw(t, "id"), someTypes.Draw(t, "type")
		if a, b := before.Of(id, nodeType), NewMembership(refineries).Of(id, nodeType); a != b {
			t.Errorf("%q was of %q and is of %q", id, a, b)
		}
	})
}

func TestSharedCertificateLetsInUnderTheRefineryThatSelectsTheNode(t *testing.T) {
	const uuid = "5f0c9a52-7d0e-4b8e-9f3a-0d6b1c2e3f40"
	rest := func(s *scene) { s.setRefinery("pump", selecting(1, &v1alpha1.NodeSelection{Rest: true})) }
	typed := func(kind string) attempt {
		at := bare(uuid, secret)
		at.kind = kind
		return at
	}
	run(t, []trial{
		{"an id that nobody selects", func(*scene) attempt { return bare(uuid, secret) }, denied(v1alpha1.ReasonIDMismatch, ""), "select the node by spec.nodes"},
		{"the rest", func(s *scene) attempt { rest(s); return bare(uuid, secret) }, granted("pump"), ""},
		{"the rest is not what has a name", func(s *scene) attempt { rest(s); return bare("press/a", secret) }, granted("press"), ""},
		{"an id goes before the rest", func(s *scene) attempt {
			rest(s)
			s.setRefinery("press", selecting(0, &v1alpha1.NodeSelection{IDs: []v1alpha1.NodeID{uuid}}))
			return bare(uuid, secret)
		}, granted("press"), ""},
		{"a suspended Refinery keeps its id", func(s *scene) attempt {
			rest(s)
			s.setRefinery("press", func(r *v1alpha1.Refinery) {
				selecting(0, &v1alpha1.NodeSelection{IDs: []v1alpha1.NodeID{uuid}})(r)
				r.Spec.Access = v1alpha1.AccessSuspended
			})
			return bare(uuid, secret)
		}, denied(v1alpha1.ReasonSuspended, "press"), ""},
		{"a type", func(s *scene) attempt {
			s.setMaster(func(m *v1alpha1.ClusterMaster) {
				m.Spec.Security, m.Spec.Protocol.AcceptedTypes = sharedPlain, []string{"smelter"}
			})
			s.setRefinery("press", selecting(0, &v1alpha1.NodeSelection{Types: []string{"smelter"}}))
			return typed("smelter")
		}, granted("press"), ""},
		{"of two that take the rest the older", func(s *scene) attempt {
			rest(s)
			s.setRefinery("press", selecting(2, &v1alpha1.NodeSelection{Rest: true}))
			return bare(uuid, secret)
		}, granted("press"), ""},
		{"the secret is asked for first", func(s *scene) attempt { rest(s); return bare(uuid, "open") },
			denied(v1alpha1.ReasonSharedCertificateMismatch, ""), ""},
	}, sharing(sharedPlain))
}

func TestUnderMutualTLSTheRefineryThatSelectsANodeHasToListItsCertificate(t *testing.T) {
	const uuid = "5f0c9a52-7d0e-4b8e-9f3a-0d6b1c2e3f40"
	rest := func(s *scene) {
		share := s.pump
		s.setRefinery("pump", selecting(1, &v1alpha1.NodeSelection{Rest: true}), share)
	}
	run(t, []trial{
		{"its own", func(s *scene) attempt { rest(s); return with(s.pump, uuid).presenting(secret) }, granted("pump"), ""},
		{"another's", func(s *scene) attempt { rest(s); return with(s.press, uuid).presenting(secret) }, denied(v1alpha1.ReasonCertificateNotListed, "pump"), ""},
	}, sharing(sharedMutualTLS))
}

func TestASessionEndsWhenAnotherRefinerySelectsItsNode(t *testing.T) {
	const uuid = "5f0c9a52-7d0e-4b8e-9f3a-0d6b1c2e3f40"
	for name, change := range map[string]func(s *scene){
		"by its id": func(s *scene) {
			s.setRefinery("press", selecting(0, &v1alpha1.NodeSelection{IDs: []v1alpha1.NodeID{uuid}}))
		},
		"none any more": func(s *scene) { s.setRefinery("pump", func(*v1alpha1.Refinery) {}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			sharing(sharedPlain)(s)
			s.setRefinery("pump", selecting(1, &v1alpha1.NodeSelection{Rest: true}))
			grant, denial := s.try(bare(uuid, secret))
			check(t, grant, denial, granted("pump"), "")
			change(s)
			if denial := s.authenticator().Review(grant); denial == nil || denial.Reason != v1alpha1.ReasonIDMismatch {
				t.Errorf("reviewed: %v", denial)
			}
		})
	}
}

func TestWhatARefinerySelectsInVainIsSaid(t *testing.T) {
	refineries := []*v1alpha1.Refinery{
		admittest.Refinery("press", selecting(2, &v1alpha1.NodeSelection{IDs: []v1alpha1.NodeID{"x"}, Prefixes: []v1alpha1.NodeID{"n-"}, Rest: true})),
		admittest.Refinery("pump", selecting(1, &v1alpha1.NodeSelection{IDs: []v1alpha1.NodeID{"x", "y"}, Prefixes: []v1alpha1.NodeID{"n-", "press/", "n-1"}, Rest: true})),
	}
	m := NewMembership(refineries)
	if got := m.Overlaps(refineries[0]); got != "" {
		t.Errorf("press: %s", got)
	}
	if got, want := m.Overlaps(refineries[1]), `id "x" of spec.nodes selects nothing: Refinery press has that, and 3 more`; got != want {
		t.Errorf("pump: %s", got)
	}
}
