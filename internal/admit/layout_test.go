package admit

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// onto are n nodes on an upstream.
func onto(upstream string, n int) []Node {
	all := make([]Node, n)
	for i := range all {
		all[i] = Node{ID: fmt.Sprintf("%s/%d", upstream, i), Type: "refinery", Upstream: upstream}
	}
	return all
}

// counts of nodes by upstream.
func counts(nodes []Node) map[string]int {
	all := map[string]int{}
	for _, n := range nodes {
		all[n.Upstream]++
	}
	return all
}

// after carries out moves.
func after(nodes []Node, moves []Move) []Node {
	nodes = slices.Clone(nodes)
	for _, m := range moves {
		nodes[m.Node].Upstream = m.To.Name
	}
	return nodes
}

func TestNodesMoveOnlyWhereTheyMust(t *testing.T) {
	even := slices.Concat(onto("east", 100), onto("west", 100), onto("north", 100))
	types := func(u Upstream, types ...string) Upstream { u.Types = types; return u }
	south := Upstream{Name: "south", Weight: 2}
	tests := map[string]struct {
		nodes     []Node
		upstreams []Upstream
		standing  map[string]Standing
		wanted    int
		moves     string // from>to: how many
		urgent    bool
	}{
		"nothing changes": {even, []Upstream{east(2), west(2), north(2)}, nil, 0, "map[]", false},
		"one more draws most of its share from all": {even, []Upstream{east(2), west(2), north(2), south}, nil, 0, "map[east>south:19 north>south:23 west>south:18]", false},
		"one is removed":                            {even, []Upstream{east(2), west(2)}, nil, 0, "map[north>east:52 north>west:48]", true},
		"one is gone":                               {even, []Upstream{east(2), west(2), north(2)}, map[string]Standing{"north": Gone}, 0, "map[north>east:52 north>west:48]", true},
		"one has weight 0":                          {even, []Upstream{east(2), west(2), north(0)}, nil, 0, "map[north>east:52 north>west:48]", false},
		"one takes other types":                     {even, []Upstream{east(2), west(2), types(north(2), "smelter")}, nil, 0, "map[north>east:52 north>west:48]", true},
		"one returns":                               {even, []Upstream{east(2), west(2), north(2), south}, map[string]Standing{"south": Returning}, 0, "map[]", false},
		"nodes stay on one that returns":            {even, []Upstream{east(2), west(2), north(2)}, map[string]Standing{"north": Returning}, 0, "map[]", false},
		"all are gone: better there than elsewhere": {even, []Upstream{east(2), west(2), north(2)}, map[string]Standing{"east": Gone, "west": Gone, "north": Gone}, 0, "map[]", false},
		"all are gone, and one is removed":          {onto("north", 4), []Upstream{east(2), west(2)}, map[string]Standing{"east": Gone, "west": Gone}, 0, "map[north>east:2 north>west:2]", true},
		"all but one that returns":                  {even, []Upstream{east(2), west(2), north(2)}, map[string]Standing{"east": Gone, "west": Gone, "north": Returning}, 0, "map[east>north:100 west>north:100]", false},
		"none has a weight":                         {even, []Upstream{east(0), west(0), north(0)}, nil, 0, "map[]", false},
		"nodes restart":                             {slices.Concat(onto("east", 110), onto("west", 90), onto("north", 40)), []Upstream{east(2), west(2), north(2)}, nil, 300, "map[]", false},
		"few nodes are spread as well":              {onto("east", 4), []Upstream{east(1), west(1)}, nil, 0, "map[east>west:2]", false},
		"by weight":                                 {onto("east", 4), []Upstream{east(1), west(3)}, nil, 0, "map[east>west:3]", false},
		"one that is a little fuller stays so":      {slices.Concat(onto("east", 55), onto("west", 45)), []Upstream{east(1), west(1)}, nil, 0, "map[]", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := NewPlacement(test.upstreams).NewLayout(test.standing, map[string]int{"refinery": test.wanted}, test.nodes)
			moves := l.Moves(test.nodes)
			got := map[string]int{}
			for _, m := range moves {
				got[test.nodes[m.Node].Upstream+">"+m.To.Name]++
				if m.Urgent != test.urgent {
					t.Errorf("urgent: %v", m.Urgent)
				}
			}
			if diff := cmp.Diff(test.moves, fmt.Sprint(got)); diff != "" {
				t.Errorf("moves (-want +got):\n%s", diff)
			}
		})
	}
}

