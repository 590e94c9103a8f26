package outage

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Row is what the nodes noticed in a scenario.
type Row struct {
	Scenario string
	Nodes    int
	// Without is the longest time that each node was without an authenticated session, and NotReady without readiness.
	Without, NotReady Spread
	// Lost sessions of all nodes.
	Lost int
	// Writes are the most to one object, of those that the scenario itself does not write to.
	Writes int
	// True is how long after the end of the outage status was true, and stayed so.
	True time.Duration
	// Missed are the goals that were not reached, and by how much.
	Missed []string
	// Notes are what the scenario measured besides.
	Notes []string
}

// Spread is of durations of many nodes.
type Spread struct{ P50, P99, Max time.Duration }

func spread(all []time.Duration) Spread {
	if len(all) == 0 {
		return Spread{}
	}
	slices.Sort(all)
	at := func(p int) time.Duration { return all[(len(all)*p+99)/100-1] }
	return Spread{at(50), at(99), all[len(all)-1]}
}

func (s Spread) String() string {
	return fmt.Sprintf("%s / %s / %s", short(s.P50), short(s.P99), short(s.Max))
}

func short(d time.Duration) string {
	if d == never {
		return "never"
	}
	if d < 10*time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

func (r Row) goals() string {
	if len(r.Missed) > 0 {
		return "missed"
	}
	return "reached"
}

// Table shows rows to people, and below them their notes and what was missed.
func Table(rows []Row) string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "scenario\tnodes\twithout a session\tnot ready\tsessions lost\twrites\tstatus true after\tgoals")
	_, _ = fmt.Fprintln(t, "\t\tp50 / p99 / max\tp50 / p99 / max\t\tof one object\t\t")
	for _, r := range rows {
		_, _ = fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\t%d\t%s\t%s\n", r.Scenario, r.Nodes, r.Without, r.NotReady, r.Lost, r.Writes, short(r.True), r.goals())
	}
	_ = t.Flush() // memory takes it
	for _, r := range rows {
		fmt.Fprintf(&b, "%s: %s\n", r.Scenario, strings.Join(r.Notes, "; "))
		for _, missed := range r.Missed {
			fmt.Fprintf(&b, "  missed: %s\n", missed)
		}
	}
	return b.String()
}
