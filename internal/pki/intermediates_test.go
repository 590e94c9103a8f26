package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// provide is an authority as a user provides it: key and certificate of the first one, and the certificates of the others.
func provide(t *testing.T, key crypto.Signer, all ...*pkitest.Authority) *Authority {
	t.Helper()
	_, keyPEM := pkitest.PEM(tls.Certificate{PrivateKey: key})
	a, err := ParseAuthority(pkitest.Bundle(all...), keyPEM, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// tiers are authorities of all depths: what a user provides, the root above it, and the common names that are served with
// what it issues.
func tiers(t *testing.T) map[string]struct {
	provided *Authority
	root     *pkitest.Authority
	served   []string
} {
	root := pkitest.NewAuthority("root")
	issuing := root.Intermediate("issuing")
	long := rsaKey(t)
	longRoot := pkitest.NewAuthorityWithKey("root", long)
	policy := longRoot.IntermediateWithKey("policy", long)
	longIssuing := policy.IntermediateWithKey("issuing", long)
	return map[string]struct {
		provided *Authority
		root     *pkitest.Authority
		served   []string
	}{
		"a root":                         {provide(t, root.Key, root), root, nil},
		"an intermediate alone":          {provide(t, issuing.Key, issuing), root, []string{"issuing"}},
		"an intermediate and its root":   {provide(t, issuing.Key, issuing, root), root, []string{"issuing"}},
		"two of RSA-4096":                {provide(t, long, longIssuing, policy), longRoot, []string{"issuing", "policy"}},
		"two of RSA-4096 and their root": {provide(t, long, longIssuing, policy, longRoot), longRoot, []string{"issuing", "policy"}},
		"the same in another order":      {provide(t, long, longIssuing, longRoot, policy), longRoot, []string{"issuing", "policy"}},
		"with a stranger in between":     {provide(t, long, longIssuing, pkitest.NewAuthority("policy"), policy), longRoot, []string{"issuing", "policy"}},
		"with itself again":              {provide(t, issuing.Key, issuing, issuing, root), root, []string{"issuing"}},
	}
}

func TestWhatIsIssuedIsVerifiedByWhoTrustsTheRootAlone(t *testing.T) {
	for name, test := range tiers(t) {
		t.Run(name, func(t *testing.T) {
			server, err := test.provided.IssueServer("alpha", names, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			node, err := test.provided.IssueClient("press", identity, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			var pairs []tls.Certificate
			for _, pair := range []PEMPair{server, node} {
				var served []string
				for _, c := range parse(t, pair)[1:] {
					served = append(served, c.Subject.CommonName)
				}
				if diff := cmp.Diff(test.served, served); diff != "" {
					t.Errorf("above the leaf (-want +got):\n%s", diff)
				}
				loaded, err := tls.X509KeyPair(pair.Certificate, pair.Key)
				if err != nil {
					t.Fatal(err)
				}
				pairs = append(pairs, loaded)
			}
			address := serve(t, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: pairs[:1], ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pkitest.Pool(test.root)})
			dial(t, address, &tls.Config{MinVersion: tls.VersionTLS13, ServerName: names[1], RootCAs: pkitest.Pool(test.root), Certificates: pairs[1:]})
			openssl(t, address, node, test.root)
			trusted := &Authority{Certificates: []*x509.Certificate{test.root.Certificate}}
			if err := trusted.VerifyClient(parse(t, node), identity, time.Now()); err != nil {
				t.Errorf("a master that trusts the root alone: %v", err)
			}
		})
	}
}

// serve answers every TLS connection that is verified with a word.
func serve(t *testing.T, config *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			_, _ = conn.Write([]byte("verified")) // fails if the handshake does
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func dial(t *testing.T, address string, config *tls.Config) {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", address, config)
	if err != nil {
		t.Errorf("crypto/tls: %v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	word := make([]byte, len("verified"))
	if _, err := conn.Read(word); err != nil || string(word) != "verified" {
		t.Errorf("crypto/tls: %q, %v", word, err)
	}
}

// openssl verifies the server as OpenSSL does, which takes nothing but a root for an end of a chain.
func openssl(t *testing.T, address string, node PEMPair, root *pkitest.Authority) {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Log("there is no openssl on this machine")
		return
	}
	directory := t.TempDir()
	for name, content := range map[string][]byte{"tls.crt": node.Certificate, "tls.key": node.Key, "root.crt": pkitest.Bundle(root)} {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), program, "s_client", "-connect", address, "-servername", names[1], "-verify_hostname", names[1], "-tls1_3",
		"-CAfile", "root.crt", "-cert", "tls.crt", "-cert_chain", "tls.crt", "-key", "tls.key", "-verify_return_error", "-quiet")
	command.Dir = directory
	if output, err := command.CombinedOutput(); err != nil || !bytes.HasSuffix(output, []byte("verified")) {
		t.Errorf("openssl: %v\n%s", err, output)
	}
}

func TestAnAuthorityIssuesNothingThatTheRootAboveItForbids(t *testing.T) {
	root := pkitest.NewAuthority("root", func(c *x509.Certificate) { c.MaxPathLen = 0; c.MaxPathLenZero = true })
	issuing := root.Intermediate("issuing")
	_, err := provide(t, issuing.Key, issuing, root).IssueServer("alpha", names, time.Now())
	const want = `the path length of the certificate authority "CN=root" forbids the intermediates between it and the certificate "CN=alpha"`
	if p := AsProblem(err); p == nil || p.Reason != v1alpha1.ReasonAuthorityConstrained || !strings.HasPrefix(p.Message, want) {
		t.Errorf("%v", err)
	}
	if _, err := provide(t, issuing.Key, issuing).IssueServer("alpha", names, time.Now()); err != nil {
		t.Errorf("without the root: %v", err)
	}
}

func TestARootThatExpiredKeepsNobodyFromIssuing(t *testing.T) {
	past := time.Now().Add(-48 * time.Hour)
	root := pkitest.NewAuthority("root", pkitest.Valid(past, past.Add(24*time.Hour)))
	issuing := root.Intermediate("issuing")
	if _, err := provide(t, issuing.Key, issuing, root).IssueServer("alpha", names, time.Now()); err != nil {
		t.Error(err)
	}
}

// Leaf, issuing and policy authority, all of RSA-4096, and with the extensions that companies put into them.
func TestAChainOfThreeRSA4096Fits(t *testing.T) {
	key := rsaKey(t)
	corporate := func(c *x509.Certificate) {
		c.Subject.Organization, c.Subject.OrganizationalUnit = []string{"Plant Corporation International"}, []string{"Information Security"}
		c.Subject.Country, c.SubjectKeyId = []string{"DE"}, bytes.Repeat([]byte{7}, 20)
		const directory = "CN=AIA,CN=Public%20Key%20Services,CN=Services,CN=Configuration,DC=corp,DC=plant,DC=example?cACertificate?base?objectClass=certificationAuthority"
		c.CRLDistributionPoints = []string{"http://pki.plant.example/crl/issuing-authority-2026.crl", "ldap:///" + directory}
		c.OCSPServer, c.IssuingCertificateURL = []string{"http://ocsp.plant.example"}, []string{"http://pki.plant.example/issuing-authority-2026.crt", "ldap:///" + directory}
		c.Policies = []x509.OID{must(x509.OIDFromInts([]uint64{1, 3, 6, 1, 4, 1, 99999, 1, 1}))}
	}
	root := pkitest.NewAuthorityWithKey("Plant Root CA 2020", key, corporate)
	leaf := root.IntermediateWithKey("Plant Policy CA 2024", key, corporate).IntermediateWithKey("Plant Issuing CA 2026", key, corporate).
		IssueWithKey(key, corporate, pkitest.Client(identity.String()))
	size := len(slices.Concat(leaf.Certificate...))
	if size < 5900 {
		t.Errorf("the chain has %d bytes: it is smaller than that of a company", size)
	}
	certificate, _ := pkitest.PEM(leaf)
	trusted := &Authority{Certificates: []*x509.Certificate{root.Certificate}}
	if err := trusted.VerifyClient(parse(t, PEMPair{Certificate: certificate}), identity, time.Now()); err != nil {
		t.Errorf("%d bytes: %v", size, err)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestANameWithAWildcardCountsAsInTLS(t *testing.T) {
	root := pkitest.NewAuthority("root")
	trusted := &Authority{Certificates: []*x509.Certificate{root.Certificate}}
	for name, test := range map[string]struct {
		has  []string
		want bool
	}{
		"the name":                    {[]string{"alpha.plant.svc"}, true},
		"among others":                {[]string{"alpha", "*.example.com", "alpha.plant.svc"}, true},
		"in other letters":            {[]string{"ALPHA.plant.SVC"}, true},
		"a wildcard":                  {[]string{"*.plant.svc"}, true},
		"a wildcard of two labels":    {[]string{"*.svc"}, false},
		"a wildcard below":            {[]string{"*.alpha.plant.svc"}, false},
		"a wildcard inside":           {[]string{"alpha.*.svc"}, false},
		"a part of a label":           {[]string{"al*.plant.svc"}, false},
		"a name that it is a part of": {[]string{"alpha.plant.svc.cluster.local"}, false},
		"none":                        {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := root.Issue(pkitest.Server(test.has...), pkitest.Named("alpha.plant.svc"))
			err := trusted.VerifyServer([]*x509.Certificate{leaf.Leaf}, []string{"alpha.plant.svc"}, time.Now())
			if p := AsProblem(err); (err == nil) != test.want || (err != nil && (p == nil || p.Reason != v1alpha1.ReasonWrongIdentity)) {
				t.Errorf("%v", err)
			}
		})
	}
}
