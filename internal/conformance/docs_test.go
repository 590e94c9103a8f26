package conformance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/protocol"
)

const documentPath = "../../docs/conformance.md"

// toldToType are the commands of docs/conformance.md, by the word that tells them apart.
func toldToType(t *testing.T) map[string]string {
	t.Helper()
	told := map[string]string{}
	for line := range strings.Lines(readText(t, documentPath)) {
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			continue
		}
		for _, word := range []string{"go build", "conformance master", "conformance refinery", "python3"} {
			if strings.Contains(command, word) {
				told[word] = strings.TrimSpace(command)
			}
		}
	}
	if len(told) != 4 || strings.Count(readText(t, documentPath), "\n$ ") != 4 {
		t.Fatalf("docs/conformance.md tells to type %q: this test knows four commands", told)
	}
	return told
}

// typed is a command of the document in the repository's directory, with the files and the address of the test.
func typed(ctx context.Context, f *files, address, command string) *exec.Cmd {
	_, port, _ := net.SplitHostPort(address) // Of a listener.
	command = strings.NewReplacer("./conformance", f.path("conformance"), "-o conformance", "-o "+f.path("conformance"), ":34308", ":"+port,
		"=tls.crt", "="+f.path("client.crt"), "=tls.key", "="+f.path("client.key"), "=ca.crt", "="+f.path("ca.crt"), "=shared.txt", "="+f.path("shared"),
	).Replace(strings.TrimSuffix(command, " &"))
	c := exec.CommandContext(ctx, "sh", "-c", "exec env "+command)
	c.Dir = "../.."
	return c
}

func TestWhatTheDocumentTellsToTypeWorks(t *testing.T) {
	t.Parallel()
	f, told := newFiles(t), toldToType(t)
	l := listen(t)
	if output, err := typed(t.Context(), f, l.Addr().String(), told["go build"]).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", told["go build"], err, output)
	}
	o := protocol.DefaultServerOptions()
	o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{f.server}, SessionTicketsDisabled: true,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: f.authority}
	srv, err := protocol.NewServer(gate{f.client.Certificate[0]}, o)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- srv.Serve(l) }()
	output, err := typed(t.Context(), f, l.Addr().String(), told["conformance master"]).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", told["conformance master"], err, output)
	}
	if want, got := countsIn(t, readText(t, documentPath)), countsIn(t, string(output)); want != got {
		t.Errorf("the document shows %d cases and %d skipped, and there are %d and %d", want.run, want.skipped, got.run, got.skipped)
	}
	_ = srv.Close()
	<-served
}

// counts are those of a report's last line.
type counts struct{ run, skipped int }

func countsIn(t *testing.T, report string) counts {
	t.Helper()
	line := regexp.MustCompile(`(?m)^\d+ passed, .*\(Cluster Protocol, specification ` + regexp.QuoteMeta(Specification) + `\)$`).FindString(report)
	var passed, failed, skipped int
	if _, err := fmt.Sscanf(line, "%d passed, %d failed, %d skipped", &passed, &failed, &skipped); err != nil {
		t.Fatalf("the last line of a report: %q: %v", line, err)
	}
	return counts{passed + failed, skipped}
}

func TestTheDocumentsRefineryPasses(t *testing.T) {
	t.Parallel()
	f, told := newFiles(t), toldToType(t)
	const anyPort = "127.0.0.1:0"
	if output, err := typed(t.Context(), f, anyPort, told["go build"]).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", told["go build"], err, output)
	}
	kit := typed(t.Context(), f, anyPort, told["conformance refinery"])
	var report bytes.Buffer
	kit.Stdout = &report
	stderr, err := kit.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := kit.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(stderr)
	said.Scan()
	address := waitsOn(t, said.Text())
	ctx, stop := context.WithCancel(t.Context())
	example := typed(ctx, f, address, told["python3"])
	if err := example.Start(); err != nil {
		t.Error(err)
	}
	if err := kit.Wait(); err != nil {
		t.Errorf("%s: %v\n%s\n%s", told["conformance refinery"], err, said.Text(), &report)
	}
	stop()
	_ = example.Wait() // It was killed.
}

// The binary ends with the exit code and the words of the document, without a stack.
func TestTheBinaryRefusesWrongFlags(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	if output, err := typed(t.Context(), f, "127.0.0.1:1", toldToType(t)["go build"]).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	c := exec.CommandContext(t.Context(), f.path("conformance"), "master") //nolint:gosec // built above
	var stderr bytes.Buffer
	c.Stderr = &stderr
	err := c.Run()
	if d := cmp.Diff("conformance: --address is required: write --address=HOST:PORT\n"+usage, stderr.String()); d != "" || c.ProcessState.ExitCode() != exitUsage {
		t.Errorf("%v; standard error (-want +got):\n%s", err, d)
	}
}
