package conformance

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhyTLSWithAMasterFailsIsSaid(t *testing.T) {
	f, stranger := newFiles(t), newFiles(t)
	serve := func(config *tls.Config) func(net.Conn) {
		return func(c net.Conn) {
			secure := tls.Server(c, config)
			if secure.Handshake() == nil {
				silent(secure)
			}
		}
	}
	server := &tls.Config{Certificates: []tls.Certificate{f.server}}
	mutual := &tls.Config{Certificates: []tls.Certificate{f.server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: f.authority}
	hangsUp := func(c net.Conn) { _ = tls.Server(c, server).Handshake() }
	serverTLS := []string{"--transport=ServerTLS", "--auth-cert=" + f.path("shared"), "--server-name=localhost", "--ca=" + f.path("ca.crt")}
	mutualTLS := func(own *files) []string {
		return []string{"--server-name=localhost", "--ca=" + f.path("ca.crt"), "--cert=" + own.path("client.crt"), "--key=" + own.path("client.key")}
	}
	for _, tc := range []struct {
		name  string
		serve func(net.Conn)
		flags []string
		want  string
	}{
		{"a certificate of an authority that the master does not know", serve(mutual), mutualTLS(stranger),
			`ADDRESS refused the certificate of --cert: remote error: tls: unknown certificate authority`},
		{"no certificate where the master wants one", serve(mutual), serverTLS,
			`ADDRESS wants a client certificate (remote error: tls: certificate required): test it with --transport=MutualTLS`},
		{"a master of another authority", serve(server), append(serverTLS, "--ca="+stranger.path("ca.crt")),
			`ADDRESS shows a certificate that no authority of --ca has issued: x509: certificate signed by unknown authority`},
		{"a master of another name", serve(server), append(serverTLS, "--server-name=elsewhere"),
			`ADDRESS shows a certificate for another name: x509: certificate is valid for localhost, not elsewhere: see --server-name`},
		{"another alert", serve(&tls.Config{Certificates: []tls.Certificate{f.server}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}), serverTLS,
			`ADDRESS ended TLS: remote error: tls: protocol version not supported`},
		{"an end behind TLS, with a client certificate", hangsUp, mutualTLS(f),
			`ADDRESS closed the connection behind the TLS handshake, without an alert: does it trust the certificate of --cert?`},
		{"an end behind TLS", hangsUp, serverTLS,
			`ADDRESS closed the connection behind the TLS handshake, without an alert: see --transport, it may want a client certificate`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			address := peer(t, tc.serve)
			var stderr bytes.Buffer
			if code := Main(t.Context(), append([]string{"master", "--address=" + address}, tc.flags...), io.Discard, &stderr); code != exitUntested {
				t.Errorf("exit code %d, want %d", code, exitUntested)
			}
			_, said, _ := strings.Cut(stderr.String(), "\n")
			if d := cmp.Diff("conformance: "+strings.ReplaceAll(tc.want, "ADDRESS", address)+"\n", guess.ReplaceAllString(said, "")); d != "" {
				t.Errorf("standard error (-want +got):\n%s", d)
			}
		})
	}
}

// guess is what crypto/x509 adds when two authorities have one name.
var guess = regexp.MustCompile(` \(possibly because of .*\)`)

func TestWhyTLSWithARefineryFailsIsSaid(t *testing.T) {
	f, stranger := newFiles(t), newFiles(t)
	for _, tc := range []struct {
		name    string
		connect func(net.Conn)
		want    string
	}{
		{"a refinery that does not trust the kit",
			handshakes(&tls.Config{RootCAs: stranger.authority, ServerName: "localhost", Certificates: []tls.Certificate{f.client}}),
			`the peer at PEER refused the certificate of --cert: remote error: tls: (bad certificate|unknown certificate authority)`},
		{"a refinery without a certificate", handshakes(&tls.Config{RootCAs: f.authority, ServerName: "localhost"}),
			`the peer at PEER shows no client certificate: give it one, or see --transport`},
		{"a refinery of another authority",
			handshakes(&tls.Config{RootCAs: f.authority, ServerName: "localhost", Certificates: []tls.Certificate{stranger.client}}),
			`the peer at PEER shows a certificate that no authority of --ca has issued: x509: certificate signed by unknown authority`},
		{"a refinery without TLS", func(c net.Conn) { _, _ = io.WriteString(c, "conn:establish;;<EOF>"); silent(c) },
			`no TLS with the peer at PEER: the TLS handshake failed: tls: first record does not look like a TLS handshake; ` +
				`the first bytes it sent: "conn:establish;;<EOF>" \(the protocol without TLS: see --transport\)`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			peer, done := "", make(chan struct{})
			stderr := firstLine{told: func(line string) {
				c, err := net.Dial("tcp", waitsOn(t, line))
				if err != nil {
					t.Fatal(err)
				}
				peer = c.LocalAddr().String()
				go func() { defer close(done); tc.connect(c); _ = c.Close() }()
			}}
			args := []string{"refinery", "--listen=127.0.0.1:0", "--cert=" + f.path("server.crt"), "--key=" + f.path("server.key"), "--ca=" + f.path("ca.crt")}
			if code := Main(t.Context(), args, io.Discard, &stderr); code != exitUntested {
				t.Errorf("exit code %d, want %d", code, exitUntested)
			}
			<-done
			_, said, _ := strings.Cut(stderr.String(), "\n")
			want := regexp.MustCompile("^conformance: " + strings.ReplaceAll(tc.want, "PEER", regexp.QuoteMeta(peer)) + "\n$")
			if said = guess.ReplaceAllString(said, ""); !want.MatchString(said) {
				t.Errorf("standard error %q, want %v", said, want)
			}
		})
	}
}

// handshakes returns a client that begins TLS, and then waits for the end.
func handshakes(config *tls.Config) func(net.Conn) {
	return func(c net.Conn) {
		secure := tls.Client(c, config)
		if secure.Handshake() == nil {
			silent(secure)
		}
	}
}

func TestAnInterruptedProbeSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stderr := firstLine{told: func(string) { cancel() }}
	args := []string{"refinery", "--listen=127.0.0.1:0", "--transport=Plaintext"}
	if code := Main(ctx, args, io.Discard, &stderr); code != exitUntested {
		t.Errorf("exit code %d, want %d", code, exitUntested)
	}
	if want := "\nconformance: interrupted before anything was tested\n"; !strings.HasSuffix(stderr.String(), want) {
		t.Errorf("standard error %q, want %q at its end", stderr.String(), want)
	}
}

// alerted is a connection whose peer has sent an alert of TLS.
type alerted struct{ net.Conn }

func (alerted) Read([]byte) (int, error) {
	return 0, &net.OpError{Op: "remote error", Err: tls.AlertError(48)}
}

func TestACaseSaysWhichAlertEndedIt(t *testing.T) {
	kit, own, _ := newDuplex()
	defer own.Close()
	x := newExchange(t.Context(), alerted{kit}, master, time.Second)
	defer x.close()
	const want = "expected conn:startAuth within 1s; came the connection was closed: remote error: tls: unknown certificate authority"
	if _, err := x.message(startAuth); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := x.end(time.Second); err != nil {
		t.Errorf("an end with an alert is one: %v", err)
	}
}
