package scenario

import (
	"context"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
)

// redone is how much time there is for what remains undecided, as a part of the time of all contests.
const redone = 1.0 / 12

// Run measures scenarios within the budget, and calls done with each comparison, and again with each that was measured further. Its only
// errors are that of ctx and those of done.
//
// Each contest is repeated as often as fits into its share of the time. Then those that have undecided goals are repeated further, each for
// the same part of the time that is left. All of that part is used: a measurement that stops as soon as it likes the outcome would favor
// that outcome.
func (b *Bench) Run(ctx context.Context, scenarios []Scenario, done func(report.Comparison) error) error {
	var contests []*contest
	for _, s := range scenarios {
		contests = append(contests, s.contests(b)...)
	}
	return b.run(ctx, contests, done)
}

func (b *Bench) run(ctx context.Context, contests []*contest, done func(report.Comparison) error) error {
	var shares time.Duration
	for _, c := range contests {
		shares += c.share
	}
	asked := time.Duration(float64(shares) * (1 + redone))
	budget := b.Budget
	switch {
	case b.Quick:
		budget = 0
	case budget == 0:
		budget = asked
	}
	begun := b.Now()
	end := begun.Add(budget)
	if !b.Quick {
		b.Printf("%d comparisons, at most %v in all", len(contests), budget.Round(time.Second))
	}
	var until time.Duration
	for _, c := range contests {
		until += time.Duration(float64(c.share) * float64(budget) / float64(asked))
		if err := b.fill(ctx, c, begun.Add(until), end, done); err != nil {
			return err
		}
	}
	var undecided []*contest
	for _, c := range contests {
		if c.Has(report.Undecided) {
			undecided = append(undecided, c)
		}
	}
	for i, c := range undecided {
		now := b.Now()
		part := end.Sub(now) / time.Duration(len(undecided)-i)
		if c.longest > part {
			continue
		}
		b.Printf("%s: undecided, measured further", c.Name)
		if err := b.fill(ctx, c, now.Add(part), end, done); err != nil {
			return err
		}
	}
	return nil
}

// fill repeats a contest until its time is used up, but at least once in all. end is when the whole run ends.
func (b *Bench) fill(ctx context.Context, c *contest, until, end time.Time, done func(report.Comparison) error) error {
	for _, name := range c.contenders {
		c.Row(name)
	}
	for !c.over() {
		began := b.Now()
		if c.Repeats() > 0 && began.Add(c.longest).After(until) {
			break
		}
		if err := c.repeat(ctx); err != nil {
			return err
		}
		took := b.Now().Sub(began)
		c.longest = max(c.longest, took)
		b.Printf("%-22s %2d (%.1f s; %v left)  %s", c.Name, c.Repeats(), took.Seconds(), max(0, end.Sub(b.Now())).Round(time.Second), c.progress())
	}
	return done(c.Comparison)
}
