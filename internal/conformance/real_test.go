package conformance

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/protocol"
	"github.com/refinery-operator/refinery-operator/test/late"
)

// Tests of several peers at a time wait for their timers, whatever the number of processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const (
	// The timeouts of peers whose timers are tested: as short as a handshake under the race detector allows on a machine
	// that has other things to do.
	testAlive     = 2500 * time.Millisecond
	testHandshake = 2 * time.Second
	testWrite     = time.Second
	testInterval  = 500 * time.Millisecond
	testID        = "press;;1<EOF>"
	testShared    = "the shared certificate;;<EOF>"
)

// timeoutFlags run the cases that wait for timeouts.
var timeoutFlags = []string{"--alive-timeout=" + testAlive.String(), "--handshake-timeout=" + testHandshake.String()}

// checkCounts fails a report that lacks cases.
func checkCounts(t *testing.T, r Report, passed int) {
	t.Helper()
	for _, c := range r.Cases {
		if c.Outcome == Skip {
			t.Errorf("%s was skipped: %s", c.Name, c.Reason)
		}
	}
	if r.Passed < passed || len(r.Unrun) > 0 {
		t.Errorf("%s", r.summary())
	}
}

// files are the files that flags name, and what tests make of them.
type files struct {
	directory              string
	authority              *x509.CertPool
	server, client, denied tls.Certificate
}

func (f *files) path(name string) string { return filepath.Join(f.directory, name) }

