// Package scenario has what is measured: a file for each scenario.
package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

// Bench is how scenarios are run.
type Bench struct {
	Repeats int
	// Quick runs with few sessions and short windows, to see that everything works: its numbers mean nothing.
	Quick       bool
	Credentials subject.Credentials
	// Root is the folder of the repository's root module.
	Root string
	// Profiles is a folder for profiles of the server processes; empty: none are taken.
	Profiles string
	// Printf tells how far the run is, a line each.
	Printf func(format string, arguments ...any)
}

// Scenario is something that is measured.
type Scenario struct {
	Name, What string
	Run        func(context.Context, *Bench) ([]report.Comparison, error)
}

// All is every scenario, in the order of the report.
func All() []Scenario {
	return []Scenario{
		{"codec", "encoding and decoding of messages, against copying them, encoding/json and redcon", runCodec},
		{"handshakes", "sessions opened and closed a second: plain, and mutual TLS with both curve settings", runHandshakes},
		{"memory", "resident memory for each idle session: plain, TLS and mutual TLS", runMemory},
		{"heartbeats", "heartbeats a second over 1,000 sessions: plain and mutual TLS", runHeartbeats},
		{"idle", "what 15,000 sessions cost that send a heartbeat every 10 s", runIdle},
		{"reconnect", "how soon 10,000 sessions are back after the master was killed", runReconnect},
	}
}

// Select returns the scenarios of the given names, all of them if there are none.
func Select(names []string) ([]Scenario, error) {
	all := All()
	if len(names) == 0 {
		return all, nil
	}
	var selected, known []Scenario = nil, all
	for _, name := range names {
		i := slices.IndexFunc(known, func(s Scenario) bool { return s.Name == name })
		if i < 0 {
			var have []string
			for _, s := range all {
				have = append(have, s.Name)
			}
			return nil, fmt.Errorf("no scenario is called %q: there are %s", name, strings.Join(have, ", "))
		}
		selected = append(selected, known[i])
	}
	return selected, nil
}

// sessions is how many sessions to open where a full run opens so many.
func (b *Bench) sessions(full int) int {
	if b.Quick {
		return min(full, 50)
	}
	return full
}

// window is how long to measure where a full run takes so long.
func (b *Bench) window(full time.Duration) time.Duration {
	if b.Quick {
		return min(full, 100*time.Millisecond)
	}
	return full
}

// attempts is how often a comparison is measured whose floor drifts.
const attempts = 2

// contest is one comparison: every contender is measured once in each repeat, and each repeat begins with another one.
type contest struct {
	report.Comparison
	contenders []string
	measure    func(ctx context.Context, contender string) ([]float64, error)
	// measureBoth, if there is one, measures the first two contenders side by side, in the order given, where the machine's
	// noise from one minute to the next would hide what is between them.
	measureBoth func(ctx context.Context, order [2]string) ([2][]float64, error)
}

// turns are what is measured one after the other in a repeat: contenders alone, or two of them.
func (c *contest) turns(repeat int) (turns [][]string) {
	rest := c.contenders
	if c.measureBoth != nil {
		first := slices.Clone(rest[:2])
		if repeat%2 == 1 {
			slices.Reverse(first)
		}
		turns, rest = append(turns, first), rest[2:]
	}
	for _, contender := range rest {
		turns = append(turns, []string{contender})
	}
	begin := repeat % len(turns)
	return append(turns[begin:], turns[:begin]...)
}

// take takes a turn, and returns what was measured of each.
func (c *contest) take(ctx context.Context, turn []string) ([][]float64, error) {
	if len(turn) == 2 {
		values, err := c.measureBoth(ctx, [2]string(turn))
		return values[:], err
	}
	values, err := c.measure(ctx, turn[0])
	return [][]float64{values}, err
}

// hold measures, again from the start if the floor drifted.
func (b *Bench) hold(ctx context.Context, c contest) (report.Comparison, error) {
	for {
		c.Attempts++
		c.Rows = nil
		for _, contender := range c.contenders {
			c.Row(contender)
		}
		for repeat := range b.Repeats {
			for _, turn := range c.turns(repeat) {
				began := time.Now()
				values, err := c.take(ctx, turn)
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					return c.Comparison, fmt.Errorf("%s, %s: %w", c.Name, strings.Join(turn, " and "), err)
				}
				for i, contender := range turn {
					c.Row(contender).Add(values[i])
					b.Printf("%-20s %d/%d  %-30s %14s   (%.1f s)", c.Name, repeat+1, b.Repeats, contender,
						c.Metrics[0].Format(values[i][0]), time.Since(began).Seconds())
				}
			}
		}
		if !c.Drifted() {
			return c.Comparison, nil
		}
		if c.Attempts == attempts || b.Quick {
			b.Printf("%-20s withheld: %s", c.Name, c.Withheld())
			return c.Comparison, nil
		}
		b.Printf("%-20s discarded, once more: %s", c.Name, c.Withheld())
	}
}

// holdAll holds several contests.
func (b *Bench) holdAll(ctx context.Context, contests []contest) ([]report.Comparison, error) {
	var done []report.Comparison
	for _, c := range contests {
		comparison, err := b.hold(ctx, c)
		if err != nil {
			return done, err
		}
		done = append(done, comparison)
	}
	return done, nil
}
