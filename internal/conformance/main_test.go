package conformance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
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

func TestWrongFlagsAreOneLineAndTheUsage(t *testing.T) {
	f := newFiles(t)
	plain := []string{"master", "--address=localhost:1", "--transport=Plaintext"}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "say what to test: master or refinery"},
		{[]string{"server"}, `"server" cannot be tested: say master or refinery`},
		{[]string{"master"}, "--address is required: write --address=HOST:PORT"},
		{[]string{"refinery"}, "--listen is required: write --listen=HOST:PORT"},
		{[]string{"master", "--listen=:1"}, "--listen is not a flag; conformance master --help lists them"},
		{[]string{"master", "localhost:1"}, `"localhost:1" is not a flag: write every setting as --name=value; conformance master --help lists them`},
		{[]string{"master", "--address=localhost"}, "--address=localhost: it is not host:port; write --address=HOST:PORT"},
		{[]string{"master", "--address=localhost:1"}, "--cert is required with --transport=MutualTLS: write --cert=FILE"},
		{[]string{"master", "--address=localhost:1", "--transport=tls"}, "--transport=tls: write MutualTLS, ServerTLS or Plaintext"},
		{plain, "--auth-cert is required with --transport=Plaintext: write --auth-cert=FILE"},
		{[]string{"master", "--address=localhost:99999", "--transport=Plaintext", "--auth-cert=x"}, "--address=localhost:99999: the port must be a number from 1 to 65535; write --address=HOST:PORT"},
		{[]string{"master", "--address=localhost:0", "--transport=Plaintext", "--auth-cert=x"}, "--address=localhost:0: the port must be a number from 1 to 65535; write --address=HOST:PORT"},
		{[]string{"master", "--list", "--transport=x"}, "--transport=x: write MutualTLS, ServerTLS or Plaintext"},
		{[]string{"refinery", "--list", "--format=y"}, "--format=y: write text, json or junit"},
		{[]string{"refinery", "--list", "--run=R-0"}, "no case matches --run; --list shows their names"},
		{append(plain, "--auth-cert="+f.path("shared"), "--run=R-0"), "no case matches --run; --list shows their names"},
		{append(plain, "--ca=x"), "--ca has no use with --transport=Plaintext"},
		{append(plain, "--format=yaml"), "--format=yaml: write text, json or junit"},
		{append(plain, "--run=("), "--run=(: error parsing regexp: missing closing ): `(`"},
		{append(plain, "--patience=abc"), "--patience=abc: write a duration, such as 2s"},
		{append(plain, "--session-bytes=many"), "--session-bytes=many: write a whole number, such as 4096"},
		{append(plain, "--slow=perhaps"), "--slow=perhaps: write true or false, or nothing"},
		{append(plain, "--id"), "--id needs a value: write --id=ID"},
		{[]string{"master", "--list", "--format=junit"}, "--list has no form for junit: write --format=text or --format=json"},
		{append(plain, "--patience=0s"), "--patience=0s: write 1ms to 1h"},
		{append(plain, "--establish-bytes=1"), "--establish-bytes=1: write 1024 to 16777216"},
		{append(plain, "--id="), "--id has 0 bytes: write 1 to 253"},
		{append(plain, "--auth-cert="+f.path("missing")), "--auth-cert: stat " + f.path("missing") + ": no such file or directory"},
		{append(plain, "--auth-cert="+f.directory), "--auth-cert=" + f.directory + " is not a file of at most 1048576 bytes"},
		{[]string{"refinery", "--listen=:0", "--transport=ServerTLS", "--cert=" + f.path("server.crt"), "--key=" + f.path("client.key")},
			"--cert=" + f.path("server.crt") + " with --key=" + f.path("client.key") + ": tls: private key does not match public key"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := Main(t.Context(), tc.args, &stdout, &stderr); code != exitUsage || stdout.Len() > 0 {
				t.Errorf("exit code %d, want %d; standard output %q", code, exitUsage, stdout.String())
			}
			if d := cmp.Diff("conformance: "+tc.want+"\n"+usage, stderr.String()); d != "" {
				t.Errorf("standard error (-want +got):\n%s", d)
			}
		})
	}
}

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
func sample() *Report {
	r := &Report{Tested: "master", Specification: "1.0", Address: "a:1", Transport: Plaintext}
	r.add(Result{Name: "R-1.1 one", Rule: "R-1.1", Outcome: Pass, Seconds: 0.25})
	r.add(Result{Name: "R-2.2 two", Rule: "R-2.2", Outcome: Fail, Messages: []Message{{Sent: "<EOF>"}, {Received: "auth:dec;;<EOF>"}},
		Expected: "the end", Came: "auth:dec;;<EOF>"})
	r.add(Result{Name: "R-6.2 three", Rule: "R-6.2", Outcome: Skip, Reason: "waits for 10s"})
	r.Unrun = []Result{{Name: "R-7.1 four", Rule: "R-7.1", Outcome: Skip, Reason: "not run: interrupted"}}
	return r
}

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

func TestListPrintsTheNamesThatRunSelects(t *testing.T) {
	var stdout bytes.Buffer
	if code := Main(t.Context(), []string{"refinery", "--list", "--run=^R-5.5 "}, &stdout, io.Discard); code != exitPassed {
		t.Errorf("exit code %d", code)
	}
	want := "R-5.5 the master's own conn:alive is answered\nR-5.5 an answer is never answered\n"
	if d := cmp.Diff(want, stdout.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
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
