package report

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// compare is a comparison of two subjects by one metric, by repeat and turn.
func compare(own, floor [][]float64) Comparison {
	return Comparison{
		Name: "speed", Title: "Speed, plain", Text: "How fast it is.", Floor: "floor",
		Metrics: []Metric{{Name: "rate", Unit: "1/s"}},
		Rows:    []Row{{Subject: "refinery", Samples: [][][]float64{own}}, {Subject: "floor", Samples: [][][]float64{floor}}},
		Goals:   []Goal{{Of: Value{"refinery", "rate"}, To: Value{"floor", "rate"}, Bound: 0.9, AtLeast: true}},
	}
}

// times is so many repeats of the same turns.
func times(n int, turns ...float64) [][]float64 {
	return slices.Repeat([][]float64{turns}, n)
}

// The machine gets three times as fast from one turn to the next, and from one repeat to the next: the pairs do not notice.
func TestRatiosAreTakenPairByPair(t *testing.T) {
	c := compare(
		[][]float64{{95, 285, 880}, {285, 855, 10}, {900, 10, 2700}, {9, 95, 95}, {95, 95, 95}, {95, 95, 95}},
		[][]float64{{100, 300, 800}, {300, 900, 20}, {1000, 20, 3000}, {100, 100, 100}, {100, 100, 100}, {100, 100, 100}},
	)
	got, measured := c.Estimate(c.Goals[0])
	want := Estimate{Median: 0.95, Low: 0.9, High: 0.95, Confidence: 1 - 2.0/64}
	if !measured || got != want {
		t.Errorf("%+v, measured %v, want %+v", got, measured, want)
	}
	if verdict := c.Judge(c.Goals[0]); verdict != Reached {
		t.Error(verdict)
	}
}

func TestAGoalOfOneCellIsItsMedian(t *testing.T) {
	c := compare(times(6, 1, 3, 1), times(6, 1))
	g := Goal{Of: Value{"refinery", "rate"}, Bound: 1}
	if e, measured := c.Estimate(g); !measured || e.Median != 1 || c.Judge(g) != Reached {
		t.Errorf("%+v, %v, %s", e, measured, c.Judge(g))
	}
}

func TestWhatHasNoPairsIsNotMeasured(t *testing.T) {
	for name, c := range map[string]Comparison{
		"nothing of one":       compare(nil, times(6, 100)),
		"nothing of either":    compare(nil, nil),
		"fewer repeats of one": compare(times(5, 100), times(6, 100)),
		"fewer turns of one":   compare(times(6, 100), times(6, 100, 100)),
		"a ratio to nothing":   compare(times(6, 100), times(6, 0)),
	} {
		if verdict := c.Judge(c.Goals[0]); verdict != NotMeasured {
			t.Errorf("%s: %s", name, verdict)
		}
	}
}

