// Package report keeps what was measured and writes it for people: tables in Markdown, plots in SVG.
package report

import (
	"slices"
	"strconv"
	"strings"
)

// Metric is a column of a comparison.
type Metric struct {
	Name, Unit string
	Digits     int // behind the decimal point
}

// Row is what was measured of one subject.
type Row struct {
	Subject string
	// Samples are by metric, then by repeat, then by turn. The turns of one round have the same place in all rows.
	Samples [][][]float64
	// Failure says why nothing was measured; empty: something was.
	Failure string `json:",omitempty"`
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
	Text string
	// Floor is the subject that does the least that can be done; empty: there is none.
	Floor   string
	Metrics []Metric
	Rows    []Row
	Goals   []Goal
}

// Row returns the row of a subject, which it adds if there is none.
func (c *Comparison) Row(subject string) *Row {
	for i := range c.Rows {
		if c.Rows[i].Subject == subject {
			return &c.Rows[i]
		}
	}
	c.Rows = append(c.Rows, Row{Subject: subject, Samples: make([][][]float64, len(c.Metrics))})
	return &c.Rows[len(c.Rows)-1]
}

// Add adds one repeat: its turns, each with a value of each metric, in the order of the metrics. The last metrics are those that are
// measured once a repeat, and not in turns.
func (r *Row) Add(turns [][]float64, once []float64) {
	timed := len(r.Samples) - len(once)
	for metric := range r.Samples {
		var repeat []float64
		if metric < timed {
			for _, turn := range turns {
				repeat = append(repeat, round(turn[metric]))
			}
		} else {
			repeat = []float64{round(once[metric-timed])}
		}
		r.Samples[metric] = append(r.Samples[metric], repeat)
	}
}

// round leaves the five digits that mean something.
func round(value float64) float64 {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(value, 'g', 5, 64), 64) // It has just been formatted.
	return rounded
}

// Fail records that nothing can be measured of the subject. What was measured of it goes: half of it would compare with nothing.
func (r *Row) Fail(err error) {
	r.Failure = strings.Join(strings.Fields(err.Error()), " ") // on one line
	clear(r.Samples)
}

// Failed returns the rows that say why nothing was measured.
func (c *Comparison) Failed() []Row {
	return slices.DeleteFunc(slices.Clone(c.Rows), func(r Row) bool { return r.Failure == "" })
}

// Repeats is how often the comparison was measured.
func (c *Comparison) Repeats() int {
	repeats := 0
	for _, r := range c.Rows {
		for _, samples := range r.Samples {
			repeats = max(repeats, len(samples))
		}
	}
	return repeats
}

// samples of a cell, by repeat, then by turn; none if it was not measured.
func (c *Comparison) samples(v Value) [][]float64 {
	column := slices.IndexFunc(c.Metrics, func(m Metric) bool { return m.Name == v.Metric })
	for _, r := range c.Rows {
		if r.Subject == v.Subject && column >= 0 {
			return r.Samples[column]
		}
	}
	return nil
}

// estimateRepeats is estimate of the medians of repeats; false if there are none.
func estimateRepeats(repeats [][]float64) (Estimate, bool) {
	if len(repeats) == 0 {
		return Estimate{}, false
	}
	medians := make([]float64, len(repeats))
	for i, turns := range repeats {
		medians[i] = median(turns)
	}
	return estimate(medians), true
}

// Estimate is what the goal bounds; false if it was not measured. A ratio is taken turn by turn, of two turns that stood beside each
// other; the ratio of a repeat is the median of those. Repeats are independent of each other, as each starts fresh processes, and turns
// of one repeat are not: so the interval is over repeats.
func (c *Comparison) Estimate(g Goal) (Estimate, bool) {
	of := c.samples(g.Of)
	if g.To == (Value{}) {
		return estimateRepeats(of)
	}
	to := c.samples(g.To)
	if len(of) != len(to) {
		return Estimate{}, false
	}
	ratios := make([][]float64, len(of))
	for repeat := range of {
		if len(of[repeat]) != len(to[repeat]) || slices.Contains(to[repeat], 0) {
			return Estimate{}, false
		}
		for turn := range of[repeat] {
			ratios[repeat] = append(ratios[repeat], of[repeat][turn]/to[repeat][turn])
		}
	}
	return estimateRepeats(ratios)
}

// Judge says whether the goal is reached: whether all of what was estimated is on the good side of its bound, or none of it.
func (c *Comparison) Judge(g Goal) Verdict {
	e, measured := c.Estimate(g)
	low, high := g.good(e.Low), g.good(e.High)
	switch {
	case !measured:
		return NotMeasured
	case e.Confidence < confidence || low != high:
		return Undecided
	case low:
		return Reached
	}
	return Missed
}

// Has reports whether a goal of the comparison has the verdict.
func (c *Comparison) Has(v Verdict) bool {
	return slices.ContainsFunc(c.Goals, func(g Goal) bool { return c.Judge(g) == v })
}
