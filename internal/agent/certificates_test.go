package agent

import (
	"context"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The kubelet replaces all files of a Secret at once and removes the former ones; no reading may mix the two.
func TestFilesOfAMountedSecretAreReadAsOneVersion(t *testing.T) {
	ca := newAuthority(t)
	directory := t.TempDir()
	versions := []map[string][]byte{ca.issue(t).files(ca), ca.issue(t).files(ca)}
	put(t, directory, versions[0])
	files := credentialFiles{Config{Transport: MutualTLS, CertificateDir: directory}}
	replaced := make(chan struct{})
	go func() {
		defer close(replaced)
		for i := range 500 {
			former, err := filepath.EvalSymlinks(filepath.Join(directory, "..data"))
			if err != nil {
				t.Error(err)
				return
			}
			put(t, directory, versions[(i+1)%2])
			if err := os.RemoveAll(former); err != nil {
				t.Error(err)
			}
		}
	}()
	defer func() { <-replaced }()
	for readings := 0; ; readings++ {
		contents, err := files.read()
		if err == nil {
			_, err = files.parse(contents)
		}
		if err != nil {
			t.Fatalf("reading %d: %v", readings, err)
		}
		select {
		case <-replaced:
			return
		default:
		}
	}
}

func TestSharedCertificateIsTextOfABoundedLength(t *testing.T) {
	for _, test := range []struct{ name, content, want string }{
		{"right", " the shared secret\n", ""},
		{"empty", "\n", "--shared-certificate-file: the file is empty"},
		{"one byte", "x\n", "--shared-certificate-file: the file has fewer than 16 bytes, so it can be guessed; put in a longer one, such as openssl rand -hex 32 writes"},
		{"not text", strings.Repeat("\xff", 16), "--shared-certificate-file: the file is not UTF-8 text"},
		{"at the bound", strings.Repeat("x", 32<<10) + "\n", ""},
		{"over the bound", strings.Repeat("x", 32<<10+1), "--shared-certificate-file: the file has more than the 32768 bytes that a node may send"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "shared")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			files := credentialFiles{Config{Transport: Plaintext, SharedCertificateFile: path}}
			contents, err := files.read()
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := files.parse(contents)
			if got := ""; err != nil {
				if got = err.Error(); got != test.want {
					t.Errorf("error %q, want %q", got, test.want)
				}
				return
			}
			if test.want != "" || parsed.proof != strings.TrimSpace(test.content) {
				t.Errorf("accepted, want %q", test.want)
			}
		})
	}
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
		{"garbage", map[string][]byte{"ca.crt": ca.pem, "tls.crt": []byte("garbage"), "tls.key": right.key}, "tls.crt: it holds no certificate"},
		{"key of another certificate", map[string][]byte{"ca.crt": ca.pem, "tls.crt": right.certificate, "tls.key": wrong.key}, "tls.key: it is not the key of the first certificate in tls.crt"},
		{"1 MiB of PEM", map[string][]byte{"ca.crt": ca.pem, "tls.crt": []byte(strings.Repeat(string(right.certificate), 2000)), "tls.key": right.key}, "tls.crt is larger than 256 KiB"},
		{"bundle without a certificate", map[string][]byte{"ca.crt": []byte("none"), "tls.crt": right.certificate, "tls.key": right.key}, "ca.crt: it holds no certificate"},
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
	m, n := startReadyNode(t)
	_, _, since := n.loop.readiness.get()

	for range 20 {
		old, next := m.await(t, m.config.ID), m.ca.issue(t)
		m.accept(next.certificate)
		put(t, m.config.CertificateDir, next.files(m.ca))
		eventually(t, "the master has a new session", func() bool { s := m.session(m.config.ID); return s != nil && s != old })
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
	m, n := startReadyNode(t)
	next := m.ca.issue(t)
	_, _, since := n.loop.readiness.get()
	old := m.await(t, m.config.ID)

	put(t, m.config.CertificateDir, next.files(m.ca))
	eventually(t, "the new certificate was denied twice", func() bool { return n.metric(t, `refinery_agent_handshakes_total{result="denied"} 2`) })
	if m.session(m.config.ID) != old {
		t.Error("the session did not survive the refusal")
	}
	m.accept(next.certificate)
	eventually(t, "the new certificate is let in", func() bool { s := m.session(m.config.ID); return s != nil && s != old })
	if ready, detail, now := n.loop.readiness.get(); !ready || !now.Equal(since) {
		t.Errorf("readiness changed meanwhile: ready=%v since %v, not %v: %s", ready, now, since, detail)
	}
	if got := n.log.count("no new session yet; keeping the one there is"); got != 1 {
		t.Errorf("the refusal was logged %d times, not once", got)
	}
}

