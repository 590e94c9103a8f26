package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// compare is a comparison of two subjects by one metric, of which the second is the floor.
func compare(own, floor []float64) Comparison {
	return Comparison{
		Name: "speed", Title: "Speed, plain", Text: "How fast it is.", Attempts: 1,
		Metrics: []Metric{{Name: "rate", Unit: "1/s"}},
		Rows:    []Row{{Subject: "refinery", Samples: [][]float64{own}}, {Subject: "floor", Samples: [][]float64{floor}}},
		Goals:   []Goal{{Of: Value{"refinery", "rate"}, To: Value{"floor", "rate"}, Bound: 0.9, AtLeast: true}},
		Steady:  Value{"floor", "rate"},
	}
}

func TestGoalsAreRatiosOfMedians(t *testing.T) {
	for _, test := range []struct {
		name       string
		own, floor []float64
		ratio      float64
		reached    bool
	}{
		{"odd", []float64{1, 90, 1000}, []float64{100, 95, 105}, 0.9, true},
		{"even", []float64{80, 90}, []float64{100, 100}, 0.85, false},
	} {
		c := compare(test.own, test.floor)
		if ratio, measured := c.Ratio(c.Goals[0]); !measured || ratio != test.ratio || c.Reached(c.Goals[0]) != test.reached {
			t.Errorf("%s: ratio %v, measured %v, reached %v", test.name, ratio, measured, c.Reached(c.Goals[0]))
		}
	}
	unmeasured := compare(nil, []float64{100})
	if _, measured := unmeasured.Ratio(unmeasured.Goals[0]); measured || unmeasured.Reached(unmeasured.Goals[0]) {
		t.Error("a goal is reached that was not measured")
	}
}

func TestNothingIsComparedWithAFloorThatDrifted(t *testing.T) {
	for _, test := range []struct {
		name    string
		floor   []float64
		drifted bool
	}{
		{"10 %", []float64{95, 100, 105}, false},
		{"more", []float64{95, 100, 105.1}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			directory := Directory(t.TempDir())
			c := compare([]float64{7654, 7654, 7654}, test.floor)
			run := Run{Machine: Machine{Cores: 2}, Comparisons: []Dated{{Comparison: c}}}
			if err := directory.Write(run); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(string(directory), "performance.md"))
			if err != nil {
				t.Fatal(err)
			}
			_, missing := os.Stat(filepath.Join(string(directory), "performance", "speed.svg"))
			if printed := strings.Contains(string(text), "7,654"); printed == test.drifted || (missing == nil) == test.drifted {
				t.Errorf("the numbers are printed: %v, plotted: %v", printed, missing == nil)
			}
			if withheld := strings.Contains(string(text), "**Withheld:** rate of floor drifted"); withheld != test.drifted {
				t.Errorf("the report says that they are withheld: %v", withheld)
			}
			again, err := directory.Load()
			if err != nil || again.Comparisons[0].Drift() != c.Drift() {
				t.Errorf("the samples were not kept: %v, %v", again, err)
			}
		})
	}
}

func TestAnotherMachineReplacesEverything(t *testing.T) {
	here, there := Machine{Cores: 2}, Machine{Cores: 4}
	first := Dated{Date: "1", Comparison: Comparison{Name: "first"}}
	second := Dated{Date: "2", Comparison: Comparison{Name: "second"}}
	newer := Dated{Date: "3", Comparison: Comparison{Name: "first"}}
	dates := func(r Run) (text string) {
		for _, c := range r.Comparisons {
			text += c.Date
		}
		return text
	}
	run := Run{}.Merge(here, []Dated{first, second})
	if got := dates(run.Merge(here, []Dated{newer})); got != "32" {
		t.Errorf("on the same machine: %s", got)
	}
	if got := dates(run.Merge(there, []Dated{newer})); got != "3" {
		t.Errorf("on another machine: %s", got)
	}
}

func TestFiguresShowTheirThousands(t *testing.T) {
	for _, test := range []struct {
		value  float64
		digits int
		want   string
	}{{0, 0, "0"}, {999.4, 0, "999"}, {1000, 1, "1,000.0"}, {1234567.89, 2, "1,234,567.89"}, {-1234, 0, "-1,234"}} {
		if got := (Metric{Digits: test.digits}).figure(test.value); got != test.want {
			t.Errorf("%v is shown as %s, want %s", test.value, got, test.want)
		}
	}
}
