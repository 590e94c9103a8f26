package conformance

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTimersAreWatchedWhileACaseRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := watchTimers()
		time.Sleep(time.Second)
		if late := stop(); late > 0 {
			t.Errorf("a fake clock is late by %v", late)
		}
	})
}

func TestAFailureOnALateMachineSaysSo(t *testing.T) {
	for late, says := range map[time.Duration]bool{0: false, time.Second: false, time.Second + time.Millisecond: true} {
		var r Result
		r.failed("the end", "nothing", late, time.Second)
		if got := strings.Contains(r.details(""), "late      1.00s"); r.Outcome != Fail || got != says || (r.Late > 0) != says {
			t.Errorf("late by %v where a second is tolerated: %+v, %s", late, r, r.details(""))
		}
	}
}

// What goes by a timer of the peer's tolerates less than what waits for an answer, and an end too early less than one too late.
func TestACaseTolerates(t *testing.T) {
	for name, test := range map[string]struct {
		steps []step
		ends  time.Duration // the peer, after so long
		want  time.Duration
	}{
		"no answer":                {[]step{expect(alive)}, time.Hour, time.Minute / 2},
		"an end that is overdue":   {[]step{overdue(time.Second)}, time.Hour, lateness / 2},
		"an end before it is due":  {[]step{overdue(time.Second)}, time.Second / 2, lateness / 5},
		"silence for some seconds": {[]step{rest(time.Second), quiet}, time.Second, lateness / 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kit, own, _ := newDuplex()
				time.AfterFunc(test.ends, func() { _ = own.Close() })
				x := newExchange(t.Context(), kit, master, time.Minute)
				defer x.close()
				x.begun = time.Now()
				if err := x.play(test.steps); err == nil || x.tolerance != test.want {
					t.Errorf("%v, tolerates %v, want %v", err, x.tolerance, test.want)
				}
			})
		})
	}
}
