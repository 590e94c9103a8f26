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
	ca := newAuthority(t)
	m := newMaster(t, ca)
	p := ca.issue(t)
	m.accept(p.certificate)
	config := newConfig(t, m.address)
	put(t, config.CertificateDir, p.files(ca))
	n := startNode(t, config)
	n.awaitReady(t)

	s := m.session("press/press-1")
	if s == nil {
		t.Fatal("the master has no session of press/press-1")
	}
	if diff := cmp.Diff([]string{"press/press-1", "0.1.0", "refinery"}, []string{s.ID(), s.Version(), s.Type()}); diff != "" {
		t.Errorf("announced (-want +got):\n%s", diff)
	}
	want := Upstream{Upstream: "10.0.0.1:34307", ID: "press/press-1"}
	status, body := n.get(t, "http-address", "/upstream")
	if status != http.StatusOK {
		t.Errorf("GET /upstream: %d %s", status, body)
	}
	content, err := os.ReadFile(config.UpstreamFile)
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
	if since := time.Since(got.Since); since < 0 || since > time.Minute {
		t.Errorf("since: %v", got.Since)
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
	ca := newAuthority(t)
	m := newMaster(t, ca)
	p := ca.issue(t)
	config := newConfig(t, m.address)
	put(t, config.CertificateDir, p.files(ca))
	n := startNode(t, config)
	n.awaitReason(t, "denied by the master (auth:dec)")

	status, body := n.get(t, "http-address", "/upstream")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, `{"error":"no upstream was granted yet`) {
		t.Errorf("GET /upstream: %d %s", status, body)
	}
	if _, err := os.Stat(config.UpstreamFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the upstream file exists: %v", err)
	}
	eventually(t, "it tries again", func() bool { return !n.metric(t, `refinery_agent_handshakes_total{result="denied"} 1`) })
	m.accept(p.certificate)
	n.awaitReady(t)
}

func TestRefusedVersionIsAcceptedLaterWithoutRestart(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	m := newMaster(t, ca)
	p := ca.issue(t)
	m.accept(p.certificate)
	m.with(func() { m.version = "9.9.9" })
	config := newConfig(t, m.address)
	put(t, config.CertificateDir, p.files(ca))
	n := startNode(t, config)
	n.awaitReason(t, `does not accept version "0.1.0"`)
	m.with(func() { m.version = "0.1.0" })
	n.awaitReady(t)
}

func TestCertificatePutRightAuthenticatesWithoutRestart(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	right, wrong := ca.issue(t), other.issue(t)
	for _, test := range []struct {
		name   string
		before map[string][]byte
		reason string
	}{
		{"no files", nil, "ca.crt does not exist"},
		{"key missing", map[string][]byte{"ca.crt": ca.pem, "tls.crt": right.certificate}, "tls.key does not exist"},
		{"garbage", map[string][]byte{"ca.crt": ca.pem, "tls.crt": []byte("garbage"), "tls.key": right.key}, "tls.crt and tls.key are no pair"},
		{"key of another certificate", map[string][]byte{"ca.crt": ca.pem, "tls.crt": right.certificate, "tls.key": wrong.key}, "tls.crt and tls.key are no pair"},
		{"1 MiB of PEM", map[string][]byte{"ca.crt": ca.pem, "tls.crt": []byte(strings.Repeat(string(right.certificate), 2000)), "tls.key": right.key}, "tls.crt is larger than 64 KiB"},
		{"bundle without a certificate", map[string][]byte{"ca.crt": []byte("none"), "tls.crt": right.certificate, "tls.key": right.key}, "ca.crt holds no certificate"},
		{"master not trusted", map[string][]byte{"ca.crt": other.pem, "tls.crt": right.certificate, "tls.key": right.key}, "certificate signed by unknown authority"},
		{"certificate of another authority", map[string][]byte{"ca.crt": ca.pem, "tls.crt": wrong.certificate, "tls.key": wrong.key}, "denied by the master"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newMaster(t, ca)
			m.accept(right.certificate)
			config := newConfig(t, m.address)
			if test.before != nil {
				put(t, config.CertificateDir, test.before)
			}
			n := startNode(t, config)
			n.awaitReason(t, test.reason)
			put(t, config.CertificateDir, right.files(ca))
			n.awaitReady(t)
			if log := n.log.String(); strings.Contains(log, "PRIVATE KEY") || strings.Contains(log, "BEGIN CERTIFICATE") {
				t.Error("the log holds certificate material")
			}
		})
	}
}

