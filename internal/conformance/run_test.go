package conformance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// peer accepts connections until the test ends and hands each to serve.

func peer(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// linewise answers a line, as web servers do.

func linewise(c net.Conn) {
	if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
	}
	silent(c)
}

func TestWhatCannotBeTestedIsSaid(t *testing.T) {
	f := newFiles(t)
	closed := listen(t)
	_ = closed.Close()
	secure := &tls.Config{Certificates: []tls.Certificate{f.server}}
	overTLS := func(c net.Conn) { _ = tls.Server(c, secure).Handshake() }
	plain := []string{"--transport=Plaintext", "--auth-cert=" + f.path("shared")}
	withTLS := []string{"--transport=ServerTLS", "--auth-cert=" + f.path("shared"), "--ca=" + f.path("ca.crt")}
	for _, tc := range []struct {
		name    string
		address string
		flags   []string
		want    string
	}{
		{"nobody listens", closed.Addr().String(), plain, `ADDRESS cannot be reached: connect: connection refused`},
		{"a peer that says nothing", peer(t, silent), plain, `ADDRESS took the connection and said nothing for 400ms`},
		{"a peer that says nothing, with TLS", peer(t, silent), withTLS, `no TLS with ADDRESS: the TLS handshake failed: nothing for 200ms`},
		{"another protocol", peer(t, linewise), plain,
			`ADDRESS does not speak the Cluster Protocol; the first bytes it sent: "HTTP/1.1 400 Bad Request\r\n\r\n"`},
		{"TLS where plaintext was said", peer(t, overTLS), plain,
			`ADDRESS closed the connection without a word: see --transport, or it speaks something else`},
		{"plaintext that closes where TLS was said", peer(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }), withTLS,
			`no TLS with ADDRESS, which closed the connection: see --transport, or it speaks something else`},
		{"an alert of TLS where plaintext was said", peer(t, func(c net.Conn) { _, _ = io.WriteString(c, "\x15\x03\x01\x00\x02\x02F") }), plain,
			`ADDRESS does not speak the Cluster Protocol; the first bytes it sent: "\x15\x03\x01\x00\x02\x02F" (TLS: see --transport)`},
		{"plaintext where TLS was said", peer(t, func(c net.Conn) { _, _ = io.WriteString(c, "conn:close;;<EOF>"); silent(c) }), withTLS,
			`no TLS with ADDRESS: the TLS handshake failed: tls: first record does not look like a TLS handshake; ` +
				`the first bytes it sent: "conn:close;;<EOF>" (the protocol without TLS: see --transport)`},
		{"a refused version", peer(t, func(c net.Conn) { _, _ = io.WriteString(c, "conn:close;;<EOF>"); silent(c) }), plain,
			`ADDRESS refuses id "conformance", version "0.1.0" or type "refinery": give what it lets in`},
		{"a refused certificate", peer(t, func(c net.Conn) { _, _ = io.WriteString(c, "conn:startAuth;;<EOF>auth:dec;;<EOF>"); silent(c) }), plain,
			`ADDRESS denies the certificate: give one that it lets in, with --cert or --auth-cert, and an --id that goes with it`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := append([]string{"master", "--address=" + tc.address, "--patience=200ms"}, tc.flags...)
			if code := Main(t.Context(), args, &stdout, &stderr); code != exitUntested {
				t.Errorf("exit code %d, want %d\n%s", code, exitUntested, stdout.String())
			}
			_, said, _ := strings.Cut(stderr.String(), "\n")
			want := "conformance: " + strings.ReplaceAll(tc.want, "ADDRESS", tc.address) + "\n"
			if d := cmp.Diff(want, said); d != "" {
				t.Errorf("standard error (-want +got):\n%s", d)
			}
		})
	}
}

