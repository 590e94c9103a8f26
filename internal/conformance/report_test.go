package conformance

import (
	"bytes"
	"encoding/xml"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func sample() *Report {
	r := &Report{Tested: "master", Specification: "1.0", Address: "a:1", Transport: Plaintext}
	r.add(Result{Name: "R-1.1 one", Rule: "R-1.1", Outcome: Pass, Seconds: 0.25})
	r.add(Result{Name: "R-2.2 two", Rule: "R-2.2", Outcome: Fail, Messages: []Message{{Sent: "<EOF>"}, {Received: "auth:dec;;<EOF>"}},
		Expected: "the end", Came: "auth:dec;;<EOF>"})
	r.add(Result{Name: "R-6.2 three", Rule: "R-6.2", Outcome: Skip, Reason: "waits for 10s"})
	r.Unrun = []Result{{Name: "R-7.1 four", Rule: "R-7.1", Outcome: Skip, Reason: "not run: interrupted"}}
	return r
}

func TestTextTellsWhatWasSentExpectedAndCame(t *testing.T) {
	r := sample()
	var b bytes.Buffer
	for i := range r.Cases {
		r.Cases[i].writeText(&b, 12)
	}
	b.WriteString(r.summary())
	want := `pass  R-1.1 one     250ms
fail  R-2.2 two     0s
      sent      <EOF>
      received  auth:dec;;<EOF>
      expected  the end
      came      auth:dec;;<EOF>
skip  R-6.2 three   waits for 10s
1 passed, 1 failed, 1 skipped, 1 not run: interrupted (Cluster Protocol, specification 1.0)`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestJUnitHoldsEachCase(t *testing.T) {
	var b bytes.Buffer
	if err := sample().writeJUnit(&b); err != nil {
		t.Fatal(err)
	}
	var got junitSuite
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := junitSuite{
		XMLName: xml.Name{Local: "testsuite"}, Name: "conformance master", Tests: 4, Failures: 1, Skipped: 2,
		Properties: []junitProperty{{"specification", "1.0"}, {"address", "a:1"}, {"transport", "Plaintext"}},
		Cases: []junitCase{
			{Class: "master.R-1.1", Name: "R-1.1 one", Time: "0.2500"},
			{Class: "master.R-2.2", Name: "R-2.2 two", Time: "0.0000", Failure: &junitMessage{"expected the end; came auth:dec;;<EOF>",
				"sent      <EOF>\nreceived  auth:dec;;<EOF>\nexpected  the end\ncame      auth:dec;;<EOF>\n"}},
			{Class: "master.R-6.2", Name: "R-6.2 three", Time: "0.0000", Skipped: &junitMessage{Message: "waits for 10s"}},
			{Class: "master.R-7.1", Name: "R-7.1 four", Time: "0.0000", Skipped: &junitMessage{Message: "not run: interrupted"}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestCertificatesAreNeverShown(t *testing.T) {
	x := &exchange{peer: master, secrets: []string{"sesame;;\n"}}
	if got, want := x.show(compose(authStart, `{"cert":`+quote("sesame;;\n")+`}`)), `auth:start;;{"cert":"[certificate, 9 bytes]"}<EOF>`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	x = &exchange{peer: refinery}
	if got, want := x.show(compose(authStart, `{"cert":"sesame"}`)), "auth:start;;[22 bytes]"; got != want {
		t.Errorf("%s, want %s", got, want)
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
