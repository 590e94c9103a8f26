package master

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// longest is a chain of leaf, issuing and policy authority with keys of RSA-4096 that has as many bytes as a master accepts.
func longest(t *testing.T) (root *pkitest.Authority, chain tls.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		t.Fatal(err)
	}
	root = pkitest.NewAuthorityWithKey("root", key)
	issuing := root.IntermediateWithKey("policy", key).IntermediateWithKey("issuing", key)
	identity := v1alpha1.RefineryIdentity("alpha", "plant", "press").String()
	filled := func(n int) tls.Certificate {
		return issuing.IssueWithKey(key, pkitest.Named("press"), pkitest.Client(identity), func(c *x509.Certificate) {
			c.CRLDistributionPoints = []string{strings.Repeat("x", n)}
		})
	}
	const some, most = 1000, 4 // bytes by which a certificate may be smaller for its serial number
	fill := some + pki.MaxChainBytes - most - len(slices.Concat(filled(some).Certificate...))
	chain = filled(fill)
	if size := len(slices.Concat(chain.Certificate...)); size > pki.MaxChainBytes || size < pki.MaxChainBytes-3*most {
		t.Fatalf("the chain has %d bytes", size)
	}
	return root, chain
}

func TestTheLongestChainOfRSA4096IsLetIn(t *testing.T) {
	f := newFloor(t)
	root, chain := longest(t)
	f.trusting(root)
	f.setRefinery("press", func(*v1alpha1.Refinery) {}, chain)
	f.joined(chain, "press/a")
}

// The files are as people have them: line ends of Windows, a remark, and the intermediate joined to the leaf.
func TestAMasterServesTheWholeChain(t *testing.T) {
	root := pkitest.NewAuthority("root")
	served := root.Intermediate("policy").Intermediate("issuing").Issue(pkitest.Server("localhost"))
	directory := t.TempDir()
	pkitest.WriteFiles(directory, served, root)
	file := filepath.Join(directory, "tls.crt")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	forgiven := "\ufeffplant\r\n" + strings.Replace(strings.ReplaceAll(string(text), "\n", "\r\n"), "-----\r\n-----BEGIN", "----------BEGIN", 1)
	if err := os.WriteFile(file, []byte(forgiven), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &certificates{directory: directory, log: logr.Discard()}
	c.Load()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", c.ServerConfig(policyOf(v1alpha1.TransportServerTLS, v1alpha1.AuthenticationSharedCertificate)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_ = conn.(*tls.Conn).Handshake()
		_ = conn.Close()
	}()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", listener.Addr().String(),
		&tls.Config{MinVersion: tls.VersionTLS13, ServerName: "localhost", RootCAs: pkitest.Pool(root)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var got [][]byte
	for _, certificate := range conn.ConnectionState().PeerCertificates {
		got = append(got, certificate.Raw)
	}
	if diff := cmp.Diff(served.Certificate, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A file of which a part cannot be read is not taken, however good the rest is.
func TestAMasterTakesNoFileInPart(t *testing.T) {
	first, second := pkitest.NewAuthority("first"), pkitest.NewAuthority("second")
	for name, bundle := range map[string]string{
		"the second has no END line":  admittest.PEM(first.Certificate) + strings.TrimSuffix(admittest.PEM(second.Certificate), "-----END CERTIFICATE-----\n"),
		"the second lacks a line":     admittest.PEM(first.Certificate) + dropLine(admittest.PEM(second.Certificate), 2),
		"the first has no BEGIN line": dropLine(admittest.PEM(first.Certificate), 0) + admittest.PEM(second.Certificate),
		"a private key is in it":      admittest.PEM(first.Certificate) + keyOf(first),
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			mount(directory, first)
			if err := os.WriteFile(filepath.Join(directory, "ca.crt"), []byte(bundle), 0o600); err != nil {
				t.Fatal(err)
			}
			c := &certificates{directory: directory, log: logr.Discard()}
			if c.Load(); c.Trust() != nil {
				t.Errorf("%d authorities are trusted", len(c.Trust().Authorities()))
			}
		})
	}
}

func dropLine(text string, number int) string {
	return strings.Join(slices.Delete(strings.SplitAfter(text, "\n"), number, number+1), "")
}

func keyOf(a *pkitest.Authority) string {
	_, key := a.PEM()
	return string(key)
}
