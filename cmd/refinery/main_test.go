package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asRefinery makes the test's own binary behave as refinery.
const asRefinery = "TEST_AS_REFINERY"

func TestMain(m *testing.M) {
	if os.Getenv(asRefinery) != "" {
		main()
		return
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // Tests wait for timers, whatever the number of processors.
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func refinery(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, os.Args[0], args...)
	c.Env = append(os.Environ(), asRefinery+"=1", "GORACE=atexit_sleep_ms=0")
	return c
}

func TestWrongFlagsEndWithOneLineAndExitCode2(t *testing.T) {
	c := refinery(t.Context(), "--address=alpha.plant.svc:34308")
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if c.ProcessState == nil || c.ProcessState.ExitCode() != 2 {
		t.Errorf("ended with %v, not exit code 2", err)
	}
	const want = "refinery: --id is missing: write an id that no other node has, for example --id=press/press-1\n"
	if stderr.String() != want || stdout.Len() > 0 {
		t.Errorf("stderr %q, stdout %q", &stderr, &stdout)
	}
}

func TestHelpGoesToStandardOutput(t *testing.T) {
	out, err := refinery(t.Context(), "--help").Output()
	if err != nil || !strings.HasPrefix(string(out), "refinery is the agent of one refinery node.") {
		t.Errorf("%v: %s", err, out)
	}
}

// The master's side is raw bytes, so that what leaves the process is seen as it is.
// It ends within two seconds, of which one is for a master that does not close. This one does, so nothing is waited for: the
// end takes about as long as a process that does nothing but start and end.
func TestSIGTERMSendsConnCloseAndEndsWithExitCode0AsSoonAsTheMasterCloses(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	shared := filepath.Join(t.TempDir(), "certificate")
	if err := os.WriteFile(shared, []byte("the shared certificate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := refinery(t.Context(), "--address="+listener.Addr().String(), "--transport=Plaintext", "--shared-certificate-file="+shared,
		"--id=press/a", "--version=1.2.3", "--alive-interval=1s", "--alive-timeout=30s", "--upstream-file=", "--http-address=", "--health-address=127.0.0.1:0")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := listener.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatalf("the node does not connect: %v\n%s", err, &stderr)
	}
	defer conn.Close()
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if n, err := io.ReadFull(conn, got); string(got[:n]) != want {
			t.Fatalf("got %q (%v), not %q\n%s", got[:n], err, want, &stderr)
		}
	}
	answer := func(message string) {
		t.Helper()
		if _, err := io.WriteString(conn, message); err != nil {
			t.Fatal(err)
		}
	}
	expect(`conn:establish;;{"id":"press/a","version":"1.2.3","type":"refinery"}<EOF>`)
	answer("conn:startAuth;;<EOF>")
	expect(`auth:start;;{"cert":"the shared certificate"}<EOF>`)
	answer(`auth:ack;;{"upstream":"10.0.0.1:34307"}<EOF>`)
	expect("auth:ack;;<EOF>")
	expect("conn:alive;;<EOF>") // From here on it has a session to end.

	startAndEnd := timeToStartAndEnd(t)
	began := time.Now()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	last, err := io.ReadAll(conn)
	if said := strings.ReplaceAll(string(last), "conn:alive;;<EOF>", ""); err != nil || said != "conn:close;;<EOF>" {
		t.Errorf("said %q at last (%v)", last, err)
	}
	conn.Close()
	err = c.Wait()
	took := time.Since(began)
	t.Logf("ended after %v; a process that starts and ends takes %v", took, startAndEnd)
	if err != nil || took > 20*startAndEnd {
		t.Errorf("ended with %v after %v, where a process that starts and ends takes %v\n%s", err, took, startAndEnd, &stderr)
	}
}

// timeToStartAndEnd is the longest of a few runs: whatever else is slow now is slow for them too.
func timeToStartAndEnd(t *testing.T) (longest time.Duration) {
	t.Helper()
	for range 5 {
		began := time.Now()
		if err := refinery(t.Context(), "--help").Run(); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(began))
	}
	return longest
}
