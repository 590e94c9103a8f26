package conformance

import (
	"bufio"
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
	for _, tc := range []struct {
		transport Transport
		flags     []string
		example   []string
	}{
		{Plaintext, []string{"--auth-cert=" + f.path("shared")}, []string{"--auth-cert=" + f.path("shared")}},
		{MutualTLS, slices.Concat(own, timeoutFlags, []string{"--ca=" + f.path("ca.crt")}),
			[]string{"--ca=" + f.path("ca.crt"), "--server-name=localhost", "--cert=" + f.path("client.crt"), "--key=" + f.path("client.key"),
				fmt.Sprintf("--alive-timeout=%v", testAlive.Seconds()), fmt.Sprintf("--handshake-timeout=%v", testHandshake.Seconds())}},
	} {
		t.Run(string(tc.transport), func(t *testing.T) {
			t.Parallel()
			var example *exec.Cmd
			said := make(chan []string, 1)
			r := runOnRefinery(t, func(address string) {
				example = exec.Command(python, append([]string{examplePath, "--address=" + address, "--id=" + testID,
					"--alive-interval=0.2", "--longest-pause=0.01"}, tc.example...)...)
				stderr, err := example.StderrPipe()
				if err == nil {
					err = example.Start()
				}
				if err != nil {
					t.Fatal(err)
				}
				go func() { said <- tracebacks(bufio.NewScanner(stderr)) }()
			}, append(tc.flags, "--transport="+string(tc.transport))...)
			checkCounts(t, r, tc.transport, 80)
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
