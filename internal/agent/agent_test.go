package agent

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/protocol"
)

func TestAuthenticatesBecomesReadyAndPublishesTheUpstream(t *testing.T) {
	t.Parallel()
	m := newSite(t)
	began := time.Now().Truncate(time.Second) // as what is published
	n := startNode(t, m.config)
	n.awaitReady(t)

	s := m.await(t, "press/press-1")
	if diff := cmp.Diff([]string{"press/press-1", "0.1.0", "refinery"}, []string{s.ID(), s.Version(), s.Type()}); diff != "" {
		t.Errorf("announced (-want +got):\n%s", diff)
	}
	want := Upstream{Upstream: "10.0.0.1:34307", ID: "press/press-1"}
	status, body := n.get(t, "http-address", "/upstream")
	if status != http.StatusOK {
		t.Errorf("GET /upstream: %d %s", status, body)
	}
	content, err := os.ReadFile(m.config.UpstreamFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(body, string(content)); diff != "" {
		t.Errorf("GET /upstream and the file differ:\n%s", diff)
	}
	var got Upstream
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	if got.Since.Before(began) || got.Since.After(time.Now()) {
		t.Errorf("since %v, and the node was started at %v", got.Since, began)
	}
	got.Since = time.Time{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("upstream.json (-want +got):\n%s", diff)
	}
	for _, line := range []string{"refinery_agent_authenticated 1", `refinery_agent_handshakes_total{result="authenticated"} 1`, "refinery_agent_reconnects_total 0"} {
		if !n.metric(t, line) {
			t.Errorf("/metrics lacks %q", line)
		}
	}
	if status, body := n.get(t, "health-address", "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %s", status, body)
	}
}

func TestNotReadyAndNoUpstreamBeforeTheFirstGrant(t *testing.T) {
	t.Parallel()
	m := newSite(t)
	m.accept()
	n := startNode(t, m.config)
	n.awaitReason(t, "denied by the master (auth:dec)")

	status, body := n.get(t, "http-address", "/upstream")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, `{"error":"no upstream was granted yet`) {
		t.Errorf("GET /upstream: %d %s", status, body)
	}
	if _, err := os.Stat(m.config.UpstreamFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the upstream file exists: %v", err)
	}
	eventually(t, "it tries again", func() bool { return !n.metric(t, `refinery_agent_handshakes_total{result="denied"} 1`) })
	m.accept(m.pair.certificate)
	n.awaitReady(t)
}

func TestRefusedVersionIsAcceptedLaterWithoutRestart(t *testing.T) {
	t.Parallel()
	m := newSite(t)
	m.with(func() { m.version = "9.9.9" })
	n := startNode(t, m.config)
	n.awaitReason(t, `does not accept version "0.1.0"`)
	m.with(func() { m.version = "0.1.0" })
	n.awaitReady(t)
}

func TestNewUpstreamReplacesTheFileAtOnceAndIsAcknowledged(t *testing.T) {
	t.Parallel()
	m, _ := startReadyNode(t)

	const moves = 50
	upstream := func(i int) string { return net.JoinHostPort("10.0.0.2", []string{"34307", "34308"}[i%2]) }
	s := m.await(t, m.config.ID)
	for i := range moves {
		if err := s.SetUpstream(upstream(i)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new upstream is acknowledged", func() (acked bool) {
			if _, err := readUpstream(m.config.UpstreamFile); err != nil {
				t.Fatalf("a reader saw half a file: %v", err)
			}
			m.with(func() { acked = len(m.acked) == i+2 })
			return acked
		})
		got, err := readUpstream(m.config.UpstreamFile)
		if err != nil || got.Upstream != upstream(i) {
			t.Fatalf("acknowledged before it was published: %v, %v", got, err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(m.config.UpstreamFile)); err != nil || len(entries) != 1 {
		t.Errorf("temporary files are left: %v, %v", entries, err)
	}
	if m.session(m.config.ID) != s {
		t.Error("the session changed")
	}
}

func TestLostMasterKeepsTheUpstreamAndIsFoundAgain(t *testing.T) {
	t.Parallel()
	first, n := startReadyNode(t)

	first.server.Close()
	n.awaitReason(t, "the master cannot be reached at "+first.address+": connect: connection refused")
	if status, body := n.get(t, "http-address", "/upstream"); status != http.StatusOK || !strings.Contains(body, "10.0.0.1:34307") {
		t.Errorf("GET /upstream after the session was lost: %d %s", status, body)
	}
	if !n.metric(t, "refinery_agent_authenticated 0") || !n.metric(t, "refinery_agent_reconnects_total 1") {
		t.Error("the metrics do not show the loss")
	}
	second := newMasterAt(t, first.ca, first.address)
	second.with(func() { second.upstream = "10.0.0.9:34307" })
	second.accept(first.pair.certificate)
	n.awaitReady(t)
	if _, body := n.get(t, "http-address", "/upstream"); !strings.Contains(body, "10.0.0.9:34307") {
		t.Errorf("GET /upstream: %s", body)
	}
}

func TestSharedCertificateOverPlaintextIsSentTrimmedAndFollowed(t *testing.T) {
	t.Parallel()
	m := newMaster(t, nil)
	m.accept([]byte("the shared certificate"))
	config := newConfig(t, m.address)
	config.Transport, config.CertificateDir = Plaintext, ""
	directory := t.TempDir()
	config.SharedCertificateFile = filepath.Join(directory, "certificate")
	put(t, directory, map[string][]byte{"certificate": []byte("another shared secret\n")})
	n := startNode(t, config)
	n.awaitReason(t, "denied by the master")
	put(t, directory, map[string][]byte{"certificate": []byte("\n the shared certificate \n")})
	n.awaitReady(t)
	if strings.Contains(n.log.String(), "shared certificate") {
		t.Error("the log holds the shared certificate")
	}
}

func TestUnusableUpstreamIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	m := newSite(t)
	m.with(func() { m.upstream = "no port" })
	n := startNode(t, m.config)
	n.awaitReason(t, `upstream not published: "no port": it is not host:port`)
	m.with(func() {
		if len(m.acked) > 0 {
			t.Errorf("acknowledged: %q", m.acked)
		}
		m.upstream = "ingest.example.com:34307"
	})
	n.awaitReady(t)
}