func (f *files) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(f.path(name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func newFiles(t *testing.T) *files {
	t.Helper()
	now := time.Now()
	f := &files{directory: t.TempDir(), authority: x509.NewCertPool()}
	ca, err := pki.NewAuthority("conformance", time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.ParseAuthority(ca.Certificate, ca.Key, now)
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "ca.crt", ca.Certificate)
	f.authority.AppendCertsFromPEM(ca.Certificate)
	pair := func(name string, p pki.PEMPair, err error) tls.Certificate {
		if err != nil {
			t.Fatal(err)
		}
		f.write(t, name+".crt", p.Certificate)
		f.write(t, name+".key", p.Key)
		c, err := tls.X509KeyPair(p.Certificate, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	p, err := authority.IssueServer("localhost", []string{"localhost"}, now)
	f.server = pair("server", p, err)
	p, err = authority.IssueClient("client", &url.URL{Scheme: "spiffe", Host: "a", Path: "/client"}, now)
	f.client = pair("client", p, err)
	p, err = authority.IssueClient("denied", &url.URL{Scheme: "spiffe", Host: "a", Path: "/denied"}, now)
	f.denied = pair("denied", p, err)
	f.write(t, "shared", []byte(testShared+"\n"))
	f.write(t, "other", []byte("another certificate"))
	return f
}

// gate lets in the version 0.1.0 and, with TLS certificates, only the one of the file.
type gate struct{ certificate []byte }

func (gate) Establish(_ context.Context, s *protocol.Session) error {
	if s.Version() != "0.1.0" {
		return errors.New("version refused")
	}
	return nil
}

func (g gate) Authenticate(_ context.Context, s *protocol.Session, certificate string) (string, error) {
	if g.certificate == nil {
		if certificate != testShared {
			return "", errors.New("not the shared certificate")
		}
		return "up;;1<EOF>", nil
	}
	block, _ := pem.Decode([]byte(certificate))
	if block == nil || !bytes.Equal(block.Bytes, g.certificate) || !bytes.Equal(block.Bytes, s.PeerCertificates()[0].Raw) {
		return "", errors.New("not the certificate of the session")
	}
	return "up;;1<EOF>", nil
}

func (gate) Authenticated(*protocol.Session)        {}
func (gate) Acknowledged(*protocol.Session, string) {}
func (gate) Closed(*protocol.Session, error)        {}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// firstLine hands on the first line written to it, and keeps everything.
type firstLine struct {
	bytes.Buffer
	told func(line string)
}

func (w *firstLine) Write(p []byte) (int, error) {
	if w.told != nil && w.Len() == 0 {
		w.told(string(p))
	}
	return w.Buffer.Write(p)
}

// waitsOn returns where a kit waits for a refinery that said so. Where it did not, it goes on to say that nobody comes.
func waitsOn(t *testing.T, line string) (address string) {
	t.Helper()
	if _, err := fmt.Sscanf(line, "waiting on %s", &address); err != nil {
		t.Errorf("the kit said %q: %v", line, err)
	}
	return address
}

// runOnRefinery starts the refinery when the kit says where it listens.
func runOnRefinery(t *testing.T, start func(address string), flags ...string) Report {
	t.Helper()
	told := func(line string) { start(waitsOn(t, line)) }
	return runTold(t, exitPassed, told, append([]string{"refinery", "--listen=127.0.0.1:0", "--id=" + testID, "--version=0.1.0",
		"--type=refinery", "--alive-interval=" + testInterval.String()}, flags...)...)
}

// run runs the command line and returns its report.
func run(t *testing.T, want int, args ...string) Report {
	t.Helper()
	return runTold(t, want, nil, args...)
}

// runTold runs it, and once more what failed of it while the machine was late: a refinery goes on connecting to where the first
// run listened.
func runTold(t *testing.T, want int, told func(line string), args ...string) (all Report) {
	t.Helper()
	code, output, address := 0, "", ""
	late.Again(t, func(only string) (failed, late []string) {
		var stdout bytes.Buffer
		stderr := firstLine{}
		again := append(slices.Clone(args), "--format=json")
		if only != "" {
			again = append(again, "--run="+only)
		}
		switch {
		case address != "":
			again = append(again, "--listen="+address)
		case told != nil:
			stderr.told = func(line string) { address = waitsOn(t, line); told(line) }
		}
		code, output = Main(t.Context(), again, &stdout, &stderr), stderr.String()
		var r Report
		if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
			t.Fatalf("report: %v\n%s", err, output)
		}
		all = replaced(all, r)
		for _, c := range r.Cases {
			if c.Late > 0 && len(r.Unrun) == 0 {
				late = append(late, c.Name)
			}
		}
		return nil, late // what failed stands in all
	})
	if code != want {
		t.Errorf("conformance %q: exit code %d, want %d\n%s", args, code, want, output)
	}
	for _, c := range all.Cases {
		if c.Outcome == Fail {
			t.Errorf("%s\n%s", c.Name, c.details("  "))
		}
	}
	return all
}

// replaced is a report in which the cases of another one stand in the place of those of the same name.
func replaced(r, by Report) Report {
	all := slices.DeleteFunc(r.Cases, func(c Result) bool {
		return slices.ContainsFunc(by.Cases, func(b Result) bool { return b.Name == c.Name })
	})
	r = by
	r.Passed, r.Failed, r.Skipped, r.Cases = 0, 0, 0, nil
	for _, c := range slices.Concat(all, by.Cases) {
		r.add(c)
	}
	return r
}

func TestTheMasterOfPackageProtocolPasses(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	serverTLS := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{f.server}, SessionTicketsDisabled: true}
	mutualTLS := serverTLS.Clone()
	mutualTLS.ClientAuth, mutualTLS.ClientCAs = tls.RequireAndVerifyClientCert, f.authority
	for _, tc := range []struct {
		transport Transport
		config    *tls.Config
		gate      gate
		flags     []string
	}{
		{Plaintext, nil, gate{}, []string{"--auth-cert=" + f.path("shared"), "--denied-cert=" + f.path("other")}},
		{ServerTLS, serverTLS, gate{}, []string{"--auth-cert=" + f.path("shared"), "--denied-cert=" + f.path("other"),
			"--ca=" + f.path("ca.crt"), "--server-name=localhost"}},
		{MutualTLS, mutualTLS, gate{f.client.Certificate[0]}, []string{"--ca=" + f.path("ca.crt"), "--server-name=localhost",
			"--cert=" + f.path("client.crt"), "--key=" + f.path("client.key"),
			"--denied-cert=" + f.path("denied.crt"), "--denied-key=" + f.path("denied.key")}},
	} {
		t.Run(string(tc.transport), func(t *testing.T) {
			t.Parallel()
			o := protocol.DefaultServerOptions()
			o.TLSConfig = tc.config
			o.HandshakeTimeout, o.AliveInterval, o.AliveTimeout, o.WriteTimeout = testHandshake, testInterval, testAlive, testWrite
			flags := slices.Concat(tc.flags, timeoutFlags, []string{"--transport=" + string(tc.transport), "--refused-version=9.9.9",
				"--write-timeout=" + testWrite.String()})
			srv, err := protocol.NewServer(tc.gate, o)
			if err != nil {
				t.Fatal(err)
			}
			l := listen(t)
			served := make(chan error)
			go func() { served <- srv.Serve(l) }()
			r := run(t, exitPassed, append([]string{"master", "--address=" + l.Addr().String()}, flags...)...)
			checkCounts(t, r, 170)
			_ = srv.Close()
			<-served
		})
	}
}

func TestTheRefineryOfPackageProtocolPasses(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	serverTLS := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: f.authority, ServerName: "localhost"}
	mutualTLS := serverTLS.Clone()
	mutualTLS.Certificates = []tls.Certificate{f.client}
	own := []string{"--cert=" + f.path("server.crt"), "--key=" + f.path("server.key")}
	for _, tc := range []struct {
		transport   Transport
		config      *tls.Config
		certificate string
		flags       []string
	}{
		{Plaintext, nil, testShared, []string{"--auth-cert=" + f.path("shared")}},
		{ServerTLS, serverTLS, testShared, append([]string{"--auth-cert=" + f.path("shared")}, own...)},
		{MutualTLS, mutualTLS, leafPEM(&f.client), append([]string{"--ca=" + f.path("ca.crt")}, own...)},
	} {
		t.Run(string(tc.transport), func(t *testing.T) {
			t.Parallel()
			o := protocol.DefaultClientOptions()
			o.ID, o.Version, o.Type, o.Certificate = testID, "0.1.0", "refinery", tc.certificate
			o.AliveInterval, o.HandshakeTimeout, o.AliveTimeout = testInterval, testHandshake, testAlive
			o.OnUpstream = func(upstream string) error {
				if upstream == unusable {
					return errors.New("it cannot be used")
				}
				return nil
			}
			flags := slices.Concat(tc.flags, timeoutFlags, []string{"--transport=" + string(tc.transport), "--unusable-upstream=" + unusable})
			ctx, cancel := context.WithCancel(t.Context())
			stopped := make(chan struct{})
			start := func(address string) { go func() { defer close(stopped); dialLoop(ctx, address, tc.config, o) }() }
			checkCounts(t, runOnRefinery(t, start, flags...), 100)
			cancel()
			<-stopped
		})
	}
}

// dialLoop is the least agent: it connects again whenever a session ends.
func dialLoop(ctx context.Context, address string, config *tls.Config, o protocol.ClientOptions) {
	for pause := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil; <-pause.C {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			continue
		}
		if config != nil {
			conn = tls.Client(conn, config)
		}
		if c, err := protocol.Handshake(ctx, conn, o); err == nil {
			_ = c.Run(ctx) // The kit sees how it ends.
		}
	}
}

func TestNamesOfCasesAreUniqueAndTheirRulesInTheSpecification(t *testing.T) {
	rules := rulesOfTheSpecification(t)
	for _, peer := range bothSides {
		for _, transport := range allTransports {
			var names []string
			for _, c := range listed(t, peer, transport).Cases {
				if slices.Contains(names, c.Name) {
					t.Errorf("two cases of a %s over %s are named %q", peer, transport, c.Name)
				}
				names = append(names, c.Name)
				if !slices.Contains(rules, c.Rule) {
					t.Errorf("%q: no such rule in protocol/spec.md", c.Name)
				}
			}
		}
	}
}
