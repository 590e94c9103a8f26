package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// constrainedAuthority is an authority as a company's might be. issuer signs it; nil: itself.
func constrainedAuthority(t *testing.T, issuer *Authority, constrain func(*x509.Certificate)) *Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "corp"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(10000 * time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	constrain(template)
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.Certificates[0], issuer.Key.(*ecdsa.PrivateKey)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := encodePair([]*x509.Certificate{certificate}, key)
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseAuthority(pair.Certificate, pair.Key, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAuthorityIssuesOnlyWhatItsConstraintsAllow(t *testing.T) {
	const names, usage = "name constraints", "extended key usage"
	// permitted;dirName:O=Corp, which crypto/x509 does not write.
	directory := pkix.Extension{Id: oidNameConstraints, Critical: true,
		Value: []byte("\x30\x17\xa0\x15\x30\x13\xa4\x11\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x0a\x0c\x04Corp")}
	tests := map[string]struct {
		constrain func(*x509.Certificate)
		// server and client are words of the refusal, "" for none.
		server, client string
	}{
		"none":                  {func(*x509.Certificate) {}, "", ""},
		"path length 0":         {func(c *x509.Certificate) { c.MaxPathLenZero = true }, "", ""},
		"DNS names permitted":   {func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"corp.example"} }, names, ""},
		"DNS names excluded":    {func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"svc"} }, names, ""},
		"URI domains permitted": {func(c *x509.Certificate) { c.PermittedURIDomains = []string{"corp.example"} }, "", names},
		"URI domains excluded":  {func(c *x509.Certificate) { c.ExcludedURIDomains = []string{".cluster.refinery.dev"} }, "", names},
		"both allowed":          {func(c *x509.Certificate) { c.PermittedURIDomains = []string{".cluster.refinery.dev"} }, "", ""},
		"addresses and mail": {func(c *x509.Certificate) {
			c.PermittedIPRanges, c.PermittedEmailAddresses = []*net.IPNet{{IP: net.IP{10, 0, 0, 0}, Mask: net.IPMask{255, 0, 0, 0}}}, []string{"corp.example"}
		}, "", ""},
		"directory names": {func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{directory} }, "such as directory names", "such as directory names"},
		"unknown and critical": {func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, "critical extension that is not supported, 1.2.3", "1.2.3"},
		"servers only":           {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, "", usage},
		"clients only":           {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, usage, ""},
		"signing of code only":   {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }, usage, usage},
		"any usage":              {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, "", ""},
		"a subject of 6 KiB":     {func(c *x509.Certificate) { c.Subject.Organization = []string{strings.Repeat("x", 6<<10)} }, "", "more than the"},
		"shorter than its leafs": {func(c *x509.Certificate) { c.NotAfter = now.Add(time.Minute) }, "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := constrainedAuthority(t, nil, test.constrain)
			_, server := a.IssueServer("alpha", []string{"alpha", "alpha.plant.svc"}, now)
			_, client := a.IssueClient("press", identity, now)
			for role, got := range map[string]struct {
				err   error
				words string
			}{"server": {server, test.server}, "client": {client, test.client}} {
				p := AsProblem(got.err)
				switch {
				case got.words == "" && got.err != nil:
					t.Errorf("%s: %v, want a certificate", role, got.err)
				case got.words != "" && (p == nil || !strings.Contains(p.Message, got.words)):
					t.Errorf("%s: %v, want a Problem that says %q", role, got.err, got.words)
				case got.words != "" && p.Reason != v1alpha1.ReasonAuthorityConstrained && p.Reason != v1alpha1.ReasonTooLarge:
					t.Errorf("%s: reason %s", role, p.Reason)
				}
			}
		})
	}
}

func TestAuthorityIssuesByTheCertificateThatSignsAlone(t *testing.T) {
	// The same name and key without the constraint, trusted beside it for a while.
	a := constrainedAuthority(t, nil, func(c *x509.Certificate) { c.PermittedURIDomains = []string{"corp.example"} })
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: a.Certificates[0].Subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, SubjectKeyId: a.Certificates[0].SubjectKeyId}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.Key.Public(), a.Key)
	if err != nil {
		t.Fatal(err)
	}
	former, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.Retain(former)
	if _, err := a.IssueClient("press", identity, now); reasonOf(err) != v1alpha1.ReasonAuthorityConstrained {
		t.Errorf("got %v", err)
	}
}

func TestVerifyClientNamesTheConstraintOfAnAuthority(t *testing.T) {
	root := constrainedAuthority(t, nil, func(c *x509.Certificate) { c.Subject.CommonName, c.MaxPathLenZero = "root", true })
	middle := constrainedAuthority(t, root, func(c *x509.Certificate) { c.Subject.CommonName = "middle" })
	_, chain := client(t, middle)
	err := root.VerifyClient(append(chain, middle.Certificates[0]), identity, now)
	if reasonOf(err) != v1alpha1.ReasonAuthorityConstrained || !strings.Contains(err.Error(), `the path length of the certificate authority "CN=root"`) {
		t.Errorf("got %v", err)
	}
	limited := constrainedAuthority(t, nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	leaf := sign(t, limited, x509.Certificate{URIs: []*url.URL{identity}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	err = limited.VerifyClient(leaf, identity, now)
	if reasonOf(err) != v1alpha1.ReasonAuthorityConstrained || !strings.Contains(err.Error(), `"CN=corp" does not allow TLS client authentication`) {
		t.Errorf("got %v", err)
	}
	if bytes.Contains([]byte(err.Error()), []byte("put in one whose")) {
		t.Errorf("%v blames the certificate", err)
	}
}
