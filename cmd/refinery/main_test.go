package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asRefinery makes the test's own binary behave as refinery.
const asRefinery = "TEST_AS_REFINERY"

func TestMain(m *testing.M) {
	if os.Getenv(asRefinery) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func refinery(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, os.Args[0], args...)
	c.Env = append(os.Environ(), asRefinery+"=1")
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
	const want = "refinery: --id is missing: write <refinery> or <refinery>/<node>, for example --id=press/press-1\n"
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

func TestSIGTERMEndsWithExitCode0WithinTwoSeconds(t *testing.T) {
	c := refinery(t.Context(), "--address=127.0.0.1:1", "--id=press", "--certificate-dir="+t.TempDir(),
		"--upstream-file=", "--http-address=", "--health-address=127.0.0.1:0")
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "msg=starting") {
	}
	began := time.Now()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := c.Wait(); err != nil || time.Since(began) > 2*time.Second {
		t.Errorf("ended with %v after %v", err, time.Since(began))
	}
}
