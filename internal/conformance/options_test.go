package conformance

import (
	"bytes"
	"flag"
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
		{append(plain, "--auth-cert="+f.directory), "--auth-cert=" + f.directory + " is not a file of at most 262144 bytes"},
		{append(plain[:2:2], "--transport=ServerTLS", "--auth-cert="+f.path("shared"), "--ca="+f.path("client.key")),
			"--ca=" + f.path("client.key") + ", block 1 of 1 (private key, line 1): it is not a certificate; leave it out"},
		{[]string{"refinery", "--listen=:0", "--transport=ServerTLS", "--cert=" + f.path("server.crt"), "--key=" + f.path("client.key")},
			"--key=" + f.path("client.key") + ": it is not the key of the first certificate in --cert=" + f.path("server.crt") + "; put in the key that belongs to it"},
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
