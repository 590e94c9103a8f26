// Package report keeps what was measured and writes it for people: tables in Markdown, plots in SVG.
package report

import (
	"fmt"
	"slices"
)

// maxDrift is by how much the floor may differ between repeats, as a part of its median. Where it differs by more the machine was not
// quiet, and no comparison is printed.
const maxDrift = 0.10

// Metric is a column of a comparison.
type Metric struct {
	Name, Unit string
	Digits     int // behind the decimal point
}

// Row is what was measured of one subject.
type Row struct {
	Subject string
	// Samples are by metric, then by repeat. A metric that the subject does not have has none.
	Samples [][]float64
}

// Value names one cell of a comparison.
type Value struct{ Subject, Metric string }

// Goal says what the ratio of two cells, or a cell by itself if To is empty, is to reach.
type Goal struct {
	Of, To  Value
	Bound   float64
	AtLeast bool
}

// Comparison is what was measured in one run: only within it do numbers compare. The first metric is the one that is plotted.
type Comparison struct {
	Name, Title string
	// Text says what is compared, and how.
	Text    string
	Metrics []Metric
	Rows    []Row
	Goals   []Goal
	// Steady must not drift.
	Steady Value
	// Attempts is how often it was measured: again if the floor drifted.
	Attempts int
}

// Row returns the row of a subject, which it adds if there is none.
func (c *Comparison) Row(subject string) *Row {
	for i := range c.Rows {
		if c.Rows[i].Subject == subject {
			return &c.Rows[i]
		}
	}
	c.Rows = append(c.Rows, Row{Subject: subject, Samples: make([][]float64, len(c.Metrics))})
	return &c.Rows[len(c.Rows)-1]
}

// Add adds one sample of each metric, in their order.
func (r *Row) Add(values []float64) {
	for i, v := range values {
		r.Samples[i] = append(r.Samples[i], v)
	}
}

// samples of a cell; none if it was not measured.
func (c *Comparison) samples(v Value) []float64 {
	column := slices.IndexFunc(c.Metrics, func(m Metric) bool { return m.Name == v.Metric })
	for _, r := range c.Rows {
		if r.Subject == v.Subject && column >= 0 {
			return r.Samples[column]
		}
	}
	return nil
}

// median of a cell; false if it was not measured.
func (c *Comparison) median(v Value) (float64, bool) {
	samples := c.samples(v)
	if len(samples) == 0 {
		return 0, false
	}
	return median(samples), true
}

func median(samples []float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Drift is how far the repeats of the floor are apart, as a part of their median.
func (c *Comparison) Drift() float64 {
	samples := c.samples(c.Steady)
	if len(samples) == 0 {
		return 0
	}
	middle := median(samples)
	if middle == 0 {
		return 0
	}
	return (slices.Max(samples) - slices.Min(samples)) / middle
}

// Drifted reports whether the floor was so unsteady that nothing can be compared with it.
func (c *Comparison) Drifted() bool { return c.Drift() > maxDrift }

// Withheld says why the comparison is not printed.
func (c *Comparison) Withheld() string {
	return fmt.Sprintf("%s of %s drifted by %.0f %% between the repeats, more than %.0f %%: run again on a quieter machine",
		c.Steady.Metric, c.Steady.Subject, 100*c.Drift(), 100*maxDrift)
}

// Ratio is what the goal bounds; false if it was not measured.
func (c *Comparison) Ratio(g Goal) (float64, bool) {
	of, measured := c.median(g.Of)
	if !measured || g.To == (Value{}) {
		return of, measured
	}
	to, measured := c.median(g.To)
	if !measured || to == 0 {
		return 0, false
	}
	return of / to, true
}

// Reached reports whether the goal is.
func (c *Comparison) Reached(g Goal) bool {
	ratio, measured := c.Ratio(g)
	if g.AtLeast {
		return measured && ratio >= g.Bound
	}
	return measured && ratio <= g.Bound
}
