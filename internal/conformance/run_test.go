package conformance

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// whoLeaves is a refinery that connects a number of times and then no more.
func whoLeaves(t *testing.T, times int) (started func(address string), stopped chan struct{}) {
	stopped = make(chan struct{})
	return func(address string) {
		go func() {
			defer close(stopped)
			for range times {
				c, err := net.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, compose(establish, `{"id":"a","version":"1","type":"refinery"}`))
				silent(c)
				_ = c.Close()
			}
		}()
	}, stopped
}

func TestARefineryThatDoesNotComeBackEndsTheRun(t *testing.T) {
	const want = "not run: the refinery did not come back"
	args := []string{"refinery", "--listen=127.0.0.1:0", "--transport=Plaintext", "--connect-timeout=2s", "--run=^R-4.[12] "}
	o, err := ParseOptions(args, nil)
	if err != nil {
		t.Fatal(err)
	}
	cases := len(newListing(o).Cases)
	start, stopped := whoLeaves(t, 3) // Of which the probe takes the first.
	var stdout bytes.Buffer
	stderr := firstLine{told: func(line string) { start(waitsOn(t, line)) }}
	if code := Main(t.Context(), append(args, "--format=json"), &stdout, &stderr); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	<-stopped
	var r Report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Passed != 2 || r.Failed != 1 || len(r.Unrun) != cases-3 || r.Unrun[0].Reason != want {
		t.Errorf("%s, of %d cases", r.summary(), cases)
	}
	if came := r.Cases[len(r.Cases)-1].Came; !strings.HasPrefix(came, "no refinery connected to 127.0.0.1:") {
		t.Errorf("the last case failed because of %q", came)
	}
	if end := fmt.Sprintf(", %d %s (Cluster Protocol, specification 1.0)", len(r.Unrun), want); !strings.HasSuffix(r.summary(), end) {
		t.Errorf("%q does not end with %q", r.summary(), end)
	}
	var junit bytes.Buffer
	if err := r.writeJUnit(&junit); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(junit.String(), fmt.Sprintf("<skipped message=%q>", want)); n != len(r.Unrun) {
		t.Errorf("JUnit holds %d cases that were not run, not %d", n, len(r.Unrun))
	}
}

// untested are command lines that end before a case has run, and what is said.
func untested(t *testing.T) map[string][]string {
	f := newFiles(t)
	closed := listen(t)
	_ = closed.Close()
	sound := peer(t, func(c net.Conn) { _, _ = io.WriteString(c, compose(startAuth, "")+grant); silent(c) })
	plain := []string{"master", "--transport=Plaintext", "--auth-cert=" + f.path("shared")}
	return map[string][]string{
		closed.Addr().String() + " cannot be reached: connect: connection refused":         append(plain, "--address="+closed.Addr().String()),
		"nothing was tested: every case that was selected was skipped, for want of a flag": append(plain, "--address="+sound, "--run=^R-4.5"),
	}
}

func TestARunThatTestsNothingIsNoSuccess(t *testing.T) {
	for said, args := range untested(t) {
		t.Run(said, func(t *testing.T) {
			var stderr bytes.Buffer
			if code := Main(t.Context(), args, io.Discard, &stderr); code != exitUntested {
				t.Errorf("exit code %d, want %d", code, exitUntested)
			}
			if !strings.HasSuffix(stderr.String(), "\nconformance: "+said+"\n") {
				t.Errorf("standard error %q, want %q", stderr.String(), said)
			}
		})
	}
}

func TestARunThatTestsNothingLeavesAReport(t *testing.T) {
	for said, args := range untested(t) {
		t.Run(said, func(t *testing.T) {
			var stdout bytes.Buffer
			_ = Main(t.Context(), append(args, "--format=json"), &stdout, io.Discard)
			var r Report
			if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || r.Error != said || r.Specification != Specification {
				t.Errorf("%v\n%s", err, &stdout)
			}
			stdout.Reset()
			_ = Main(t.Context(), append(args, "--format=junit"), &stdout, io.Discard)
			var s junitSuite
			if err := xml.Unmarshal(stdout.Bytes(), &s); err != nil {
				t.Fatalf("%v\n%s", err, &stdout)
			}
			last := s.Cases[len(s.Cases)-1]
			if d := cmp.Diff(junitCase{Class: "master", Name: "the run", Time: "0.0000", Error: &junitMessage{Message: said}}, last); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if s.Errors != 1 || s.Tests != len(s.Cases) {
				t.Errorf("%d errors in %d tests, of which %d are there", s.Errors, s.Tests, len(s.Cases))
			}
		})
	}
}

func TestAnInterruptedReportHasAnError(t *testing.T) {
	r := newReport(&Options{peer: master})
	r.add(Result{Outcome: Pass})
	r.stop([]*testCase{{rule: "R-1.1", words: "one"}, {rule: "R-1.2", words: "two"}}, interrupted)
	if code := r.conclude(); code != exitFailed || r.Error != "2 cases were not run: interrupted" {
		t.Errorf("exit code %d, error %q", code, r.Error)
	}
}

func TestTheListAsJSONIsTheListAsText(t *testing.T) {
	for _, peer := range bothSides {
		var text, encoded bytes.Buffer
		_ = Main(t.Context(), []string{string(peer), "--list", "--transport=Plaintext"}, &text, io.Discard)
		if code := Main(t.Context(), []string{string(peer), "--list", "--transport=Plaintext", "--format=json"}, &encoded, io.Discard); code != exitPassed {
			t.Errorf("exit code %d", code)
		}
		var l Listing
		if err := json.Unmarshal(encoded.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if err := l.write(&again, "text"); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(text.String(), again.String()); d != "" || len(l.WithoutCase) == 0 || l.Specification != Specification {
			t.Errorf("(-text +JSON):\n%s", d)
		}
	}
}

// What a peer sends out of turn comes before what the kit sends next, though a step reads it only then.
func TestReportsKeepTheOrderOnTheWire(t *testing.T) {
	kit, own, _ := newDuplex()
	x := newExchange(t.Context(), kit, refinery, time.Second)
	defer x.close()
	go func() {
		_, _ = io.WriteString(own, compose(establish, "")+compose(alive, ""))
		silent(own)
	}()
	if err := x.play(then(func(x *exchange) error { _, err := x.next(time.Now().Add(time.Second)); return err },
		send(compose(startAuth, "")), expect(alive))); err != nil {
		t.Error(err)
	}
	want := []Message{{Received: compose(establish, "")}, {Received: compose(alive, "")}, {Sent: compose(startAuth, "")}}
	if d := cmp.Diff(want, x.transcript(), cmpopts.IgnoreUnexported(Message{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	_ = own.Close()
}

func TestTheHelpHoldsEveryFlagOnce(t *testing.T) {
	for _, peer := range bothSides {
		help := usageOf(peer)
		newFlags(&Options{peer: peer}).VisitAll(func(f *flag.Flag) {
			if n := strings.Count(help, "\n  --"+f.Name+" ") + strings.Count(help, "\n  --"+f.Name+"="); n != 1 {
				t.Errorf("help of %s lists --%s %d times", peer, f.Name, n)
			}
		})
		for line := range strings.Lines(help) {
			if len(line) > 109 {
				t.Errorf("a line of %d bytes: %s", len(line), line)
			}
		}
		if regexp.MustCompile(`\s-[a-z]`).MatchString(help) {
			t.Errorf("one dash in the help of %s", peer)
		}
	}
}
