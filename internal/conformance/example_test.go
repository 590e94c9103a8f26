package conformance

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const examplePath = "../../docs/examples/refinery.py"

// TestTheExampleInPythonPasses needs python3, and says so: an example that nobody runs is soon wrong.
func TestTheExampleInPythonPasses(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatalf("the example in docs/examples is tested too, and python3 is not installed: install it, for example with apt-get install python3-minimal")
	}
	f := newFiles(t)
	own := []string{"--cert=" + f.path("server.crt"), "--key=" + f.path("server.key")}
	timeouts := []string{fmt.Sprintf("--alive-timeout=%v", testAlive.Seconds()), fmt.Sprintf("--handshake-timeout=%v", testHandshake.Seconds())}
	authority := []string{"--ca=" + f.path("ca.crt"), "--server-name=localhost"}
	shared := []string{"--auth-cert=" + f.path("shared")}
	for _, tc := range []struct {
		transport Transport
		flags     []string
		example   []string
	}{
		{Plaintext, shared, shared},
		{ServerTLS, slices.Concat(own, shared), slices.Concat(authority, shared)},
		{MutualTLS, slices.Concat(own, []string{"--ca=" + f.path("ca.crt")}),
			slices.Concat(authority, []string{"--cert=" + f.path("client.crt"), "--key=" + f.path("client.key")})},
	} {
		t.Run(string(tc.transport), func(t *testing.T) {
			t.Parallel()
			var example *exec.Cmd
			said := make(chan []string, 1)
			r := runOnRefinery(t, func(address string) {
				example = exec.Command(python, slices.Concat([]string{examplePath, "--address=" + address, "--id=" + testID,
					fmt.Sprintf("--alive-interval=%v", testInterval.Seconds()), "--max-backoff=0.01"}, timeouts, tc.example)...)
				stderr, err := example.StderrPipe()
				if err == nil {
					err = example.Start()
				}
				if err != nil {
					t.Fatal(err)
				}
				go func() { said <- tracebacks(bufio.NewScanner(stderr)) }()
			}, slices.Concat(tc.flags, timeoutFlags, []string{"--transport=" + string(tc.transport), "--unusable-upstream=nonsense"})...)
			checkCounts(t, r, 100)
			_ = example.Process.Kill()
			if lines := <-said; len(lines) > 0 {
				t.Errorf("the example said\n%s", strings.Join(lines, "\n"))
			}
			_ = example.Wait() // It was killed.
		})
	}
}

// tracebacks returns what the example said beyond the one line for each connection.
func tracebacks(lines *bufio.Scanner) (all []string) {
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "refinery.py: ") {
			all = append(all, lines.Text())
		}
	}
	return all
}

func TestTheExampleSaysHowLongItIs(t *testing.T) {
	_, rest, _ := strings.Cut(readText(t, examplePath), `"""`)
	doc, code, _ := strings.Cut(rest, `"""`)
	lines := 0
	for line := range strings.Lines(code) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, `"""`) {
			lines++
		}
	}
	if said := fmt.Sprintf(" in some %d lines of code", (lines+2)/5*5); !strings.Contains(doc, said) {
		t.Errorf("it has %d lines of code, and does not say%s", lines, said)
	}
}

func TestTheExampleSaysWhichFlagsAreWrong(t *testing.T) {
	f := newFiles(t)
	required := []string{examplePath, "--address=localhost:1", "--id=a"}
	certificate := []string{"--cert=" + f.path("client.crt"), "--key=" + f.path("client.key")}
	const give = "give --auth-cert, the shared certificate; or, with MutualTLS, --ca, --cert and --key"
	for _, tc := range []struct {
		flags []string
		want  string
	}{
		{nil, give},
		{certificate, give},
		{[]string{"--ca=" + f.path("ca.crt"), certificate[0]}, give},
		{append(certificate, "--auth-cert="+f.path("shared")), give},
		{[]string{"--auth-cert=" + f.path("shared"), "--address=localhost"}, "--address is not HOST:PORT"},
		{[]string{"--auth-cert=" + f.path("missing")}, "a file cannot be used: [Errno 2] No such file or directory: '" + f.path("missing") + "'"},
		{[]string{"--auth-cert=" + f.path("shared"), "--ca=" + f.path("shared")}, "a file cannot be used: "},
	} {
		output, err := exec.Command("python3", slices.Concat(required, tc.flags)...).CombinedOutput()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if last := strings.LastIndex(string(output), "refinery.py: error: "+tc.want); !ok || exit.ExitCode() != exitUsage || last < 0 ||
			strings.Count(string(output[last:]), "\n") != 1 {
			t.Errorf("%q: %v, want %q\n%s", tc.flags, err, tc.want, output)
		}
	}
}