func TestSessionLostWhileTheNewCertificateIsStillOnItsWayIsShown(t *testing.T) {
	t.Parallel()
	m := newSite(t)
	next := m.ca.issue(t)
	m.accept(m.pair.certificate, next.certificate)
	dials, proceed := make(chan struct{}, 100), make(chan struct{}, 100)
	n := startNodeWith(t, m.config, func(ctx context.Context, network, address string) (net.Conn, error) {
		dials <- struct{}{}
		select {
		case <-proceed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	})
	proceed <- struct{}{}
	n.awaitReady(t)
	<-dials

	put(t, m.config.CertificateDir, next.files(m.ca))
	<-dials
	m.await(t, m.config.ID).Close(errRefused)
	n.awaitReason(t, "the session ended: closed by the peer")
	proceed <- struct{}{}
	n.awaitReady(t)
	if !n.metric(t, "refinery_agent_reconnects_total 1") || n.log.count(`msg="session ended"`) != 1 {
		t.Error("the loss was not counted and logged once")
	}
	if len(dials) > 0 {
		t.Error("the attempt under way was not used")
	}
}

func TestAfterALostSessionTheFormerCertificateIsUsedWhereTheNewOneIsRefused(t *testing.T) {
	t.Parallel()
	m, n := startReadyNode(t)
	next := m.ca.issue(t)
	put(t, m.config.CertificateDir, next.files(m.ca))
	eventually(t, "the new certificate was denied", func() bool { return n.metric(t, `refinery_agent_handshakes_total{result="denied"} 1`) })

	old := m.await(t, m.config.ID)
	old.Close(errRefused)
	eventually(t, "back with the former certificate", func() bool { s := m.session(m.config.ID); return s != nil && s != old && n.ready(t) })
	if n.log.count("trying those of its last session") == 0 {
		t.Error("the log does not say that the files are not used")
	}
	former := m.session(m.config.ID)
	m.accept(next.certificate)
	eventually(t, "the new certificate takes over when it is let in", func() bool { s := m.session(m.config.ID); return s != nil && s != former && n.ready(t) })
}

func TestUnusableFilesAreSaidOnceAndLeaveTheSession(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(files map[string][]byte)
		says  string
	}{
		"half a key": {func(files map[string][]byte) { files[keyFile] = files[keyFile][:40] }, "tls.key, block 1 of 1 (private key, line 1): it has no END line"},
		"a bundle with one certificate that does not parse": {func(files map[string][]byte) {
			bad := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("not DER")})
			files[authorityFile] = slices.Concat(files[authorityFile], bad)
		}, "ca.crt, block 2 of 2 (CERTIFICATE, line 12): it does not parse"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, n := startReadyNode(t)
			old := m.await(t, m.config.ID)

			files := m.pair.files(m.ca)
			test.spoil(files)
			put(t, m.config.CertificateDir, files)
			for range 3 {
				n.store.look()
			}
			if got := n.log.count("cannot be used; keeping the former ones"); got != 1 || n.log.count(test.says) != 1 {
				t.Errorf("said %d times, not once, or without %q", got, test.says)
			}
			put(t, m.config.CertificateDir, m.pair.files(m.ca))
			n.store.look()
			if n.log.count("as they were before") != 1 || m.session(m.config.ID) != old || !n.ready(t) {
				t.Error("the session did not survive")
			}
		})
	}
}
