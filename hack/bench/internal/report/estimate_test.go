package report

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The confidences are 1 - 2 P(X < low), where X is binomial with as many tosses of a coin as there are values.
func TestTheIntervalIsThatOfTheSignTest(t *testing.T) {
	for _, test := range []struct {
		values     int
		low, high  float64 // of the values 1, 2, 3 ...
		confidence float64
	}{
		{1, 1, 1, 0}, {2, 1, 2, 0.5}, {5, 1, 5, 0.9375}, {6, 1, 6, 0.96875}, {8, 1, 8, 0.9921875}, {9, 2, 8, 0.9609}, {12, 3, 10, 0.9614},
		{20, 6, 15, 0.9586}, {25, 8, 18, 0.9567},
	} {
		values := make([]float64, test.values)
		for i, v := range rand.Perm(test.values) {
			values[i] = float64(v + 1)
		}
		got := estimate(values)
		if got.Low != test.low || got.High != test.high || got.Median != float64(test.values+1)/2 || math.Abs(got.Confidence-test.confidence) > 0.0001 {
			t.Errorf("%d values: %+v, want %+v", test.values, got, test)
		}
	}
	if e := estimate(make([]float64, leastRepeats-1)); e.Confidence >= confidence {
		t.Errorf("%d values have a confidence of %v", leastRepeats-1, e.Confidence)
	}
}

// From values with a median that is known, the intervals of many samples contain it as often as they say.
func TestTheIntervalContainsTheMedianAsOftenAsItSays(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const samples, size = 20_000, 9
	var contained int
	var confidence float64
	for range samples {
		values := make([]float64, size)
		for i := range values {
			values[i] = random.ExpFloat64() // far from symmetric; its median is ln 2
		}
		e := estimate(values)
		confidence = e.Confidence
		if e.Low <= math.Ln2 && math.Ln2 <= e.High {
			contained++
		}
	}
	if part := float64(contained) / samples; math.Abs(part-confidence) > 0.01 {
		t.Errorf("%.3f of the intervals contain the median, want %.3f", part, confidence)
	}
}
