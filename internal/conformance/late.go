package conformance

import "time"

const (
	// lookInterval is how often it is looked how late timers come.
	lookInterval = 20 * time.Millisecond
	// timerTolerance is the tolerance of a case that goes by a timer of the peer's: that and the kit's own may each be late by half.
	timerTolerance = lateness / 2
)

// watchTimers returns a function that ends the watch and returns by how much a timer of this process came late meanwhile, at worst.
func watchTimers() (stop func() time.Duration) {
	over, measured := make(chan struct{}), make(chan time.Duration)
	go func() {
		var worst time.Duration
		for {
			due := time.Now().Add(lookInterval)
			select {
			case <-over:
				measured <- max(worst, time.Since(due))
				return
			case <-time.After(lookInterval):
				worst = max(worst, time.Since(due))
			}
		}
	}()
	return func() time.Duration { close(over); return <-measured }
}

// failed makes c a case that failed, on a machine that was late by so much, where the case tolerates so much.
func (c *Result) failed(expected, came string, late, tolerated time.Duration) {
	c.Outcome, c.Expected, c.Came = Fail, expected, came
	if late > tolerated {
		c.Late = late.Seconds()
	}
}
