package master

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
)

// logged returns the lines that the sessions of a floor log from now on.
func (f *floor) logged() <-chan string {
	lines := make(chan string, 100)
	f.sessions.log = funcr.New(func(_, line string) { lines <- line }, funcr.Options{})
	return lines
}

// line waits for a line that has all the words.
func (f *floor) line(lines <-chan string, words ...string) {
	f.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line := <-lines:
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
				return
			}
		case <-deadline:
			f.Fatalf("no line of the log has %q", words)
		}
	}
}

// message is what status says of the node whose certificate names press, under whichever name.
func (f *floor) message() string {
	nodes := f.registry.Snapshot("press").Nodes
	if len(nodes) == 0 {
		return ""
	}
	return nodes[0].Message
}

func TestANodeWhoseCertificateIsNotValidNowIsToldWithTheClockOfTheMaster(t *testing.T) {
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	for reason, test := range map[string]struct {
		now  func(leaf *tls.Certificate) time.Time
		says func(leaf *tls.Certificate) string
	}{
		"NotYetValid": {
			func(c *tls.Certificate) time.Time { return c.Leaf.NotBefore.Add(-time.Hour) },
			func(c *tls.Certificate) string { return "is not valid before " + at(c.Leaf.NotBefore) },
		},
		"Expired": {
			func(c *tls.Certificate) time.Time { return c.Leaf.NotAfter.Add(time.Hour) },
			func(c *tls.Certificate) string { return "expired on " + at(c.Leaf.NotAfter) },
		},
	} {
		t.Run(reason, func(t *testing.T) {
			f := newFloor(t)
			log := f.logged()
			now := test.now(&f.press)
			f.clock.SetTime(now)
			_ = f.refusal(f.press, "press/a")
			f.until("shown", func() bool { return f.message() != "" })
			message := f.message()
			clock := "the clock of the master's machine shows " + at(now)
			if !strings.Contains(message, test.says(&f.press)) || !strings.Contains(message, clock) {
				t.Errorf("status says %q", message)
			}
			f.line(log, "node refused", reason, test.says(&f.press), clock)
			f.clock.Step(time.Minute)
			_ = f.refusal(f.press, "press/a")
			f.line(log, "node refused", reason)
			if again := f.message(); again != message {
				t.Errorf("status changes when it comes again: %q", again)
			}
		})
	}
}
