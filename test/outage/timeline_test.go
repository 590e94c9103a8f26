package outage

import (
	"testing"
	"time"
)

func TestTheLongestTimeWithoutIsOfTheIntervalAskedFor(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(1000, 0).Add(time.Duration(seconds) * time.Second) }
	// In session from 0 to 10, from 14 to 20, anew at 16, and from 21 on.
	session := timeline{{at(0), true}, {at(10), false}, {at(14), true}, {at(16), true}, {at(20), false}, {at(21), true}}
	for _, test := range []struct {
		name     string
		timeline timeline
		from, to int
		want     time.Duration
		offs     int
	}{
		{"all of it", session, 1, 30, 4 * time.Second, 2},
		{"from within", session, 12, 30, 2 * time.Second, 1},
		{"to within", session, 1, 12, 2 * time.Second, 1},
		{"between the two", session, 15, 19, 0, 0},
		{"cut off at 15, until anew", session.cutOff(at(15)), 15, 19, time.Second, 0},
		{"cut off at 25, and never anew", session.cutOff(at(25)), 24, 30, 5 * time.Second, 1},
		{"cut off while it was off", session.cutOff(at(12)), 1, 19, 4 * time.Second, 1},
		{"nothing", nil, 0, 9, 9 * time.Second, 0},
	} {
		if got := test.timeline.longestOff(at(test.from), at(test.to)); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
		if got := test.timeline.offs(at(test.from), at(test.to)); got != test.offs {
			t.Errorf("%s: ended %d times, want %d", test.name, got, test.offs)
		}
	}
}