func TestANodeThatComesBackKeepsItsUpstreamWhereItMayStay(t *testing.T) {
	place := func(current string, standing map[string]Standing, upstreams ...Upstream) string {
		u, err := NewPlacement(upstreams).NewLayout(standing, nil, []Node{{Type: "refinery", Upstream: "west"}}).Place("press/a", "refinery", "", current, current != "")
		if err != nil {
			t.Fatal(err)
		}
		return u.Name
	}
	for _, test := range []struct {
		what, want, got string
	}{
		{"without one", "east", place("", nil, east(1000), west(1))},
		{"with one", "west", place("west", nil, east(1000), west(1))},
		{"with one that returns", "west", place("west", map[string]Standing{"west": Returning}, east(1000), west(1))},
		{"with one that is gone", "east", place("west", map[string]Standing{"west": Gone}, east(1000), west(1))},
		{"while all are gone", "west", place("west", map[string]Standing{"west": Gone, "east": Gone}, east(1000), west(1))},
		{"with one that was removed", "east", place("north", nil, east(1000), west(1))},
		{"with one of weight 0, where it waits for its turn", "west", place("west", nil, east(1), west(0))},
	} {
		if test.got != test.want {
			t.Errorf("%s: %s, want %s", test.what, test.got, test.want)
		}
	}
}

func TestANodeThatWasAwayComesBackToWhereItWasIfThereIsRoom(t *testing.T) {
	place := func(was string, standing map[string]Standing, nodes []Node, upstreams ...Upstream) string {
		l := NewPlacement(upstreams).NewLayout(standing, nil, nodes)
		before := l.nodes["refinery"]["west"] + l.nodes["refinery"]["east"]
		u, err := l.Place("press/a", "refinery", "", was, false)
		if err != nil {
			t.Fatal(err)
		}
		if after := l.nodes["refinery"]["west"] + l.nodes["refinery"]["east"]; after != before+1 {
			t.Errorf("%d nodes count, of %d and one more", after, before)
		}
		return u.Name
	}
	few, many := onto("east", 4), slices.Concat(onto("west", 6), onto("east", 4))
	for _, test := range []struct {
		what, want, got string
	}{
		{"where there is room", "west", place("west", nil, few, east(1), west(1))},
		{"where there is none", "east", place("west", nil, many, east(1), west(1))},
		{"to one that is gone", "east", place("west", map[string]Standing{"west": Gone}, few, east(1), west(1))},
		{"to one of weight 0", "east", place("west", nil, few, east(1), west(0))},
		{"to one that was removed", "east", place("north", nil, onto("west", 6), east(1), west(1))},
	} {
		if test.got != test.want {
			t.Errorf("%s: %s, want %s", test.what, test.got, test.want)
		}
	}
}

// scenery is what a Layout is made of.
type scenery struct {
	upstreams []Upstream
	standing  map[string]Standing
	wanted    map[string]int
	nodes     []Node
}

// most is the upper bound by the sentence of docs/upstreams.md.
func most(share float64) float64 { return math.Max(math.Ceil(share), math.Floor(share*1.25)) }

func drawScenery(t *rapid.T) scenery {
	s := scenery{standing: map[string]Standing{}, wanted: map[string]int{}}
	kinds := []string{"refinery", "smelter"}
	names := []string{"east", "west", "north", "south", "gone"}
	for _, name := range names[:rapid.IntRange(1, 4).Draw(t, "upstreams")] {
		u := Upstream{Name: name, Weight: rapid.Int32Range(0, 5).Draw(t, "weight")}
		if rapid.IntRange(0, 3).Draw(t, "picky") == 0 {
			u.Types = []string{rapid.SampledFrom(kinds).Draw(t, "type")}
		}
		s.upstreams = append(s.upstreams, u)
		s.standing[name] = rapid.SampledFrom([]Standing{Ready, Ready, Returning, Gone}).Draw(t, "standing")
	}
	for _, kind := range kinds {
		s.wanted[kind] = rapid.IntRange(0, 60).Draw(t, "wanted")
	}
	for i := range rapid.IntRange(0, 60).Draw(t, "nodes") {
		s.nodes = append(s.nodes, Node{ID: fmt.Sprint(i), Type: rapid.SampledFrom(kinds).Draw(t, "type"), Upstream: rapid.SampledFrom(names).Draw(t, "upstream")})
	}
	return s
}

func (s *scenery) layout() *Layout {
	return NewPlacement(s.upstreams).NewLayout(s.standing, s.wanted, s.nodes)
}

// takers are those that nodes of a type are placed on, by the sentences of docs/upstreams.md, and how they stand.
func (s *scenery) takers(kind string) (takers []Upstream, at Standing) {
	for _, at = range []Standing{Ready, Returning, Gone} {
		for _, u := range s.upstreams {
			if u.Weight > 0 && u.takes(kind) && s.standing[u.Name] == at {
				takers = append(takers, u)
			}
		}
		if len(takers) > 0 {
			break
		}
	}
	return takers, at
}

