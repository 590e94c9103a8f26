package backoff

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBackoffDoublesUpToTheCap(t *testing.T) {
	var got []string
	for failures := 1; failures <= 9; failures++ {
		got = append(got, Ceiling(failures).String())
	}
	got = append(got, Ceiling(1_000_000).String())
	want := []string{"500ms", "1s", "2s", "4s", "8s", "16s", "30s", "30s", "30s", "30s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ceiling (-want +got):\n%s", diff)
	}
}

func TestJitterIsFullAndComesAfterTheCap(t *testing.T) {
	r := New()
	r.Failures = 100
	var low, high int
	for range 1000 {
		switch d := r.Failed(); {
		case d < 0 || d > Cap:
			t.Fatalf("%v is outside [0, %v]", d, Cap)
		case d < Cap/10:
			low++
		case d > Cap*9/10:
			high++
		}
	}
	if low < 50 || high < 50 { // 100 expected of each; fewer than 50 has a chance of 1 in 10 million
		t.Errorf("%d of 1000 in the lowest tenth, %d in the highest: not spread over all of it", low, high)
	}
}
