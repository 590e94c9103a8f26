package report

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

// Sizes of a plot, in pixels.
const (
	plotWidth  = 760
	labelWidth = 250
	valueWidth = 150
	barHeight  = 22
	barGap     = 10
	plotTop    = 44
)

// Colors of the bars, which read on light and on dark ground: one's own, the floor, everyone else.
const (
	colorOwn   = "#2f81f7"
	colorFloor = "#8b949e"
	colorPeer  = "#d29922"
	colorText  = "#7d8590"
)

// plot draws the first metric: a bar for the median of each row, a line over it for the interval.
func (c *Comparison) plot() []byte {
	m := c.Metrics[0]
	var (
		rows      []Row
		estimates []Estimate
		highest   float64
	)
	for _, r := range c.Rows {
		if e, measured := estimateRepeats(r.Samples[0]); measured {
			rows, estimates, highest = append(rows, r), append(estimates, e), max(highest, e.High)
		}
	}
	scale := 0.0
	if highest > 0 {
		scale = (plotWidth - labelWidth - valueWidth) / highest
	}
	height := plotTop + len(rows)*(barHeight+barGap)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n",
		plotWidth, height, plotWidth, height)
	fmt.Fprintf(&b, `<text x="0" y="20" font-size="15" font-weight="bold" fill="%s">%s: %s</text>`+"\n", colorText, html.EscapeString(c.Title), html.EscapeString(m.heading()))
	for i, r := range rows {
		e, y := estimates[i], plotTop+i*(barHeight+barGap)
		middle, low, high := scale*e.Median, scale*e.Low, scale*e.High
		line := float64(y) + barHeight/2
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" fill="%s">%s</text>`+"\n", labelWidth-10, y+16, colorText, html.EscapeString(r.Subject))
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n", labelWidth, y, middle, barHeight, c.color(r.Subject))
		fmt.Fprintf(&b, `<path d="M%.1f %.1fH%.1fM%.1f %.1fv10M%.1f %.1fv10" stroke="#57606a" stroke-width="1.5" fill="none"/>`+"\n",
			labelWidth+low, line, labelWidth+high, labelWidth+low, line-5, labelWidth+high, line-5)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="%s">%s</text>`+"\n", labelWidth+high+8, y+16, colorText, html.EscapeString(m.figure(e.Median)))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// color sets one's own rows and the floor apart from the peers.
func (c *Comparison) color(subject string) string {
	switch {
	case strings.HasPrefix(subject, "refinery"):
		return colorOwn
	case subject == c.Floor:
		return colorFloor
	}
	return colorPeer
}