func TestNewCertificateTakesOverWithoutANotReadyMoment(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	m := newMaster(t, ca)
	p := ca.issue(t)
	m.accept(p.certificate)
	config := newConfig(t, m.address)
	put(t, config.CertificateDir, p.files(ca))
	n := startNode(t, config)
	n.awaitReady(t)
	_, _, since := n.loop.readiness.get()

	for range 20 {
		old, next := m.session(config.ID), ca.issue(t)
		m.accept(next.certificate)
		put(t, config.CertificateDir, next.files(ca))
		n.store.look() // rather than waiting for the next look of the watch
		eventually(t, "the master has a new session", func() bool { s := m.session(config.ID); return s != nil && s != old })
	}
	eventually(t, "all old sessions are closed", func() (all bool) {
		m.with(func() { all = len(m.closed) == 20 })
		return all
	})
	if ready, detail, now := n.loop.readiness.get(); !ready || !now.Equal(since) {
		t.Errorf("readiness changed meanwhile: ready=%v since %v, not %v: %s", ready, now, since, detail)
	}
	if !n.metric(t, "refinery_agent_reconnects_total 0") || !n.metric(t, "refinery_agent_authenticated 1") {
		t.Error("a session was lost meanwhile")
	}
}

func TestRefusedNewCertificateLeavesTheSession(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	m := newMaster(t, ca)
	p, next := ca.issue(t), ca.issue(t)
	m.accept(p.certificate)
	config := newConfig(t, m.address)
	put(t, config.CertificateDir, p.files(ca))
	n := startNode(t, config)
	n.awaitReady(t)
	_, _, since := n.loop.readiness.get()
	old := m.session(config.ID)

	put(t, config.CertificateDir, next.files(ca))
	eventually(t, "the new certificate was denied twice", func() bool { return n.metric(t, `refinery_agent_handshakes_total{result="denied"} 2`) })
	if m.session(config.ID) != old {
		t.Error("the session did not survive the refusal")
	}
	m.accept(next.certificate)
	eventually(t, "the new certificate is let in", func() bool { s := m.session(config.ID); return s != nil && s != old })
	if ready, detail, now := n.loop.readiness.get(); !ready || !now.Equal(since) {
		t.Errorf("readiness changed meanwhile: ready=%v since %v, not %v: %s", ready, now, since, detail)
	}
	if got := n.log.count("the new certificate is not let in; keeping the session"); got != 1 {
		t.Errorf("the refusal was logged %d times, not once", got)
	}
}

func TestUnusableFilesAreSaidOnceAndLeaveTheSession(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	m := newMaster(t, ca)
	p := ca.issue(t)
	m.accept(p.certificate)
	config := newConfig(t, m.address)
	put(t, config.CertificateDir, p.files(ca))
	n := startNode(t, config)
	n.awaitReady(t)
	old := m.session(config.ID)

	half := p.files(ca)
	half[keyFile] = half[keyFile][:40]
	put(t, config.CertificateDir, half)
	for range 3 {
		n.store.look()
	}
	if got := n.log.count("cannot be used; keeping the former ones"); got != 1 {
		t.Errorf("said %d times, not once", got)
	}
	put(t, config.CertificateDir, p.files(ca))
	n.store.look()
	if n.log.count("as they were before") != 1 || m.session(config.ID) != old || !n.ready(t) {
		t.Error("the session did not survive")
	}
}

