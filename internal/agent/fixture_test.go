package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fsnotify/fsnotify"

	"github.com/refinery-operator/refinery-operator/internal/agent/backoff"
	"github.com/refinery-operator/refinery-operator/internal/masterfile"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
	"github.com/refinery-operator/refinery-operator/protocol"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// patience is after how long a test gives up on what must happen. It says nothing about how soon that has to be.
const patience = time.Minute

// eventually polls until ok, and fails the test with what was waited for if its patience ends.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

// authority issues certificates.
type authority struct {
	*pkitest.Authority
	pem []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := pkitest.NewAuthority("authority " + rand.Text()) // no two have the same name
	return &authority{a, pkitest.Bundle(a)}
}

// pair is the content of tls.crt and tls.key.
type pair struct{ certificate, key []byte }

func (a *authority) issue(t *testing.T, names ...string) pair {
	t.Helper()
	certificate, key := pkitest.PEM(a.Issue(pkitest.Client(), pkitest.Server(names...)))
	return pair{certificate, key}
}

var errRefused = errors.New("refused by the test's master")
var errReplaced = errors.New("replaced by a newer session")

// master is a protocol.Server that lets in the certificates it was told of.
type master struct {
	server  *protocol.Server
	address string

	mu       sync.Mutex
	version  string          // the only accepted one; "" accepts all
	accepted map[string]bool // content of auth:start
	upstream string
	live     map[string]*protocol.Session // by id
	acked    []string                     // upstreams that were acknowledged, the first of a session too
	closed   []error
	frozen   chan struct{} // closed when the master answers again; nil while it does
}

// newMaster serves mutual TLS; without an authority it serves plaintext.
func newMaster(t *testing.T, ca *authority) *master {
	t.Helper()
	return newMasterAt(t, ca, "127.0.0.1:0")
}

func newMasterAt(t *testing.T, ca *authority, address string) *master {
	t.Helper()
	return newMasterWith(t, ca, address)
}

// newMasterWith serves a certificate with edits.
func newMasterWith(t *testing.T, ca *authority, address string, edits ...pkitest.Edit) *master {
	t.Helper()
	m := &master{accepted: map[string]bool{}, live: map[string]*protocol.Session{}, upstream: "10.0.0.1:34307"}
	options := protocol.DefaultServerOptions()
	options.Hold = m.hold
	if ca != nil {
		certificate := ca.Issue(append([]pkitest.Edit{pkitest.Client(), pkitest.Server("alpha.plant.svc")}, edits...)...)
		hint := pkitest.Pool(ca.Authority) // a node with a certificate of another authority shows it nevertheless
		options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, ClientCAs: hint,
			ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true}
	}
	server, err := protocol.NewServer(m, options)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	m.server, m.address = server, l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-served; !errors.Is(err, protocol.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return m
}