func TestAGoalIsJudgedByItsInterval(t *testing.T) {
	for _, test := range []struct {
		name    string
		ratios  []float64
		atLeast bool
		want    Verdict
	}{
		{"all of it above", []float64{91, 92, 93, 94, 95, 96}, true, Reached},
		{"all of it above, at most", []float64{91, 92, 93, 94, 95, 96}, false, Missed},
		{"all of it below", []float64{89, 80, 81, 82, 83, 84}, true, Missed},
		{"all of it below, at most", []float64{89, 80, 81, 82, 83, 84}, false, Reached},
		{"on the bound", []float64{90, 90, 90, 90, 90, 90}, true, Reached},
		{"on the bound, at most", []float64{90, 90, 90, 90, 90, 90}, false, Reached},
		{"around the bound", []float64{89, 91, 92, 93, 94, 95}, true, Undecided},
		{"around the bound, at most", []float64{91, 89, 80, 81, 82, 83}, false, Undecided},
		{"too few repeats", []float64{95, 95, 95, 95, 95}, true, Undecided},
		{"one of nine is an outlier", []float64{10, 91, 92, 93, 94, 95, 96, 97, 98}, true, Reached},
		{"two of nine are outliers", []float64{10, 10, 92, 93, 94, 95, 96, 97, 98}, true, Undecided},
	} {
		var own [][]float64
		for _, r := range test.ratios {
			own = append(own, []float64{r})
		}
		c := compare(own, times(len(own), 100))
		c.Goals[0].AtLeast = test.atLeast
		if got := c.Judge(c.Goals[0]); got != test.want || !c.Has(test.want) {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestOnlyWhatIsMissedOrFailedIsAnError(t *testing.T) {
	reached, missed, undecided := compare(times(6, 95), times(6, 100)), compare(times(6, 80), times(6, 100)), compare(times(5, 95), times(5, 100))
	failed := compare(times(6, 95), times(6, 100))
	failed.Row("nats-server").Fail(errors.New("no answer"))
	unmeasured := compare(nil, times(6, 100))
	for _, test := range []struct {
		name           string
		comparisons    []Comparison
		missed, failed bool
	}{
		{"reached and undecided", []Comparison{reached, undecided}, false, false},
		{"missed", []Comparison{reached, missed}, true, false},
		{"failed", []Comparison{failed, reached}, false, true},
		{"a goal of what was not measured", []Comparison{unmeasured}, false, true},
		{"both", []Comparison{failed, missed}, true, true},
	} {
		err := Outcome(test.comparisons)
		if errors.Is(err, ErrMissed) != test.missed || errors.Is(err, ErrFailed) != test.failed || (err == nil) == (test.missed || test.failed) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestARepeatHasTurnsAndWhatIsMeasuredOnce(t *testing.T) {
	c := Comparison{Metrics: []Metric{{Name: "rate"}, {Name: "CPU"}, {Name: "system calls"}}}
	c.Row("refinery").Add([][]float64{{1, 2.000001}, {3, 4}}, []float64{9})
	c.Row("refinery").Add([][]float64{{5, 123456}, {7, 8}}, []float64{9})
	want := [][][]float64{{{1, 3}, {5, 7}}, {{2, 4}, {123460, 8}}, {{9}, {9}}}
	if got := c.Rows[0].Samples; !reflect.DeepEqual(got, want) || c.Repeats() != 2 {
		t.Errorf("%v, %d repeats, want %v", got, c.Repeats(), want)
	}
	if c.Row("refinery").Fail(errors.New("broken")); c.Repeats() != 0 {
		t.Errorf("after a failure: %v", c.Rows[0].Samples)
	}
}

// written is performance.md and results.json of a run, which is what it was when it is read again.
func written(t *testing.T, run Run) (page, samples string) {
	t.Helper()
	directory := Directory(t.TempDir())
	if err := directory.Write(run); err != nil {
		t.Fatal(err)
	}
	if again, err := directory.Load(); err != nil || !reflect.DeepEqual(again, run) {
		t.Errorf("%v: read %+v, wrote %+v", err, again, run)
	}
	text, err := os.ReadFile(filepath.Join(string(directory), "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	numbers, err := os.ReadFile(directory.samples())
	if err != nil {
		t.Fatal(err)
	}
	return string(text), string(numbers)
}

func TestThePageShowsIntervalsVerdictsAndFailures(t *testing.T) {
	c := compare([][]float64{{9500}, {9600}, {9700}, {9800}, {9900}, {9950}}, times(6, 10000))
	c.Row("nats-server").Fail(errors.New("dial tcp:\ni/o timeout"))
	c.Goals = append(c.Goals, Goal{Of: Value{"refinery", "rate"}, To: Value{"nats-server", "rate"}, Bound: 1, AtLeast: true})
	machine := Machine{Cores: 2, Counts: []Count{{"instructions", "not counted on this machine"}}}
	text, samples := written(t, Run{Machine: machine, Comparisons: []Dated{{Date: "2026-01-02", Revision: "abc", Comparison: c}}})
	for _, part := range []string{
		"| instructions | not counted on this machine |\n",
		"rate of refinery ÷ floor | ≥ 0.9 | 0.97 (0.95–0.99) | reached |\n",
		"rate of refinery ÷ nats-server | ≥ 1 | – | not measured |\n",
		"| refinery | 9,750 (9,500–9,950) |\n| floor | 10,000 |\n| nats-server | – |\n",
		"\n**nats-server failed**, so that nothing was measured of it: `dial tcp: i/o timeout`\n",
		"\n2026-01-02, revision abc; repeats: 6.\n",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("performance.md does not contain %q:\n%s", part, text)
		}
	}
	if !strings.Contains(samples, "[9500],\n") {
		t.Errorf("a repeat is not on one line:\n%s", samples)
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
	run := Run{}.Merge(here, first).Merge(here, second)
	if got := dates(run.Merge(here, newer)); got != "32" {
		t.Errorf("on the same machine: %s", got)
	}
	if got := dates(run.Merge(there, newer)); got != "3" {
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