func TestNewUpstreamReplacesTheFileAtOnceAndIsAcknowledged(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	m := newMaster(t, ca)
	p := ca.issue(t)
	m.accept(p.certificate)
	config := newConfig(t, m.address)
	put(t, config.CertificateDir, p.files(ca))
	n := startNode(t, config)
	n.awaitReady(t)

	const moves = 50
	upstream := func(i int) string { return net.JoinHostPort("10.0.0.2", []string{"34307", "34308"}[i%2]) }
	s := m.session(config.ID)
	for i := range moves {
		if err := s.SetUpstream(upstream(i)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new upstream is acknowledged", func() (acked bool) {
			if _, err := readUpstream(config.UpstreamFile); err != nil {
				t.Fatalf("a reader saw half a file: %v", err)
			}
			m.with(func() { acked = len(m.acked) == i+1 })
			return acked
		})
		got, err := readUpstream(config.UpstreamFile)
		if err != nil || got.Upstream != upstream(i) {
			t.Fatalf("acknowledged before it was published: %v, %v", got, err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(config.UpstreamFile)); err != nil || len(entries) != 1 {
		t.Errorf("temporary files are left: %v, %v", entries, err)
	}
	if m.session(config.ID) != s {
		t.Error("the session changed")
	}
}

func TestLostMasterKeepsTheUpstreamAndIsFoundAgain(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	p := ca.issue(t)
	first := newMaster(t, ca)
	first.accept(p.certificate)
	config := newConfig(t, first.address)
	put(t, config.CertificateDir, p.files(ca))
	n := startNode(t, config)
	n.awaitReady(t)

	first.server.Close()
	n.awaitReason(t, "the master cannot be reached at "+first.address+": connect: connection refused")
	if status, body := n.get(t, "http-address", "/upstream"); status != http.StatusOK || !strings.Contains(body, "10.0.0.1:34307") {
		t.Errorf("GET /upstream after the session was lost: %d %s", status, body)
	}
	if !n.metric(t, "refinery_agent_authenticated 0") || !n.metric(t, "refinery_agent_reconnects_total 1") {
		t.Error("the metrics do not show the loss")
	}
	second := newMasterAt(t, ca, first.address)
	second.with(func() { second.upstream = "10.0.0.9:34307" })
	second.accept(p.certificate)
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
	put(t, directory, map[string][]byte{"certificate": []byte("another one\n")})
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
	ca := newAuthority(t)
	m := newMaster(t, ca)
	p := ca.issue(t)
	m.accept(p.certificate)
	m.with(func() { m.upstream = "no port" })
	config := newConfig(t, m.address)
	put(t, config.CertificateDir, p.files(ca))
	n := startNode(t, config)
	n.awaitReason(t, `upstream not published: "no port": it is not host:port`)
	if m.session(config.ID) != nil {
		t.Error("the upstream was acknowledged")
	}
	m.with(func() { m.upstream = "ingest.example.com:34307" })
	n.awaitReady(t)
}

func TestStoppingClosesTheSessionOrderly(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	m := newMaster(t, ca)
	p := ca.issue(t)
	m.accept(p.certificate)
	config := newConfig(t, m.address)
	put(t, config.CertificateDir, p.files(ca))
	n := startNode(t, config)
	n.awaitReady(t)

	began := time.Now()
	if err := n.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %v", took)
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

func TestStoppingDoesNotWaitForASilentMaster(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ca := newAuthority(t)
	config := newConfig(t, silent.Addr().String())
	put(t, config.CertificateDir, ca.issue(t).files(ca))
	n := startNode(t, config)
	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	if err := n.stop(); err != nil || time.Since(began) > 2*time.Second {
		t.Errorf("Run returned %v after %v", err, time.Since(began))
	}
}

func TestAddressInUseIsSaidWithItsFlag(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	config := newConfig(t, "127.0.0.1:1")
	config.HealthAddress = l.Addr().String()
	_, err = New(config, discard())
	want := "--health-address=" + config.HealthAddress + " cannot be listened on: bind: address already in use; choose another address, or write --health-address= to serve nothing"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
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
