package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// introduction is how performance.md begins: what is compared, and how. analysis is how it ends: what the numbers say.
var (
	//go:embed introduction.md
	introduction string
	//go:embed analysis.md
	analysis string
)

// markdown is performance.md.
func (r Run) markdown() []byte {
	var b bytes.Buffer
	b.WriteString(introduction)
	b.WriteString("\n## The machine\n\n| | |\n|---|---|\n")
	m := r.Machine
	fmt.Fprintf(&b, "| processor | %d cores, %s |\n| memory | %d GiB; transparent huge pages: %s |\n| kernel | %s |\n| Go | %s |\n| open descriptors | %d a process |\n",
		m.Cores, m.CPU, m.MemoryGiB, m.TransparentHuge, m.Kernel, m.Go, m.Descriptors)
	for _, counted := range m.Counts {
		fmt.Fprintf(&b, "| %s | %s |\n", counted.What, counted.How)
	}
	if r.Took > 0 {
		fmt.Fprintf(&b, "| the whole benchmark | %s |\n", r.Took.Round(time.Second))
	}
	r.writeGoals(&b)
	for _, c := range r.Comparisons {
		c.write(&b)
	}
	b.WriteString("\n" + analysis)
	return b.Bytes()
}

// writeGoals writes every goal of every comparison, with a link to its numbers, and whether it is reached.
func (r Run) writeGoals(b *bytes.Buffer) {
	b.WriteString("\n## Goals\n\nEach is a ratio or a count: the median and its interval. A goal is reached when all of the interval is on its good side, missed when\n" +
		"all of it is on the other side, and undecided when the interval contains the bound, or rests on fewer than " + strconv.Itoa(leastRepeats) + " repeats.\n\n" +
		"| what | goal | measured | |\n|---|---|---|---|\n")
	for _, c := range r.Comparisons {
		for _, g := range c.Goals {
			verdict := c.verdict(g)
			if verdict == string(Missed) {
				verdict = "**missed**"
			}
			fmt.Fprintf(b, "| [%s](#%s): %s | %s | %s | %s |\n", c.Title, anchor(c.Title), g.cells(), g.bound(), c.measured(g), verdict)
		}
	}
}

// cells names what the goal divides.
func (g Goal) cells() string {
	what := fmt.Sprintf("%s of %s", g.Of.Metric, g.Of.Subject)
	switch {
	case g.To == (Value{}):
		return what
	case g.To.Subject == g.Of.Subject:
		return what + " ÷ " + g.To.Metric
	}
	return what + " ÷ " + g.To.Subject
}

// unlinked is what the link to a heading leaves out.
var unlinked = regexp.MustCompile(`[^-a-z0-9 ]`)

// anchor is what a heading is linked by.
func anchor(heading string) string {
	return strings.ReplaceAll(unlinked.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

func (g Goal) bound() string {
	sign := "≤"
	if g.AtLeast {
		sign = "≥"
	}
	return sign + " " + strconv.FormatFloat(g.Bound, 'f', -1, 64)
}

// write writes a comparison's section.
func (d Dated) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n![%s](performance/%s.svg)\n\n|", d.Title, d.Text, d.Title, d.Name)
	for _, m := range d.Metrics {
		fmt.Fprintf(b, " | %s", m.heading())
	}
	b.WriteString(" |\n|---" + strings.Repeat("|---:", len(d.Metrics)) + "|\n")
	for _, row := range d.Rows {
		fmt.Fprintf(b, "| %s", row.Subject)
		for i, m := range d.Metrics {
			fmt.Fprintf(b, " | %s", m.cell(row.Samples[i]))
		}
		b.WriteString(" |\n")
	}
	for _, row := range d.Failed() {
		fmt.Fprintf(b, "\n**%s failed**, so that nothing was measured of it: `%s`\n", row.Subject, strings.ReplaceAll(row.Failure, "`", "'"))
	}
	fmt.Fprintf(b, "\n%s, revision %s; repeats: %d.\n", d.Date, d.Revision, d.Repeats())
}

func (m Metric) heading() string { return strings.TrimSuffix(m.Name+", "+m.Unit, ", ") }

// cell is the median of the repeats and its interval.
func (m Metric) cell(repeats [][]float64) string {
	e, measured := estimateRepeats(repeats)
	return e.format(measured, m.figure)
}

// Format is a number with the metric's digits and its unit.
func (m Metric) Format(v float64) string { return m.figure(v) + " " + m.Unit }

// figure is a number with the metric's digits, its thousands apart.
func (m Metric) figure(v float64) string {
	text := strconv.FormatFloat(v, 'f', m.Digits, 64)
	whole, fraction, _ := strings.Cut(text, ".")
	digits := strings.TrimPrefix(whole, "-")
	sign := whole[:len(whole)-len(digits)]
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if fraction != "" {
		fraction = "." + fraction
	}
	return sign + digits + fraction
}
