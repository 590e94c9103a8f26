package conformance

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Specification is the version of protocol/spec.md whose rules the cases check.
const Specification = "1.0"

// Report is what a run came to.
type Report struct {
	Tested        string    `json:"tested"` // master or refinery
	Specification string    `json:"specification"`
	Address       string    `json:"address"`
	Transport     Transport `json:"transport"`
	// Error is why a run without a failed case was no success; "" if it was, or if a case failed.
	Error string `json:"error,omitempty"`

	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Skipped int      `json:"skipped"`
	Cases   []Result `json:"cases"`
	// Unrun are the cases that a run left out which stopped before its end.
	Unrun []Result `json:"unrun,omitempty"`
}

func newReport(o *Options) *Report {
	return &Report{Tested: string(o.peer), Specification: Specification, Address: o.Address, Transport: o.Transport, Cases: []Result{}}
}

func (r *Report) add(c Result) {
	switch c.Outcome {
	case Pass:
		r.Passed++
	case Fail:
		r.Failed++
	case Skip:
		r.Skipped++
	}
	r.Cases = append(r.Cases, c)
}

// summary is the last line of the text.
func (r *Report) summary() string {
	s := fmt.Sprintf("%d passed, %d failed, %d skipped", r.Passed, r.Failed, r.Skipped)
	if len(r.Unrun) > 0 {
		s += fmt.Sprintf(", %d %s", len(r.Unrun), r.Unrun[0].Reason)
	}
	return s + " (Cluster Protocol, specification " + r.Specification + ")"
}

// stop notes the cases that were left out when a run stopped, and why.
func (r *Report) stop(left []*testCase, why string) {
	for _, c := range left {
		r.Unrun = append(r.Unrun, Result{Name: c.name(), Rule: c.rule, Outcome: Skip, Reason: "not run: " + why})
	}
}

// conclude returns the exit code of a run that has ended, and sets the error that goes with it.
func (r *Report) conclude() int {
	switch {
	case r.Failed > 0:
		return exitFailed
	case len(r.Unrun) > 0:
		r.Error = fmt.Sprintf("%d cases were %s", len(r.Unrun), r.Unrun[0].Reason)
		return exitFailed
	case r.Passed == 0:
		r.Error = "nothing was tested: every case that was selected was skipped, for want of a flag"
		return exitUntested
	}
	return exitPassed
}

// write writes the report in the format, but for the lines of text that were written as they came.
func (r *Report) write(w io.Writer, format string) (err error) {
	switch {
	case format == "json":
		return writeJSON(w, r)
	case format == "junit":
		return r.writeJUnit(w)
	case len(r.Cases)+len(r.Unrun) > 0:
		_, err = fmt.Fprintln(w, r.summary())
	}
	return err
}

// writeText writes one result as it comes.
func (c *Result) writeText(w io.Writer, nameWidth int) {
	note := time.Duration(c.Seconds * float64(time.Second)).Round(100 * time.Microsecond).String()
	if c.Outcome == Skip {
		note = c.Reason
	}
	_, _ = fmt.Fprintf(w, "%s  %-*s  %s\n", c.Outcome, nameWidth, c.Name, note)
	if c.Outcome == Fail {
		_, _ = io.WriteString(w, c.details("      "))
	}
}

// details tell a failed case from its first message on.
func (c *Result) details(indent string) string {
	var b strings.Builder
	for _, m := range c.Messages {
		if m.Sent != "" {
			fmt.Fprintf(&b, "%ssent      %s\n", indent, m.Sent)
		} else {
			fmt.Fprintf(&b, "%sreceived  %s\n", indent, m.Received)
		}
	}
	fmt.Fprintf(&b, "%sexpected  %s\n%scame      %s\n", indent, c.Expected, indent, c.Came)
	if c.Late > 0 {
		fmt.Fprintf(&b, "%slate      %.2fs: this machine, by more than the case tolerates; run it again when the machine has time\n", indent, c.Late)
	}
	return b.String()
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// The elements of JUnit's XML that its readers agree on.
type junitSuite struct {
	XMLName    xml.Name        `xml:"testsuite"`
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure,omitempty"`
	Error   *junitMessage `xml:"error,omitempty"`
	Skipped *junitMessage `xml:"skipped,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func (r *Report) writeJUnit(w io.Writer) error {
	all := slices.Concat(r.Cases, r.Unrun)
	s := junitSuite{
		Name: "conformance " + r.Tested, Tests: len(all), Failures: r.Failed, Skipped: r.Skipped + len(r.Unrun),
		Properties: []junitProperty{{"specification", r.Specification}, {"address", r.Address}, {"transport", string(r.Transport)}},
	}
	for i := range all {
		c := &all[i]
		j := junitCase{Class: r.Tested + "." + c.Rule, Name: c.Name, Time: fmt.Sprintf("%.4f", c.Seconds)}
		switch c.Outcome {
		case Fail:
			j.Failure = &junitMessage{"expected " + c.Expected + "; came " + c.Came, c.details("")}
		case Skip:
			j.Skipped = &junitMessage{Message: c.Reason}
		}
		s.Cases = append(s.Cases, j)
	}
	if r.Error != "" { // A suite has no error of its own that readers agree on: it is a case more.
		s.Tests, s.Errors = s.Tests+1, 1
		s.Cases = append(s.Cases, junitCase{Class: r.Tested, Name: "the run", Time: "0.0000", Error: &junitMessage{Message: r.Error}})
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