func TestARefineryThatCannotBeTestedIsSaid(t *testing.T) {
	for _, tc := range []struct {
		name    string
		connect func(t *testing.T, address string) net.Conn
		want    *regexp.Regexp
	}{
		{"nobody connects", func(*testing.T, string) net.Conn { return nil }, regexp.MustCompile(`\nconformance: no refinery connected to 127.0.0.1:\d+ within 300ms\n$`)},
		{"who says nothing", func(t *testing.T, address string) net.Conn {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}, regexp.MustCompile(`\nconformance: the peer at 127.0.0.1:\d+ connected and said nothing for 200ms\n$`)},
		{"a web browser", func(t *testing.T, address string) net.Conn {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
			return c
		}, regexp.MustCompile(`does not speak the Cluster Protocol; the first bytes it sent: "GET / HTTP/1.1`)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var conn net.Conn
			stderr := firstLine{told: func(line string) { conn = tc.connect(t, waitsOn(t, line)) }}
			args := []string{"refinery", "--listen=127.0.0.1:0", "--transport=Plaintext", "--patience=200ms", "--connect-timeout=300ms"}
			if code := Main(t.Context(), args, io.Discard, &stderr); code != exitUntested {
				t.Errorf("exit code %d, want %d", code, exitUntested)
			}
			if conn != nil {
				_ = conn.Close()
			}
			if !tc.want.MatchString(stderr.String()) {
				t.Errorf("standard error %q, want %v", stderr.String(), tc.want)
			}
		})
	}
}

// sample is a report with a case of each outcome.

func TestARunEndsWhateverThePeerDoes(t *testing.T) {
	f := newFiles(t)
	for _, tc := range []struct {
		name  string
		serve func(net.Conn)
	}{
		{"hangs after conn:startAuth", func(c net.Conn) { _, _ = io.WriteString(c, compose(startAuth, "")); silent(c) }},
		{"sends without end", func(c net.Conn) {
			_, _ = io.WriteString(c, compose(startAuth, "")+grant)
			for flood := []byte(strings.Repeat(compose(alive, ""), 100)); ; {
				if _, err := c.Write(flood); err != nil {
					return
				}
			}
		}},
		{"sends without end and without <EOF>", func(c net.Conn) {
			_, _ = io.WriteString(c, compose(startAuth, "")+"conn:alive;;")
			for flood := make([]byte, 4096); ; {
				if _, err := c.Write(flood); err != nil {
					return
				}
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout bytes.Buffer
			args := []string{"master", "--address=" + peer(t, tc.serve), "--transport=Plaintext", "--auth-cert=" + f.path("shared"),
				"--patience=50ms", "--run=^R-(2.5|5.1|5.6)"}
			if code := Main(t.Context(), args, &stdout, io.Discard); code != exitFailed {
				t.Errorf("exit code %d, want %d\n%s", code, exitFailed, stdout.String())
			}
		})
	}
}

func TestAnInterruptedRunSaysWhatWasLeftOut(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	accepted := 0
	address := peer(t, func(c net.Conn) {
		if accepted++; accepted == 1 {
			_, _ = io.WriteString(c, compose(startAuth, "")+compose(authAck, object(upstreamMembers)))
		} else {
			cancel()
		}
		silent(c)
	})
	shared := t.TempDir() + "/shared"
	if err := os.WriteFile(shared, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	var listed, stdout bytes.Buffer
	args := []string{"master", "--address=" + address, "--transport=Plaintext", "--auth-cert=" + shared, "--run=^R-4.1"}
	_ = Main(ctx, append(args, "--list"), &listed, io.Discard)
	if code := Main(ctx, args, &stdout, io.Discard); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	names := strings.Count(listed.String(), "\n")
	want := fmt.Sprintf("0 passed, 0 failed, 0 skipped, %d not run: interrupted (Cluster Protocol, specification 1.0)\n", names)
	if stdout.String() != want {
		t.Errorf("standard output %q, want %q", stdout.String(), want)
	}
}

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

// What a peer sends out of turn comes before what the kit sends next, though a step reads it only then.
