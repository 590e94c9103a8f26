package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
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

// writeGoals writes every goal of every comparison, and whether it is reached.
func (r Run) writeGoals(b *bytes.Buffer) {
	b.WriteString("\n## Goals\n\nEach is a ratio of two medians of one run, or a count.\n\n| what | goal | measured | |\n|---|---|---|---|\n")
	for _, c := range r.Comparisons {
		for _, g := range c.Goals {
			if c.Drifted() {
				fmt.Fprintf(b, "| %s | %s | withheld | |\n", c.describe(g), g.bound())
				continue
			}
			ratio, measured := c.Ratio(g)
			figure, verdict := "not measured", ""
			if measured {
				figure, verdict = strconv.FormatFloat(ratio, 'f', 2, 64), "**missed**"
				if c.Reached(g) {
					verdict = "reached"
				}
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s |\n", c.describe(g), g.bound(), figure, verdict)
		}
	}
}

// describe says what the goal is about, with a link to the numbers.
func (c *Comparison) describe(g Goal) string {
	return fmt.Sprintf("[%s](#%s): %s", c.Title, anchor(c.Title), g.cells())
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

// anchor is what a heading is linked by.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return -1
	}, strings.ToLower(heading))
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
	fmt.Fprintf(b, "\n## %s\n\n%s\n", d.Title, d.Text)
	if d.Drifted() {
		fmt.Fprintf(b, "\n**Withheld:** %s.\n", d.Withheld())
		return
	}
	fmt.Fprintf(b, "\n![%s](performance/%s.svg)\n\n|", d.Title, d.Name)
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
	fmt.Fprintf(b, "\n%s, revision %s; %s differed by %.1f %% between repeats", d.Date, d.Revision, d.Steady.Subject, 100*d.Drift())
	if d.Attempts > 1 {
		b.WriteString(", the second time: the first was discarded, as it had drifted")
	}
	b.WriteString(".\n")
}

func (m Metric) heading() string {
	if m.Unit == "" {
		return m.Name
	}
	return m.Name + ", " + m.Unit
}

// cell is the median, with the range in parentheses if there is one to show.
func (m Metric) cell(samples []float64) string {
	if len(samples) == 0 {
		return "–"
	}
	middle, low, high := m.figure(median(samples)), m.figure(slices.Min(samples)), m.figure(slices.Max(samples))
	if low == high {
		return middle
	}
	return fmt.Sprintf("%s (%s–%s)", middle, low, high)
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
