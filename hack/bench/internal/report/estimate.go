package report

import (
	"math"
	"slices"
)

// confidence is how sure an interval has to be to judge a goal: in so many of 100 runs, as a part, it contains what it estimates.
const confidence = 0.95

// leastRepeats is how many values an interval of that confidence needs.
const leastRepeats = 6

// Estimate is the median of values, and an interval for the median of what they are a sample of.
type Estimate struct {
	Median, Low, High float64
	// Confidence is how probable it is that the interval contains that median, whatever the values' distribution.
	Confidence float64
}

// estimate returns the median of independent values, of which there is at least one, and the narrowest interval from one of the values
// to another, as many places from the lower end as from the upper, that has the confidence. With fewer than leastRepeats values it is
// the range of all of them, and its confidence is less.
//
// That k of n values or fewer lie below the median has the probability that k of n tosses of a coin or fewer show heads: so the interval
// from the value with k below it to the value with k above it misses the median with twice that probability (the sign test, inverted).
func estimate(values []float64) Estimate {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	outside := math.Pow(0.5, float64(n)) // the probability of no heads
	term, below := outside, 0
	for {
		term *= float64(n-below) / float64(below+1)
		if 1-2*(outside+term) < confidence || 2*(below+1) >= n {
			break
		}
		outside += term
		below++
	}
	return Estimate{Median: median(sorted), Low: sorted[below], High: sorted[n-1-below], Confidence: max(0, 1-2*outside)}
}

// median of values, of which there is at least one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Verdict is what an estimate says of a goal.
type Verdict string

// The verdicts.
const (
	Reached     Verdict = "reached"
	Missed      Verdict = "missed"
	Undecided   Verdict = "undecided" // the interval contains the bound, or rests on too few repeats
	NotMeasured Verdict = "not measured"
)

// good reports whether a value is on the good side.
func (g Goal) good(value float64) bool {
	if g.AtLeast {
		return value >= g.Bound
	}
	return value <= g.Bound
}
