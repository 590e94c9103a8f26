package conformance

import (
	"fmt"
	"io"
	"strings"
)

// Listing is what --list says: the cases that would run, and the rules that have none.
type Listing struct {
	Tested        string       `json:"tested"` // master or refinery
	Specification string       `json:"specification"`
	Transport     Transport    `json:"transport"`
	Cases         []ListedCase `json:"cases"`
	// WithoutCase are the rules that no case shows; left out if only some cases were asked for.
	WithoutCase []RuleWithoutCase `json:"withoutCase,omitempty"`
}

// ListedCase is a case that can be selected.
type ListedCase struct {
	Name string `json:"name"`
	Rule string `json:"rule"`
}

// RuleWithoutCase is a rule of protocol/spec.md that no case shows on a peer, and why.
type RuleWithoutCase struct {
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
}

func newListing(o *Options) *Listing {
	l := &Listing{Tested: string(o.peer), Specification: Specification, Transport: o.Transport}
	for _, c := range (&suite{cases: casesOf(o)}).selected(o.Run) {
		l.Cases = append(l.Cases, ListedCase{c.name(), c.rule})
	}
	if o.Run == nil {
		l.WithoutCase = withoutCase(o.peer, o.Transport)
	}
	return l
}

func list(o *Options, stdout, stderr io.Writer) int {
	if err := newListing(o).write(stdout, o.Format); err != nil {
		_, _ = fmt.Fprintln(stderr, "conformance:", err)
		return exitFailed
	}
	return exitPassed
}

func (l *Listing) write(w io.Writer, format string) error {
	if format == "json" {
		return writeJSON(w, l)
	}
	var b strings.Builder
	for _, c := range l.Cases {
		fmt.Fprintln(&b, c.Name)
	}
	for _, r := range l.WithoutCase {
		fmt.Fprintf(&b, "%s has no case: %s\n", r.Rule, r.Reason)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
