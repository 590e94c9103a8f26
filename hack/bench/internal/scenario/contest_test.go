package scenario

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
)

// stage is where contenders do nothing but be recorded. What they measure is how many turns were taken before, by all of them.
type stage struct {
	calls []string
	turns int
	// fails is after which call of a contender it fails, such as "floor turn".
	fails map[string]error
	// takes is how long a turn takes, by a clock that nothing else moves.
	takes time.Duration
	clock time.Time
	after func() // is called after each turn
}

func (s *stage) call(name, what string) error {
	s.calls = append(s.calls, name+" "+what)
	return s.fails[name+" "+what]
}

// contest is one on the stage, with a goal that is undecided until there are enough repeats.
func (s *stage) contest(name string, share time.Duration, contenders ...string) *contest {
	c := &contest{
		Comparison: report.Comparison{
			Name: name, Metrics: []report.Metric{{Name: "rate"}, {Name: "system calls"}},
			Goals: []report.Goal{{Of: report.Value{Subject: contenders[0], Metric: "rate"}, AtLeast: true}},
		},
		contenders: contenders, rounds: 2, share: share,
	}
	c.start = func(_ context.Context, name string) (*contender, error) {
		if err := s.call(name, "start"); err != nil {
			return nil, err
		}
		return &contender{
			turn: func() ([]float64, error) {
				s.turns++
				s.clock = s.clock.Add(s.takes)
				if s.after != nil {
					s.after()
				}
				return []float64{float64(s.turns)}, s.call(name, "turn")
			},
			count: func() ([]float64, error) { return []float64{4}, s.call(name, "count") },
			close: func() error { return s.call(name, "close") },
		}, nil
	}
	return c
}

func (s *stage) bench(printed *[]string) *Bench {
	return &Bench{
		Now: func() time.Time { return s.clock },
		Printf: func(format string, arguments ...any) {
			if printed != nil {
				*printed = append(*printed, fmt.Sprintf(format, arguments...))
			}
		},
	}
}

func TestContendersTakeTurnsForthAndBack(t *testing.T) {
	var s stage
	c := s.contest("speed", 0, "refinery", "floor", "nats-server")
	for range 2 {
		if err := c.repeat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var turns []string
	for _, call := range s.calls {
		if name, is := strings.CutSuffix(call, " turn"); is {
			turns = append(turns, name)
		}
	}
	const first, second = "refinery floor nats-server nats-server floor refinery", "floor nats-server refinery refinery nats-server floor"
	if got := strings.Join(turns, " "); got != first+" "+second {
		t.Errorf("turns were of %s", got)
	}
	want := [][][]float64{{{1, 6}, {9, 10}}, {{4}, {4}}}
	if got := c.Row("refinery").Samples; !reflect.DeepEqual(got, want) {
		t.Errorf("of the refinery: %v, want %v", got, want)
	}
}

func TestAContenderThatFailsIsOutAndTheOthersGoOn(t *testing.T) {
	broken := errors.New("broken")
	for _, moment := range []string{"start", "turn", "count", "close"} {
		t.Run(moment, func(t *testing.T) {
			s := stage{fails: map[string]error{"nats-server " + moment: broken}}
			c := s.contest("speed", 0, "refinery", "nats-server")
			for range 3 {
				if err := c.repeat(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			row := c.Row("nats-server")
			if !strings.Contains(row.Failure, "broken") || row.Samples[0] != nil {
				t.Errorf("its row: %+v", row)
			}
			if own := c.Row("refinery"); own.Failure != "" || len(own.Samples[0]) != 3 || len(own.Samples[1]) != 3 {
				t.Errorf("the row of the other: %+v", own)
			}
			if c.over() {
				t.Error("the contest is over")
			}
			count := func(call string) (n int) {
				for _, made := range s.calls {
					if made == call {
						n++
					}
				}
				return n
			}
			if started := count("nats-server start"); started != 1 {
				t.Errorf("it was started %d times", started)
			}
			if closed := count("nats-server close"); (closed == 1) != (moment != "start") {
				t.Errorf("it was closed %d times", closed)
			}
		})
	}
}

func TestARunGoesOnAfterAContestInWhichEveryoneFailed(t *testing.T) {
	s := stage{fails: map[string]error{"alone start": errors.New("broken")}, takes: time.Second}
	var done []string
	err := s.bench(nil).run(t.Context(), []*contest{s.contest("failing", time.Minute, "alone"), s.contest("other", 2*time.Second, "refinery")},
		func(c report.Comparison) error {
			done = append(done, fmt.Sprint(c.Name, " ", len(c.Failed())))
			return nil
		})
	if want := []string{"failing 1", "other 0"}; err != nil || !slices.Equal(done, want) {
		t.Errorf("%v, done: %q, want %q", err, done, want)
	}
}

func TestARunThatIsInterruptedRecordsNoFailure(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	s := stage{fails: map[string]error{"floor turn": errors.New("killed")}, after: interrupt}
	c := s.contest("speed", time.Hour, "refinery", "floor")
	err := s.bench(nil).run(ctx, []*contest{c}, func(report.Comparison) error { return nil })
	if !errors.Is(err, context.Canceled) || len(c.Failed()) > 0 {
		t.Errorf("%v, failed: %v", err, c.Failed())
	}
	if s.calls[len(s.calls)-1] != "floor close" && s.calls[len(s.calls)-1] != "refinery close" {
		t.Errorf("something was left running: %q", s.calls)
	}
}

func TestARunStaysWithinItsBudgetAndGivesTheRestToWhatIsUndecided(t *testing.T) {
	// A repeat takes 10 s.
	for _, test := range []struct {
		name   string
		shares []time.Duration // of contests
		budget time.Duration
		quick  bool
		want   []int // repeats of each
	}{
		{"what the contests ask for", []time.Duration{60 * time.Second, 60 * time.Second}, 0, false, []int{6, 6}},
		// The shares are good for 5, 5 and 7.
		{"the rest is for the undecided", []time.Duration{60 * time.Second, 45 * time.Second, 80 * time.Second}, 195 * time.Second, false, []int{6, 6, 7}},
		{"a share for all", []time.Duration{60 * time.Second, 60 * time.Second}, 45 * time.Second, false, []int{2, 2}},
		{"too little time", []time.Duration{60 * time.Second, 60 * time.Second}, time.Second, false, []int{1, 1}},
		{"quick", []time.Duration{60 * time.Second, 60 * time.Second}, 0, true, []int{1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := stage{takes: 5 * time.Second}
			var printed []string
			b := s.bench(&printed)
			b.Budget, b.Quick = test.budget, test.quick
			var contests []*contest
			for i, share := range test.shares {
				contests = append(contests, s.contest(fmt.Sprint("contest ", i), share, "refinery"))
			}
			if err := b.run(t.Context(), contests, func(report.Comparison) error { return nil }); err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, c := range contests {
				got = append(got, c.Repeats())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("repeats: %v, want %v\n%s", got, test.want, strings.Join(printed, "\n"))
			}
		})
	}
}
