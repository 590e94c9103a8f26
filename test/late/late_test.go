package late

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyOnALateMachineWhatFailedIsRunAgain(t *testing.T) {
	for name, test := range map[string]struct {
		lateness time.Duration
		failing  [][]string // of each run, the last one's from then on
		want     []string
		asked    []string
	}{
		"nothing fails":                   {time.Second, [][]string{nil}, nil, []string{""}},
		"a failure in time":               {time.Millisecond, [][]string{{"a"}}, []string{"a"}, []string{""}},
		"a failure that being late makes": {time.Second, [][]string{{"a.b", "c"}, {"c"}, nil}, nil, []string{"", `^(a\.b|c)$`, "^(c)$"}},
		"a failure each time":             {time.Second, [][]string{{"a"}}, []string{"a"}, []string{"", "^(a)$", "^(a)$", "^(a)$", "^(a)$", "^(a)$"}},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			check := func(only string) []string {
				asked = append(asked, only)
				return test.failing[min(len(asked), len(test.failing))-1]
			}
			got := again(t, check, func(during func()) time.Duration { during(); return test.lateness })
			if diff := cmp.Diff([][]string{test.want, test.asked}, [][]string{got, asked}); diff != "" {
				t.Errorf("what failed, and what was run (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTimersAreWatchedWhileSomethingRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got := worst(func() { time.Sleep(time.Second) }); got != 0 {
			t.Errorf("a fake clock is late by %v", got)
		}
	})
}
