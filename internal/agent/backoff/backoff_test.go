package backoff

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/protocol"
)

func TestBackoffDoublesUpToTheLongest(t *testing.T) {
	for _, test := range []struct {
		longest time.Duration
		want    []string
	}{
		{DefaultMax, []string{"500ms", "1s", "2s", "4s", "8s", "16s", "30s", "30s", "30s", "30s"}},
		{100 * time.Millisecond, []string{"100ms", "100ms", "100ms", "100ms", "100ms", "100ms", "100ms", "100ms", "100ms", "100ms"}},
	} {
		s := &Schedule{Max: test.longest, Uniform: func(limit time.Duration) time.Duration { return limit }}
		var got []string
		for range 9 {
			got = append(got, s.Failed().String())
		}
		s.Failures = 1_000_000
		got = append(got, s.Failed().String())
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("waits of at most %v (-want +got):\n%s", test.longest, diff)
		}
	}
}

func TestASessionThatEndedInOrderIsMadeAgainAtOnce(t *testing.T) {
	s := &Schedule{Max: DefaultMax, Failures: 5, Uniform: func(limit time.Duration) time.Duration { return limit }}
	if got := s.Ended(true, protocol.ErrPeerClosed); got != 0 || s.Failures != 0 {
		t.Errorf("waits for %v after %d failures", got, s.Failures)
	}
}

func TestWhatWasNotReachedIsTriedSooner(t *testing.T) {
	for _, test := range []struct{ longest, want time.Duration }{{DefaultMax, UnreachedMax}, {time.Second, time.Second}} {
		s := &Schedule{Max: test.longest, Uniform: func(limit time.Duration) time.Duration { return limit }}
		var got time.Duration
		for range 100 {
			got = s.Unreached()
		}
		if got != test.want {
			t.Errorf("with a longest wait of %v: %v", test.longest, got)
		}
		if got := s.Failed(); got != Base {
			t.Errorf("what is refused then waits for %v", got)
		}
	}
}

func TestJitterIsFullAndComesAfterTheCap(t *testing.T) {
	r := New(DefaultMax)
	r.Failures = 100
	var low, high int
	for range 1000 {
		switch d := r.Failed(); {
		case d < 0 || d > DefaultMax:
			t.Fatalf("%v is outside [0, %v]", d, DefaultMax)
		case d < DefaultMax/10:
			low++
		case d > DefaultMax*9/10:
			high++
		}
	}
	if low < 50 || high < 50 { // 100 expected of each; fewer than 50 has a chance of 1 in 10 million
		t.Errorf("%d of 1000 in the lowest tenth, %d in the highest: not spread over all of it", low, high)
	}
}
