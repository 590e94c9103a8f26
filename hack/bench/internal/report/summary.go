package report

import (
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Summarize prints the goals of a comparison and what failed, a line each.
func (c *Comparison) Summarize(w io.Writer) {
	for _, g := range c.Goals {
		fmt.Fprintf(w, "%-22s %-20s  goal %-6s  %s\n", c.verdict(g), c.measured(g), g.bound(), c.Title+": "+g.cells())
	}
	for _, r := range c.Failed() {
		fmt.Fprintf(w, "%-22s %s: %s: %s\n", "failed", c.Title, r.Subject, r.Failure)
	}
}

// verdict is the verdict on the goal, and that there are too few repeats if that is why there is none.
func (c *Comparison) verdict(g Goal) string {
	v := c.Judge(g)
	if v == Undecided && c.Repeats() < leastRepeats {
		return fmt.Sprintf("%s, repeats: %d", v, c.Repeats())
	}
	return string(v)
}

// measured is the estimate of what the goal bounds.
func (c *Comparison) measured(g Goal) string {
	e, measured := c.Estimate(g)
	return e.format(measured, func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) })
}

// format is the median, with the interval in parentheses if there is one to show.
func (e Estimate) format(measured bool, figure func(float64) string) string {
	if !measured {
		return "–"
	}
	middle, low, high := figure(e.Median), figure(e.Low), figure(e.High)
	if low == high {
		return middle
	}
	return fmt.Sprintf("%s (%s–%s)", middle, low, high)
}

// The ways in which comparisons are not what they should be.
var (
	ErrMissed = errors.New("not every goal is reached")
	ErrFailed = errors.New("not everything could be measured")
)

// Outcome returns ErrMissed, ErrFailed or both if comparisons have goals that are missed, or subjects that failed. That a goal is
// undecided is no error.
func Outcome(comparisons []Comparison) error {
	var missed, failed error
	for _, c := range comparisons {
		if c.Has(Missed) {
			missed = ErrMissed
		}
		if c.Has(NotMeasured) || len(c.Failed()) > 0 {
			failed = ErrFailed
		}
	}
	return errors.Join(missed, failed)
}
