package agent

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

func TestANodePresentsTheWholeChain(t *testing.T) {
	t.Parallel()
	root := pkitest.NewAuthority("root")
	certificate, key := pkitest.PEM(root.Intermediate("policy").Intermediate("issuing").Issue(pkitest.Client("spiffe://plant/press")))
	files := map[string][]byte{"tls.crt": bytes.ReplaceAll(certificate, []byte("\n"), []byte("\r\n")), "tls.key": key, "ca.crt": pkitest.Bundle(root)}
	parsed, err := credentialFiles{Config{Transport: MutualTLS}}.parse(files)
	if err != nil {
		t.Fatal(err)
	}
	server, client := net.Pipe()
	verified := make(chan error, 1)
	go func() {
		conn := tls.Server(server, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{root.Issue(pkitest.Server("alpha.plant.svc"))},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pkitest.Pool(root)})
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		verified <- conn.Handshake()
		_ = conn.Close()
	}()
	conn := tls.Client(client, parsed.tlsConfig("alpha.plant.svc"))
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Error(err)
	}
	go func() { _, _ = conn.Read(make([]byte, 1)) }() // the pipe has no buffer
	if err := <-verified; err != nil {
		t.Errorf("who trusts the root alone: %v", err)
	}
}

// Whoever pretends to be the master chooses the names of its certificate.
func TestTheNamesOfAForgedCertificateAreShownEscapedAndBounded(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	forged := ca.Issue(func(c *x509.Certificate) {
		var names []string
		for range 90 {
			names = append(names, "\x1b[2J\r\nready: "+strings.Repeat("x", 230))
		}
		c.ExtKeyUsage, c.DNSNames = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, names
	})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{forged}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			_ = conn.Close()
		}
	}()
	config := newConfig(t, listener.Addr().String())
	put(t, config.CertificateDir, ca.issue(t).files(ca))
	n := startNode(t, config)
	n.awaitReason(t, "not alpha.plant.svc") // what was expected is told nevertheless
	_, body := n.get(t, "health-address", "/readyz")
	if len(body) > 4<<10 || strings.ContainsAny(strings.TrimSpace(body), "\x1b\r\n") {
		t.Errorf("%d bytes: %q", len(body), body)
	}
	if log := n.log.String(); strings.Contains(log, "\x1b") || len(log) > 16<<10 {
		t.Errorf("the log has %d bytes: %q", len(log), log)
	}
}
