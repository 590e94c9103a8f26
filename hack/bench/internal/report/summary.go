package report

import (
	"fmt"
	"io"
)

// Summarize prints the goals of a comparison, a line each.
func (c *Comparison) Summarize(w io.Writer) {
	if c.Drifted() {
		fmt.Fprintf(w, "%s: withheld: %s\n", c.Title, c.Withheld())
		return
	}
	for _, g := range c.Goals {
		ratio, measured := c.Ratio(g)
		verdict := "missed"
		switch {
		case !measured:
			verdict = "not measured"
		case c.Reached(g):
			verdict = "reached"
		}
		fmt.Fprintf(w, "%-13s %6.2f  goal %-6s  %s\n", verdict, ratio, g.bound(), c.Title+": "+g.cells())
	}
}