// hold waits while the master is frozen.
func (m *master) hold() {
	m.mu.Lock()
	frozen := m.frozen
	m.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

// freeze makes the master answer nobody until the test ends.
func (m *master) freeze(t *testing.T) {
	frozen := make(chan struct{})
	m.with(func() { m.frozen = frozen })
	t.Cleanup(func() { close(frozen) })
}

func (m *master) Establish(_ context.Context, s *protocol.Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.version != "" && s.Version() != m.version {
		return errRefused
	}
	return nil
}

func (m *master) Authenticate(_ context.Context, s *protocol.Session, certificate string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.accepted[certificate] {
		return "", errRefused
	}
	return m.upstream, nil
}

// Authenticated ends the older session of the same node, as the real master does.
func (m *master) Authenticated(s *protocol.Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if older := m.live[s.ID()]; older != nil {
		older.Close(errReplaced)
	}
	m.live[s.ID()] = s
	m.acked = append(m.acked, s.Upstream())
}

func (m *master) Acknowledged(_ *protocol.Session, upstream string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acked = append(m.acked, upstream)
}

func (m *master) Closed(s *protocol.Session, cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = append(m.closed, cause)
	if m.live[s.ID()] == s {
		delete(m.live, s.ID())
	}
}

// with runs f under the lock of the master's decisions.
func (m *master) with(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *master) accept(certificates ...[]byte) {
	m.with(func() {
		m.accepted = map[string]bool{}
		for _, c := range certificates {
			m.accepted[string(c)] = true
		}
	})
}

// await returns the session that counts for the id, once the master has read the node's auth:ack.
func (m *master) await(t *testing.T, id string) (s *protocol.Session) {
	t.Helper()
	eventually(t, "the master has a session of "+id, func() bool { s = m.session(id); return s != nil })
	return s
}

func (m *master) session(id string) (s *protocol.Session) {
	m.with(func() { s = m.live[id] })
	return s
}

// node is a running agent with its files.
type node struct {
	*Agent
	config Config
	log    *buffer
	stop   func() error // SIGTERM; returns what Run returned
}

// buffer is a bytes.Buffer for a logger of many goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.b.String(), text)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newConfig is a node of mutual TLS with its own directories.
func newConfig(t *testing.T, address string) Config {
	t.Helper()
	return Config{
		Settings:   masterfile.Settings{Address: address, AliveInterval: 10 * time.Second, AliveTimeout: 35 * time.Second},
		ServerName: "alpha.plant.svc", Transport: MutualTLS,
		ID: "press/press-1", Type: "refinery", Version: "0.1.0",
		CertificateDir: t.TempDir(), MaxBackoff: backoff.DefaultMax,
		UpstreamFile: filepath.Join(t.TempDir(), "upstream.json"),
		HTTPAddress:  "127.0.0.1:0", HealthAddress: "127.0.0.1:0",
	}
}

// site is a master, and the configuration of a node whose certificate of the master's authority is in its directory.
type site struct {
	*master
	ca     *authority
	pair   pair
	config Config
}

// newSite has a master that lets the node in.
func newSite(t *testing.T) *site {
	t.Helper()
	ca := newAuthority(t)
	s := &site{master: newMaster(t, ca), ca: ca, pair: ca.issue(t)}
	s.accept(s.pair.certificate)
	s.config = newConfig(t, s.address)
	put(t, s.config.CertificateDir, s.pair.files(ca))
	return s
}

// startReadyNode starts the node of a new site and waits until it is authenticated.
func startReadyNode(t *testing.T) (*site, *node) {
	t.Helper()
	s := newSite(t)
	n := startNode(t, s.config)
	n.awaitReady(t)
	return s, n
}

func startNode(t *testing.T, config Config) *node {
	t.Helper()
	return startNodeWith(t, config, new(net.Dialer).DialContext)
}

func startNodeWith(t *testing.T, config Config, dial DialFunc) *node {
	t.Helper()
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	n := &node{config: config, log: &buffer{}}
	a, err := NewIn(config, slog.New(slog.NewTextHandler(n.log, nil)), Process{Dial: dial, Watch: fsnotify.NewWatcher})
	if err != nil {
		t.Fatal(err)
	}
	n.Agent = a
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan error, 1)
	go func() { returned <- a.Run(ctx) }()
	n.stop = sync.OnceValue(func() error {
		cancel()
		return <-returned
	})
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if t.Failed() {
			t.Log(n.log.String())
		}
	})
	return n
}

// get returns status and body of a request to an endpoint of the agent.
func (n *node) get(t *testing.T, flag, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + n.address(flag) + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func (n *node) ready(t *testing.T) bool {
	t.Helper()
	status, _ := n.get(t, "health-address", "/readyz")
	return status == http.StatusOK
}

func (n *node) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, "the agent is ready", func() bool { return n.ready(t) })
}

// awaitReason waits until /readyz refuses with a body that holds the text.
func (n *node) awaitReason(t *testing.T, text string) {
	t.Helper()
	eventually(t, "not ready: "+text, func() bool {
		status, body := n.get(t, "health-address", "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, text)
	})
}

func (n *node) metric(t *testing.T, line string) bool {
	t.Helper()
	_, body := n.get(t, "health-address", "/metrics")
	return strings.Contains("\n"+body, "\n"+line+"\n")
}

// put writes the files the way the kubelet does: a directory of their own, and one rename of the link ..data.
func put(t *testing.T, directory string, files map[string][]byte) {
	t.Helper()
	version, err := os.MkdirTemp(directory, "..version-")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(version, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(directory, name)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	link := filepath.Join(directory, "..data_tmp")
	if err := os.Symlink(filepath.Base(version), link); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link, filepath.Join(directory, "..data")); err != nil {
		t.Fatal(err)
	}
}

func (p pair) files(ca *authority) map[string][]byte {
	return map[string][]byte{certificateFile: p.certificate, keyFile: p.key, authorityFile: ca.pem}
}
