package trust

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// What a master says: that a node may go on, and at last whether it is let in.
const (
	asks    = "conn:startAuth"
	welcome = "auth:ack"
	refusal = "auth:dec"
)

// attempt is one try to be let in. Its directory has tls.crt and tls.key of the node, and root.crt, which it trusts.
type attempt struct{ directory, address, serverName, id string }

// hello is what a node says first.
func (a attempt) hello() string {
	return fmt.Sprintf(`conn:establish;;{"id":%q,"version":"0.1.0","type":"refinery"}<EOF>`, a.id)
}

// proof is what it says when it is asked: its certificate, without those above it.
func (a attempt) proof(t *testing.T) string {
	block, _ := pem.Decode(a.file(t, "tls.crt"))
	quoted, err := json.Marshal(string(pem.EncodeToMemory(block)))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`auth:start;;{"cert":%s}<EOF>`, quoted)
}

func (a attempt) file(t *testing.T, name string) []byte {
	content, err := os.ReadFile(filepath.Join(a.directory, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// verifier makes an attempt, and returns what came of it: the answer, or in its words why there is none.
type verifier func(t *testing.T, a attempt) string

var verifiers = map[string]verifier{"Go": withGo, "OpenSSL": withOpenSSL, "Python": withPython}

func withGo(t *testing.T, a attempt) string {
	config := clientConfig(t, pki.PEMPair{Certificate: a.file(t, "tls.crt"), Key: a.file(t, "tls.key")}, a.file(t, "root.crt"), a.serverName)
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", a.address)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, a.hello()); err != nil {
		return err.Error()
	}
	said := &answers{proof: func() { _, _ = io.WriteString(conn, a.proof(t)) }, stop: func() { _ = conn.Close() }}
	_, err = io.Copy(said, conn)
	return fmt.Sprintf("%s %v", said, err)
}

func withOpenSSL(t *testing.T, a attempt) string {
	args := []string{"s_client", "-connect", a.address, "-servername", a.serverName, "-verify_hostname", a.serverName, "-tls1_3",
		"-CAfile", "root.crt", "-cert", "tls.crt", "-key", "tls.key", "-verify_return_error", "-quiet"}
	if _, above := pem.Decode(a.file(t, "tls.crt")); len(above) > 0 { // of -cert it takes the first one alone
		if err := os.WriteFile(filepath.Join(a.directory, "above.crt"), above, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-cert_chain", "above.crt")
	}
	return told(t, a, "openssl", args...)
}

// pythonNode takes host, port and server name, and says what it is told to.
const pythonNode = `
import os, socket, ssl, sys
context = ssl.create_default_context(cafile="root.crt")
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain("tls.crt", "tls.key")
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60) as plain:
    with context.wrap_socket(plain, server_hostname=sys.argv[3]) as s:
        while True:
            words = b""
            while not words.endswith(b"<EOF>"):
                words += os.read(0, 65536) or sys.exit("nothing more to say")
            s.sendall(words)
            print((s.recv(1024) or sys.exit("the master closed")).decode(), flush=True)
`

func withPython(t *testing.T, a attempt) string {
	host, port, _ := strings.Cut(a.address, ":")
	return told(t, a, "python3", "-c", pythonNode, host, port, a.serverName)
}

// told runs a program that sends what it reads, and returns what it prints until the master has answered, or all of it.
func told(t *testing.T, a attempt, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("this row is about %s, which is not installed", program)
	}
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	command := exec.CommandContext(ctx, program, args...)
	command.Dir = a.directory
	input, err := command.StdinPipe() // it stays open: a program that sees its end ends the connection
	if err != nil {
		t.Fatal(err)
	}
	said := &answers{proof: func() { _, _ = io.WriteString(input, a.proof(t)) }, stop: stop}
	command.Stdout, command.Stderr = said, said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(input, a.hello())
	_ = command.Wait()
	return said.String()
}

// answers collects what a master says. It has the proof sent when the master asks for it, and stops when it is let in or not.
// One goroutine writes to it.
type answers struct {
	text        []byte
	proof, stop func()
	asked       bool
}

// Write implements io.Writer.
func (a *answers) Write(p []byte) (int, error) {
	a.text = append(a.text, p...)
	if !a.asked && bytes.Contains(a.text, []byte(asks)) {
		a.asked = true
		a.proof()
	}
	if bytes.Contains(a.text, []byte(welcome)) || bytes.Contains(a.text, []byte(refusal)) {
		a.stop()
	}
	return len(p), nil
}

func (a *answers) String() string { return string(a.text) }

func longKey(t *testing.T, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// lasting is for as long as what the operator issues.
func lasting(c *x509.Certificate) { c.NotAfter = time.Now().Add(v1alpha1.DefaultCADuration) }

// authorityFiles are an authority as people provide it: its certificate, those above it without the root, and its key.
func authorityFiles(signing *pkitest.Authority) pki.PEMPair {
	certificate, key := signing.PEM()
	if len(signing.Chain) > 0 {
		certificate, _ = pkitest.PEM(tls.Certificate{Certificate: signing.Chain, PrivateKey: signing.Key})
	}
	return pki.PEMPair{Certificate: certificate, Key: key}
}

// TestEveryTLSLibraryVerifiesTheMasterAndIsVerifiedByIt has OpenSSL, Python and Go connect to a real master whose certificates
// come from each source that there is, with each kind of key. A peer is given the root alone, however many tiers are below it.
// cert-manager's own controllers run in test/certmanager; here its layout is provided: leaf and intermediates in tls.crt, the
// root in ca.crt.
func TestEveryTLSLibraryVerifiesTheMasterAndIsVerifiedByIt(t *testing.T) {
	shared := newPlant(t)
	for i, row := range []struct {
		source string
		key    v1alpha1.PrivateKeySpec
	}{
		{own, v1alpha1.PrivateKeySpec{}},
		{own, v1alpha1.PrivateKeySpec{Size: 384}},
		{own, v1alpha1.PrivateKeySpec{Algorithm: v1alpha1.KeyRSA, Size: 2048}},
		{own, v1alpha1.PrivateKeySpec{Algorithm: v1alpha1.KeyEd25519}},
		{providedRoot, v1alpha1.PrivateKeySpec{}},
		{providedRoot, v1alpha1.PrivateKeySpec{Algorithm: v1alpha1.KeyEd25519}},
		{intermediate, v1alpha1.PrivateKeySpec{}},
		{intermediate, v1alpha1.PrivateKeySpec{Algorithm: v1alpha1.KeyRSA, Size: 3072}},
		{threeTiers, v1alpha1.PrivateKeySpec{}},
		{threeTiers, v1alpha1.PrivateKeySpec{Algorithm: v1alpha1.KeyRSA, Size: 4096}},
		{certManager, v1alpha1.PrivateKeySpec{}},
	} {
		key := row.key.WithDefaults()
		t.Run(fmt.Sprintf("%s, %s %d", row.source, key.Algorithm, key.Size), func(t *testing.T) {
			in := *shared // what a row starts ends with it
			in.T = t
			s := sourced{plant: &in, source: row.source, key: row.key, master: fmt.Sprintf("alpha-%d", i), refinery: fmt.Sprintf("press-%d", i)}
			s.verified()
		})
	}
}

// verified lets each library try with the node's certificate, and with others.
func (s *sourced) verified() {
	root := s.create()
	address := s.plant.master(s.master)
	s.conditionIs(s.refinery, v1alpha1.ConditionCertificateReady, metav1.ConditionTrue)
	node, served := s.secret(s.refinery+"-tls").Data, s.secret(s.master+"-tls").Data
	stranger := pkitest.NewAuthority("stranger")
	files := func(certificate, key, root []byte) map[string][]byte {
		return map[string][]byte{"tls.crt": certificate, "tls.key": key, "root.crt": root}
	}
	certificate, key := pkitest.PEM(stranger.Issue(pkitest.Client(v1alpha1.RefineryIdentity(s.master, s.namespace, s.refinery).String())))
	name := s.serverName(s.master)
	for library, connect := range verifiers {
		s.Run(library, func(t *testing.T) {
			for what, tc := range map[string]struct {
				files      map[string][]byte
				serverName string
				want       bool
			}{
				"its own certificate":        {files(node[corev1.TLSCertKey], node[corev1.TLSPrivateKeyKey], root), name, true},
				"a stranger's certificate":   {files(certificate, key, root), name, false},
				"a server's certificate":     {files(served[corev1.TLSCertKey], served[corev1.TLSPrivateKeyKey], root), name, false},
				"another root":               {files(node[corev1.TLSCertKey], node[corev1.TLSPrivateKeyKey], pkitest.Bundle(stranger)), name, false},
				"the name of another master": {files(node[corev1.TLSCertKey], node[corev1.TLSPrivateKeyKey], root), s.serverName("beta"), false},
			} {
				a := attempt{written(t, tc.files), address, tc.serverName, s.refinery}
				if answer := connect(t, a); strings.Contains(answer, welcome) != tc.want {
					t.Errorf("with %s: %s", what, answer)
				}
			}
		})
	}
}

func written(t *testing.T, files map[string][]byte) (directory string) {
	t.Helper()
	directory = t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

// Where certificates come from.
const (
	own          = "own"
	providedRoot = "provided root"
	intermediate = "provided intermediate"
	threeTiers   = "provided three tiers of RSA"
	certManager  = "as cert-manager lays it out"
)

// sourced is a ClusterMaster with a Refinery whose certificates come from a source.
type sourced struct {
	*plant
	source           string
	key              v1alpha1.PrivateKeySpec
	master, refinery string
}

// create creates both, and returns the root of their certificates, PEM.
func (s *sourced) create() []byte {
	s.Helper()
	spec, refinery := &v1alpha1.CertificatesSpec{PrivateKey: s.key}, s.plant.refinery(s.refinery, s.master)
	root := pkitest.NewAuthority("root", lasting)
	var provided pki.PEMPair
	switch s.source {
	case own:
		s.createMaster(s.master, v1alpha1.ClusterMasterSpec{Certificates: spec})
		s.must(api.Create(s.Context(), refinery))
		return s.secret(s.master + "-ca").Data[corev1.TLSCertKey]
	case providedRoot:
		provided = authorityFiles(root)
	case intermediate:
		provided = authorityFiles(root.Intermediate("issuing", lasting))
	case threeTiers:
		key := longKey(s.T, 4096)
		root = pkitest.NewAuthorityWithKey("root", key, lasting)
		provided = authorityFiles(root.IntermediateWithKey("policy", key, lasting).IntermediateWithKey("issuing", key, lasting))
	case certManager:
		issuing := root.Intermediate("issuing", lasting)
		for secret, use := range map[string]pkitest.Edit{s.master + "-tls": pkitest.Server(s.serverName(s.master)), s.refinery + "-tls": pkitest.Client(refinery.Identity().String())} {
			certificate, key := pkitest.PEM(issuing.Issue(use))
			filled := s.tlsSecret(secret, pki.PEMPair{Certificate: certificate, Key: key})
			filled.Data[v1alpha1.AuthorityKey] = pkitest.Bundle(root)
			s.must(api.Create(s.Context(), filled))
		}
		provided.Certificate = pkitest.Bundle(root)
		refinery.Spec.CertificateSecretRef = &v1alpha1.LocalReference{Name: s.refinery + "-tls"}
	}
	spec.Authority = &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: s.master + "-corp"}}
	for _, object := range []client.Object{s.tlsSecret(s.master+"-corp", provided), refinery} {
		s.must(api.Create(s.Context(), object))
	}
	s.createMaster(s.master, v1alpha1.ClusterMasterSpec{Certificates: spec})
	return pkitest.Bundle(root)
}
