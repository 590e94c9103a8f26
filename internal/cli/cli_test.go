package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type color string

type settings struct {
	address, run string
	format       color
	patience     time.Duration
	bytes        int
	slow         bool
}

func newFlags(s *settings) *Flags {
	f := New("conformance master")
	f.Group("The master")
	f.StringVar(&s.address, "address", "", "`HOST:PORT` where it listens; required")
	f.Group("The run")
	f.DurationVar(&s.patience, "patience", 2*time.Second, "`DURATION` how long to wait for an answer, or for the master to close")
	f.IntVar(&s.bytes, "longest-flag-that-has-a-line-of-its-own", 8192, "`BYTES` TLSFlightBytes: most that it reads at a time during the TLS handshake, in as many lines as it takes")
	f.BoolVar(&s.slow, "slow", false, "run the cases that wait")
	Choice(f, &s.format, "format", "text", "`FORMAT` text, json or junit", "text", "json", "junit")
	f.Func("run", "`REGEXP` only the cases whose names match", func(value string) error {
		s.run = value
		if value == "(" {
			return errors.New("write a regular expression")
		}
		return nil
	})
	return f
}

func TestParseNamesTheFlagAndSaysWhatToWrite(t *testing.T) {
	for _, test := range []struct{ arg, want string }{
		{"--addr=x", "--addr is not a flag; conformance master --help lists them"},
		{"-addr", "--addr is not a flag; conformance master --help lists them"},
		{"localhost:1", `"localhost:1" is not a flag: write every setting as --name=value; conformance master --help lists them`},
		{"--address", "--address needs a value: write --address=HOST:PORT"},
		{"--patience=abc", "--patience=abc: write a duration, such as 2s"},
		{"--longest-flag-that-has-a-line-of-its-own=many", "--longest-flag-that-has-a-line-of-its-own=many: write a whole number, such as 8192"},
		{"--slow=perhaps", "--slow=perhaps: write true or false, or nothing"},
		{"--format=xml", "--format=xml: write text, json or junit"},
		{"--format=a\nb: c", `--format=a\nb: c: write text, json or junit`},
		{"--run=(", "--run=(: write a regular expression"},
		{"---x", "bad flag syntax: ---x; conformance master --help lists the flags"},
		{"--=x", "bad flag syntax: --=x; conformance master --help lists the flags"},
		{"--help", flag.ErrHelp.Error()},
		{"-h", flag.ErrHelp.Error()},
	} {
		if err := newFlags(&settings{}).Parse([]string{test.arg}); err == nil || err.Error() != test.want {
			t.Errorf("%q:\n got %v\nwant %s", test.arg, err, test.want)
		}
	}
}

func TestParseSetsValues(t *testing.T) {
	var got settings
	if err := newFlags(&got).Parse([]string{"--address=a:1", "-slow", "--format=json", "--run", "^R"}); err != nil {
		t.Fatal(err)
	}
	want := settings{address: "a:1", run: "^R", format: "json", patience: 2 * time.Second, bytes: 8192, slow: true}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHelpHasColumnsInGroups(t *testing.T) {
	const want = `
The master:
  --address=HOST:PORT             where it listens; required

The run:
  --format=FORMAT                 text, json or junit (default text)
  --longest-flag-that-has-a-line-of-its-own=BYTES
                                  TLSFlightBytes: most that it reads at a time during the TLS
                                  handshake, in as many lines as it takes (default 8192)
  --patience=DURATION             how long to wait for an answer, or for the master to close
                                  (default 2s)
  --run=REGEXP                    only the cases whose names match
  --slow                          run the cases that wait
`
	if diff := cmp.Diff(want, newFlags(&settings{}).Help()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSplitHostPort(t *testing.T) {
	for _, test := range []struct {
		address    string
		lowest     int
		host, want string
	}{
		{"alpha:1", 1, "alpha", ""},
		{"[::1]:65535", 1, "::1", ""},
		{":0", 0, "", ""},
		{":0", 1, "", "the port must be a number from 1 to 65535"},
		{":65536", 0, "", "the port must be a number from 0 to 65535"},
		{"alpha:http", 1, "", "the port must be a number from 1 to 65535"},
		{"alpha", 1, "", "it is not host:port"},
	} {
		host, err := SplitHostPort(test.address, test.lowest)
		if got := fmt.Sprint(err); host != test.host || (err != nil) != (test.want != "") || (err != nil && got != test.want) {
			t.Errorf("%s: host %q, %v; want %q, %s", test.address, host, err, test.host, test.want)
		}
	}
}

// asProgram makes this test binary a program that waits for its context.
const asProgram = "CLI_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "serve":
		Serve(func(ctx context.Context, _ []string, stdout, _ io.Writer) int {
			fmt.Fprintln(stdout, "started")
			_, _ = os.Stdin.Read(make([]byte, 1)) // until nobody reads what it writes
			for range 100 {
				fmt.Fprintln(stdout, "still here")
			}
			<-ctx.Done()
			return 7
		})
	case "run":
		Run(func(ctx context.Context, args []string, stdout, stderr io.Writer) int {
			fmt.Fprintln(stdout, strings.Join(args, " "))
			<-ctx.Done()
			fmt.Fprintln(stderr, "stopped")
			return 7
		})
	}
	os.Exit(m.Run())
}

func TestRunEndsTheContextAtASignalAndExitsWithTheCode(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		c := exec.CommandContext(t.Context(), os.Args[0], "--a", "b")
		c.Env = append(os.Environ(), asProgram+"=run")
		stdout, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		c.Stderr = &stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, len("--a b\n"))
		if _, err := io.ReadFull(stdout, line); err != nil || string(line) != "--a b\n" {
			t.Errorf("%q, %v", line, err)
		}
		if err := c.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		if code := c.ProcessState.ExitCode(); code != 7 || stderr.String() != "stopped\n" {
			t.Errorf("%v: exit code %d, stderr %q", signal, code, &stderr)
		}
	}
}

func TestServeOutlivesItsTerminalAndWhoReadsItsLog(t *testing.T) {
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), asProgram+"=serve")
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadFull(stdout, make([]byte, len("started\n")))
	err = errors.Join(err, stdout.Close(), c.Process.Signal(syscall.SIGHUP), stdin.Close(), c.Process.Signal(syscall.SIGTERM))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != 7 {
		t.Errorf("%v", c.ProcessState)
	}
}

func TestTheExitCodeTellsAStartFromWhatFailsLater(t *testing.T) {
	failure := errors.New("it\nfailed")
	for _, test := range []struct {
		err  error
		code int
		line string
	}{
		{nil, 0, ""},
		{failure, 1, "master: it failed\n"},
		{&StartError{failure}, 2, "master: it failed\n"},
		{fmt.Errorf("at its start: %w", &StartError{failure}), 2, "master: at its start: it failed\n"},
	} {
		var stderr bytes.Buffer
		if code := ExitCode("master", test.err, &stderr); code != test.code || stderr.String() != test.line {
			t.Errorf("%v: exit %d, %q", test.err, code, &stderr)
		}
	}
}
