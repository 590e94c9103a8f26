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

// Report is what a run came to.
type Report struct {
	Tested    string    `json:"tested"` // master or refinery
	Address   string    `json:"address"`
	Transport Transport `json:"transport"`
	Passed    int       `json:"passed"`
	Failed    int       `json:"failed"`
	Skipped   int       `json:"skipped"`
	Cases     []Result  `json:"cases"`
	// Unrun are the cases that an interrupted run left out.
	Unrun []Result `json:"unrun,omitempty"`
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
		s += fmt.Sprintf(", %d not run: interrupted", len(r.Unrun))
	}
	return s
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
	for _, m := range c.Sent {
		fmt.Fprintf(&b, "%ssent      %s\n", indent, m)
	}
	for _, m := range c.Received {
		fmt.Fprintf(&b, "%sreceived  %s\n", indent, m)
	}
	fmt.Fprintf(&b, "%sexpected  %s\n%scame      %s\n", indent, c.Expected, indent, c.Came)
	return b.String()
}

func (r *Report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// The elements of JUnit's XML that its readers agree on.
type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure,omitempty"`
	Skipped *junitMessage `xml:"skipped,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func (r *Report) writeJUnit(w io.Writer) error {
	all := slices.Concat(r.Cases, r.Unrun)
	s := junitSuite{Name: "conformance " + r.Tested, Tests: len(all), Failures: r.Failed, Skipped: r.Skipped + len(r.Unrun)}
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
