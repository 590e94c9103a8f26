package pkitest

import (
	"bytes"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

const press = "spiffe://plant/press"

// verify checks a certificate, with the chain that comes with it, as a TLS peer does.
func verify(c tls.Certificate, usage x509.ExtKeyUsage, roots ...*Authority) error {
	above := x509.NewCertPool()
	for _, der := range c.Certificate[1:] {
		above.AddCert(parse(der))
	}
	_, err := parse(c.Certificate[0]).Verify(x509.VerifyOptions{Roots: Pool(roots...), Intermediates: above, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestWhatAnAuthorityIssuesIsTrustedByWhoTrustsItsRoot(t *testing.T) {
	const client, server = x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	now := time.Now()
	root, stranger := NewAuthority("plant"), NewAuthority("plant")
	tests := map[string]struct {
		certificate tls.Certificate
		usage       x509.ExtKeyUsage
		good        bool
		length      int
	}{
		"client":                    {root.Issue(Client(press)), client, true, 1},
		"server":                    {root.Issue(Server("localhost")), server, true, 1},
		"both":                      {root.Issue(Client(press), Server("localhost")), server, true, 1},
		"client as a server":        {root.Issue(Client(press)), server, false, 1},
		"below two intermediates":   {root.Intermediate("hall").Intermediate("line").Issue(Client(press)), client, true, 3},
		"with other keys":           {root.IntermediateWithKey("hall", NewKeyOn(elliptic.P384())).IssueWithKey(NewKeyOn(elliptic.P521()), Client(press)), client, true, 2},
		"another root's":            {stranger.Issue(Client(press)), client, false, 1},
		"expired":                   {root.Issue(Client(press), Valid(now.Add(-time.Hour), now.Add(-time.Minute))), client, false, 1},
		"signed by a node's":        {AuthorityOf(root.Issue(Client(press))).Issue(Client(press)), client, false, 2},
		"by a root from its files":  {AuthorityOf(tls.Certificate{Certificate: [][]byte{root.Certificate.Raw}, PrivateKey: root.Key}).Issue(Client(press)), client, true, 1},
		"outside constraints above": {root.Intermediate("hall", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"hall"} }).Issue(Server("localhost")), server, false, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := verify(test.certificate, test.usage, root); (err == nil) != test.good {
				t.Errorf("verified with %v", err)
			}
			if got := len(test.certificate.Certificate); got != test.length {
				t.Errorf("%d certificates are sent, want %d", got, test.length)
			}
		})
	}
}

func TestNamesAreWhatTheEditsSay(t *testing.T) {
	leaf := NewAuthority("plant").Issue(Named("press"), Client(press), Server("localhost", "127.0.0.1")).Leaf
	if leaf.Subject.CommonName != "press" || leaf.URIs[0].String() != press || !slices.Equal(leaf.DNSNames, []string{"localhost"}) ||
		!leaf.IPAddresses[0].Equal(net.IPv4(127, 0, 0, 1)) {
		t.Errorf("%v %v %v %v", leaf.Subject, leaf.URIs, leaf.DNSNames, leaf.IPAddresses)
	}
}

func TestPEMFormsAreReadBack(t *testing.T) {
	root := NewAuthority("plant")
	issued, directory := root.Intermediate("hall").Issue(Client(press)), t.TempDir()
	WriteFiles(directory, issued, root, NewAuthority("another"))
	pair, err := tls.LoadX509KeyPair(filepath.Join(directory, "tls.crt"), filepath.Join(directory, "tls.key"))
	if err != nil || !slices.EqualFunc(pair.Certificate, issued.Certificate, bytes.Equal) {
		t.Errorf("read back with %v", err)
	}
	bundle, err := os.ReadFile(filepath.Join(directory, "ca.crt"))
	if err != nil || bytes.Count(bundle, []byte("BEGIN")) != 2 || !x509.NewCertPool().AppendCertsFromPEM(bundle) {
		t.Errorf("%v\n%s", err, bundle)
	}
	if _, err := tls.X509KeyPair(root.PEM()); err != nil {
		t.Error(err)
	}
}

func TestMalformedCertificatesAreMadeAsAsked(t *testing.T) {
	root := NewAuthority("plant")
	names := []asn1.RawValue{URISAN("not a URI\x00"), DNSSAN("a"), EmailSAN("a@b"), IPSAN("\x7f\x00\x00\x01"), DirectoryNameSAN("a"), URISAN("b")}
	der := root.Sign(NewKey().Public(), Client(press), SANs(names...))
	if !bytes.Contains(der, SANExtension(names...).Value) || bytes.Contains(der, []byte(press)) {
		t.Error("the names are not those asked for")
	}
	if c := root.Issue(SANs(names[1]), SANs(names[1])); c.Leaf != nil {
		t.Error("a certificate with two subjectAltName extensions was parsed")
	}

	node := root.Issue(Client(press))
	rename := func(tbs []byte) {
		_, after, _ := bytes.Cut(tbs, []byte("spiffe://plant/"))
		copy(after, "pumps")
	}
	original := bytes.Clone(node.Certificate[0])
	again := Rewrite(node.Certificate[0], root.Key, rename)
	if c := parse(again); c.URIs[0].String() != "spiffe://plant/pumps" || c.CheckSignatureFrom(root.Certificate) != nil {
		t.Errorf("signed again: %v", c.URIs)
	}
	if !bytes.Equal(original, node.Certificate[0]) {
		t.Error("what was to be rewritten has changed")
	}
	if parse(Rewrite(node.Certificate[0], nil, rename)).CheckSignatureFrom(root.Certificate) == nil {
		t.Error("the former signature fits")
	}
}
