package outage

import (
	"fmt"
	"io"
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

// Table writes rows for people, and below them their notes.
func Table(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "scenario\tnodes\twithout a session\tnot ready\tsessions lost\twrites\tstatus true after")
	_, _ = fmt.Fprintln(t, "\t\tp50 / p99 / max\tp50 / p99 / max\t\tof one object\t")
	for _, r := range rows {
		_, _ = fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\t%d\t%s\n", r.Scenario, r.Nodes, r.Without, r.NotReady, r.Lost, r.Writes, short(r.True))
	}
	_ = t.Flush() // the next write has the same error
	for _, r := range rows {
		if _, err := fmt.Fprintf(w, "%s: %s\n", r.Scenario, strings.Join(r.Notes, "; ")); err != nil {
			return err
		}
	}
	return nil
}
