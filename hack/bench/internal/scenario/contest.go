package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
)

// repeatLimit is when a repeat is given up: it takes half a minute at most on a quiet machine.
const repeatLimit = 3 * time.Minute

// contest is one comparison, and how its contenders are measured.
//
// In each repeat all contenders start afresh and then take short turns, one after the other: forth in one round, back in the next. So
// what the machine does meanwhile, from second to second or from minute to minute, befalls all of them alike, and the turns of one round
// are compared with each other.
type contest struct {
	report.Comparison
	contenders []string
	// rounds is how many turns each contender takes in a repeat.
	rounds int
	// share is how much time the contest is given in a full run. It is repeated as often as fits.
	share time.Duration
	start func(ctx context.Context, name string) (*contender, error)

	longest time.Duration // of the repeats so far
}

// contender is a subject that takes part in one repeat, and what was measured of it.
type contender struct {
	// turn measures once, and returns a value of each metric but those of count.
	turn func() ([]float64, error)
	// count, if there is one, counts what would disturb a turn, and returns a value of each of the last metrics.
	count func() ([]float64, error)
	// close, if there is one, ends the contender.
	close func() error

	name   string
	turns  [][]float64
	counts []float64
	err    error // why it takes no further part
}

// repeat measures every contender that has not failed before. One that fails now is out for good; the others go on. The only error is
// that of ctx.
func (c *contest) repeat(parent context.Context) error {
	ctx, cancel := context.WithTimeoutCause(parent, repeatLimit, fmt.Errorf("not done within %v", repeatLimit))
	defer cancel()
	contenders := c.startAll(ctx)
	for round := range c.rounds {
		for _, one := range contenders {
			one.do(ctx, func() error {
				values, err := one.turn()
				one.turns = append(one.turns, values)
				return err
			})
		}
		if round < c.rounds-1 {
			slices.Reverse(contenders)
		}
	}
	for _, one := range contenders {
		one.do(ctx, func() (err error) {
			if one.count != nil {
				one.counts, err = one.count()
			}
			return err
		})
	}
	for _, one := range contenders {
		one.end(nil)
	}
	if err := parent.Err(); err != nil {
		return err
	}
	for _, one := range contenders {
		if row := c.Row(one.name); one.err != nil {
			row.Fail(one.err)
		} else {
			row.Add(one.turns, one.counts)
		}
	}
	return nil
}

// startAll starts the contenders that have not failed. Each repeat begins with another one.
func (c *contest) startAll(ctx context.Context) []*contender {
	begin := c.Repeats() % len(c.contenders)
	var started []*contender
	for _, name := range slices.Concat(c.contenders[begin:], c.contenders[:begin]) {
		if c.Row(name).Failure != "" {
			continue
		}
		next, err := c.start(ctx, name)
		if err != nil {
			next = &contender{err: withCause(ctx, err)}
		}
		next.name = name
		started = append(started, next)
	}
	return started
}

// do does some work of the repeat, unless the contender has failed.
func (c *contender) do(ctx context.Context, work func() error) {
	if c.err != nil {
		return
	}
	if err := work(); err != nil {
		c.end(withCause(ctx, err))
	}
}

// end ends the contender, once, because of err if that is not nil.
func (c *contender) end(err error) {
	c.err = errors.Join(c.err, err)
	if c.close != nil {
		c.err = errors.Join(c.err, c.close())
		c.close = nil
	}
}

// withCause adds to err why ctx has ended, if it has: that explains err, as the processes of a contender end with it.
func withCause(ctx context.Context, err error) error { return errors.Join(context.Cause(ctx), err) }

// over reports whether all contenders have failed.
func (c *contest) over() bool { return len(c.Failed()) == len(c.contenders) }

// progress says what the last repeat measured, by the first metric.
func (c *contest) progress() string {
	var found []string
	for _, name := range c.contenders {
		switch row := c.Row(name); {
		case row.Failure != "":
			found = append(found, name+" failed: "+row.Failure)
		default:
			turns := row.Samples[0][len(row.Samples[0])-1]
			found = append(found, name+" "+c.Metrics[0].Format(turns[len(turns)-1]))
		}
	}
	return strings.Join(found, ", ")
}
