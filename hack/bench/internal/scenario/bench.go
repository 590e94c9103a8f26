// Package scenario has what is measured: a file for each scenario.
package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/process"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/report"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

// Bench is how scenarios are run.
type Bench struct {
	// Quick runs with few sessions and short windows, to see that everything works: its numbers mean nothing.
	Quick bool
	// Budget is how long all of it may take; 0: as long as the scenarios ask for.
	Budget      time.Duration
	Credentials subject.Credentials
	// Counted are the events that this machine counts.
	Counted []process.Event
	// Root is the folder of the repository's root module, Scratch an empty folder for what is built.
	Root, Scratch string
	// Profiles is a folder for profiles of the server processes; empty: none are taken.
	Profiles string
	// Printf reports the progress, a line each.
	Printf func(format string, arguments ...any)
	// Now is the clock that the budget is kept by.
	Now func() time.Time
}

// Scenario is something that is measured, in one or more contests.
type Scenario struct {
	Name, What string
	contests   func(*Bench) []*contest
}

// All is every scenario, in the order of the report.
func All() []Scenario {
	return []Scenario{
		{"codec", "encoding and decoding of messages, against copying them, encoding/json and redcon", codecContests},
		{"handshakes", "sessions opened and closed a second: plain, and mutual TLS with both curve settings", handshakeContests},
		{"memory", "resident memory for each idle session: plain, TLS and mutual TLS", memoryContests},
		{"heartbeats", "heartbeats a second over 1,000 sessions: plain and mutual TLS", heartbeatContests},
		{"idle", "what 15,000 sessions cost that send a heartbeat every 10 s", idleContests},
		{"reconnect", "how soon 10,000 sessions are back after the master was killed", reconnectContests},
	}
}

// Select returns the scenarios of the given names, which stand between commas; all of them if there are none.
func Select(names string) ([]Scenario, error) {
	all := All()
	if names == "" {
		return all, nil
	}
	var selected []Scenario
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
		if i < 0 {
			var have []string
			for _, s := range all {
				have = append(have, s.Name)
			}
			return nil, fmt.Errorf("%q is not a scenario: choose from %s", name, strings.Join(have, ", "))
		}
		selected = append(selected, all[i])
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
		return min(full, 10*time.Millisecond)
	}
	return full
}

// contenders are those that are measured in a setting: mochi-mqtt where nothing is encrypted.
func contenders(s subject.Setting) []string {
	all := []string{subject.Refinery, subject.Floor, subject.NATS, subject.Mochi}
	if s.Transport != subject.Plaintext {
		return all[:3]
	}
	return all
}

// countMetrics are the columns for what is counted and not timed. contender.count returns their values.
func (b *Bench) countMetrics() []report.Metric {
	var metrics []report.Metric
	for _, e := range b.Counted {
		metrics = append(metrics, report.Metric{Name: string(e), Unit: "each", Digits: 2})
	}
	return append(metrics, report.Metric{Name: "allocations", Unit: "each", Digits: 2}, report.Metric{Name: "allocated", Unit: "bytes each"})
}