func TestStoppingClosesTheSessionOrderly(t *testing.T) {
	t.Parallel()
	m := newSite(t)
	began := time.Now()
	n := startNode(t, m.config)
	n.awaitReady(t)
	starting := time.Since(began)

	began = time.Now()
	if err := n.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	// The master closes at once, so nothing is waited for.
	if took := time.Since(began); took > 20*starting {
		t.Errorf("stopping took %v, where starting took %v", took, starting)
	}
	var closed []error
	eventually(t, "the master is told", func() bool {
		m.with(func() { closed = m.closed })
		return len(closed) > 0
	})
	if len(closed) != 1 || !errors.Is(closed[0], protocol.ErrPeerClosed) {
		t.Errorf("the session ended with %v, not with the node's conn:close", closed)
	}
}

// stuckConn takes no more bytes once stuck is closed, like a socket whose peer no longer reads.
type stuckConn struct {
	net.Conn
	stuck, release chan struct{}
}

func (c stuckConn) Write(p []byte) (int, error) {
	select {
	case <-c.stuck:
		<-c.release
	default:
	}
	return c.Conn.Write(p)
}

func TestStoppingDoesNotWaitForAMasterThatDoesNotRead(t *testing.T) {
	t.Parallel()
	m := newMaster(t, nil)
	m.accept([]byte("the shared certificate"))
	config := newConfig(t, m.address)
	config.Transport, config.SharedCertificateFile = Plaintext, filepath.Join(t.TempDir(), "certificate")
	if err := os.WriteFile(config.SharedCertificateFile, []byte("the shared certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	stuck, release := make(chan struct{}), make(chan struct{})
	n := startNodeWith(t, config, func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return stuckConn{conn, stuck, release}, err
	})
	n.awaitReady(t)
	close(stuck)
	defer close(release)
	stopped := make(chan error, 1)
	go func() { stopped <- n.stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(protocol.DefaultWriteTimeout): // by which the write is given up
		t.Error("Run waits for the write")
	}
}

func TestAddressInUseIsSaidWithItsFlag(t *testing.T) {
	t.Parallel()
	for flag, address := range map[string]func(*Config) *string{
		"--health-address": func(c *Config) *string { return &c.HealthAddress },
		"--relay-address":  func(c *Config) *string { return &c.RelayAddress },
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		config := newConfig(t, "127.0.0.1:1")
		*address(&config) = l.Addr().String()
		_, err = New(config, discard())
		want := flag + "=" + l.Addr().String() + " cannot be listened on: bind: address already in use; choose another address, or write " + flag + "= to serve nothing"
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestHealthzFailsWhenTheLoopIsStuck(t *testing.T) {
	t.Parallel()
	a, err := New(newConfig(t, "127.0.0.1:1"), discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a.loop.dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("unused: there are no files")
	}
	returned := make(chan error, 1)
	go func() { returned <- a.Run(ctx) }()
	n := &node{Agent: a}
	eventually(t, "alive", func() bool { status, _ := n.get(t, "health-address", "/healthz"); return status == http.StatusOK })
	a.loop.readiness.mu.Lock()
	a.loop.readiness.deadline = time.Now().Add(-time.Second)
	a.loop.readiness.mu.Unlock()
	if status, _ := n.get(t, "health-address", "/healthz"); status != http.StatusServiceUnavailable {
		t.Errorf("/healthz: %d", status)
	}
	cancel()
	if err := <-returned; err != nil {
		t.Error(err)
	}
}