func TestMovesEndWithNodesOnReadyUpstreamsWithinTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScenery(t)
		before := s.nodes
		moves := s.layout().Moves(before)
		s.nodes = after(before, moves)
		for _, m := range moves {
			takers, _ := s.takers(before[m.Node].Type)
			if !slices.ContainsFunc(takers, func(u Upstream) bool { return u.Name == m.To.Name }) {
				t.Fatalf("%+v went to %s, which takes none", before[m.Node], m.To.Name)
			}
		}
		if again := s.layout().Moves(s.nodes); len(again) > 0 {
			t.Fatalf("they move again: %+v", again)
		}
		for _, kind := range []string{"refinery", "smelter"} {
			of := slices.DeleteFunc(slices.Clone(s.nodes), func(n Node) bool { return n.Type != kind })
			s.checkBounds(t, kind, of)
		}
	})
}

// checkBounds shows that nodes are where the sentences of docs/upstreams.md say.
func (s *scenery) checkBounds(t *rapid.T, kind string, of []Node) {
	takers, at := s.takers(kind)
	if len(takers) == 0 || at == Gone {
		return
	}
	all, total, weight, elsewhere := counts(of), max(len(of), s.wanted[kind]), 0.0, len(of)
	for _, u := range takers {
		weight += float64(u.Weight)
		elsewhere -= all[u.Name]
	}
	for _, n := range of {
		if i := slices.IndexFunc(s.upstreams, func(u Upstream) bool { return u.Name == n.Upstream }); i < 0 || s.standing[n.Upstream] == Gone || s.upstreams[i].Weight == 0 {
			t.Fatalf("%+v is on one of no use", n)
		}
	}
	for _, u := range takers {
		share := float64(total) * float64(u.Weight) / weight
		if most := most(share); float64(all[u.Name]) > most {
			t.Fatalf("%s has %d nodes, and %.0f at most: %v", u.Name, all[u.Name], most, all)
		}
		if least := math.Floor(share / 1.25); float64(all[u.Name]+elsewhere+total-len(of)) < least {
			t.Fatalf("%s has %d nodes, and %.0f at least: %v", u.Name, all[u.Name], least, all)
		}
	}
}

func TestNodesThatComeNeverExceedTheBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScenery(t)
		s.nodes = nil
		l := s.layout()
		for i := range rapid.IntRange(1, 80).Draw(t, "come") {
			n := Node{ID: fmt.Sprint(i), Type: "refinery"}
			u, err := l.Place(n.ID, n.Type, "", "", false)
			if takers, _ := s.takers(n.Type); (err != nil) != (len(takers) == 0) {
				t.Fatalf("%v with %v", err, takers)
			}
			if err != nil {
				return
			}
			n.Upstream = u.Name
			s.nodes = append(s.nodes, n)
		}
		if moves := s.layout().Moves(s.nodes); slices.ContainsFunc(moves, func(m Move) bool { return m.Urgent }) {
			t.Fatalf("one was placed where it may not stay: %v", moves)
		}
		s.wanted["refinery"] = max(s.wanted["refinery"], len(s.nodes))
		takers, _ := s.takers("refinery")
		weight := 0.0
		for _, u := range takers {
			weight += float64(u.Weight)
		}
		for _, u := range takers {
			share := float64(s.wanted["refinery"]) * float64(u.Weight) / weight
			if most := most(share); float64(counts(s.nodes)[u.Name]) > most {
				t.Fatalf("%s has more than %.0f: %v", u.Name, most, counts(s.nodes))
			}
		}
	})
}

// Each move away from an upstream that is of use is one that a bound asks for.
func TestNoMoreNodesMoveThanBoundsAskFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScenery(t)
		for i := range s.nodes {
			s.nodes[i].Type = "refinery"
		}
		takers, at := s.takers("refinery")
		moves := s.layout().Moves(s.nodes)
		if at == Gone || len(takers) == 0 {
			return
		}
		total, weight, has := max(len(s.nodes), s.wanted["refinery"]), 0.0, counts(s.nodes)
		for _, u := range takers {
			weight += float64(u.Weight)
		}
		asked := 0.0
		for _, u := range takers {
			share := float64(total) * float64(u.Weight) / weight
			asked += math.Max(0, float64(has[u.Name])-most(share))
			asked += math.Max(0, math.Floor(share/1.25)-float64(has[u.Name]))
		}
		voluntary := 0.0
		for _, m := range moves {
			if slices.ContainsFunc(takers, func(u Upstream) bool { return u.Name == s.nodes[m.Node].Upstream }) {
				voluntary++
			}
		}
		if voluntary > asked {
			t.Fatalf("%.0f nodes move between upstreams, and the bounds ask for %.0f: %v", voluntary, asked, has)
		}
	})
}
