package admit

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nodes are the ids of n nodes.
func nodes(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("press/press-5f6b-%05d", i)
	}
	return ids
}

// placed returns each node's upstream by name, of nodes that come one after the other. So many are wanted that no bound matters.
func placed(t *testing.T, ids []string, upstreams ...Upstream) map[string]string {
	t.Helper()
	l := NewPlacement(upstreams).NewLayout(nil, map[string]int{"refinery": 100 * len(ids)}, nil)
	result := make(map[string]string, len(ids))
	for _, id := range ids {
		u, err := l.Place(id, "refinery", "", "", false)
		if err != nil {
			t.Fatal(err)
		}
		result[id] = u.Name
	}
	return result
}

func east(weight int32) Upstream { return Upstream{Name: "east", Address: "east:1", Weight: weight} }
func west(weight int32) Upstream { return Upstream{Name: "west", Address: "west:1", Weight: weight} }
func north(weight int32) Upstream {
	return Upstream{Name: "north", Address: "north:1", Weight: weight}
}

// The placement of these nodes must never change: nodes would move when the master is upgraded.
func TestPlacementIsTheSameInEveryRelease(t *testing.T) {
	got := placed(t, []string{"press", "press/a", "pump/a", "press/press-5f6b-00000", "x1", "x2", "x3"}, east(3), west(1), north(2))
	want := map[string]string{
		"press": "north", "press/a": "north", "pump/a": "east", "press/press-5f6b-00000": "east", "x1": "west", "x2": "north", "x3": "north",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("placement (-want +got):\n%s", diff)
	}
}

func TestPlacementDoesNotDependOnOrder(t *testing.T) {
	ids := nodes(500)
	if diff := cmp.Diff(placed(t, ids, east(3), west(1), north(2)), placed(t, ids, north(2), east(3), west(1))); diff != "" {
		t.Error(diff)
	}
}

func TestSharesFollowWeights(t *testing.T) {
	const n = 20000
	counts := map[string]int{}
	for _, name := range placed(t, nodes(n), east(3), west(1), north(6)) {
		counts[name]++
	}
	for name, share := range map[string]float64{"east": 0.3, "west": 0.1, "north": 0.6} {
		if got := float64(counts[name]) / n; math.Abs(got-share) > 0.02 {
			t.Errorf("%s has a share of %.3f, want %.2f", name, got, share)
		}
	}
}

func TestPinsTypesAndWeightZero(t *testing.T) {
	heavy := Upstream{Name: "heavy", Address: "heavy:1", Weight: 1, Types: []string{"smelter"}}
	tests := []struct {
		name      string
		upstreams []Upstream
		kind, pin string
		want, err string
	}{
		{"only those that take the type", []Upstream{heavy, west(1)}, "refinery", "", "west", ""},
		{"none takes the type", []Upstream{heavy}, "refinery", "", "",
			`no upstream of the master takes nodes of type "refinery": give one of heavy a weight over 0 and this type`},
		{"all at weight 0", []Upstream{east(0), west(0)}, "refinery", "", "",
			`no upstream of the master takes nodes of type "refinery": give one of east, west a weight over 0 and this type`},
		{"pinned", []Upstream{east(1000), west(1)}, "refinery", "west", "west", ""},
		{"pinned to one that nobody else is placed on", []Upstream{east(1), west(0)}, "refinery", "west", "west", ""},
		{"pinned to one that does not exist", []Upstream{east(1), west(1)}, "refinery", "wset", "",
			`spec.upstream pins "wset", which the master does not have; it has east, west`},
		{"pinned to one of other types", []Upstream{heavy}, "refinery", "heavy", "",
			`spec.upstream pins "heavy", which takes nodes of type "smelter" only, not "refinery"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := NewPlacement(test.upstreams)
			u, err := p.NewLayout(nil, nil, nil).Place("press/a", test.kind, test.pin, "", false)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if diff := cmp.Diff([]string{test.want, test.err}, []string{u.Name, message}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if check := p.Check(test.kind, test.pin); !cmp.Equal(fmt.Sprint(check), fmt.Sprint(err)) {
				t.Errorf("Check: %v", check)
			}
		})
	}
}
