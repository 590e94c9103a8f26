package master

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

const (
	textUUID = "5f0c9a52-7d0e-4b8e-9f3a-0d6b1c2e3f40"
	// textCertificate is a certificate as a base64 string.
	textCertificate = "TUlJQnJUQ0NBVk9nQXdJQkFnSVVaMm94K2p2L0pUUT0="
)

// openPlant has a master that nodes of the bare text can speak to, and Refinery press, which takes all of them.
func openPlant(t *testing.T) (*plant, *process) {
	t.Helper()
	p := newPlant(t, v1alpha1.ClusterMasterSpec{
		Security:  v1alpha1.SecuritySpec{Transport: v1alpha1.TransportPlaintext, Authentication: v1alpha1.AuthenticationSharedCertificate},
		Protocol:  v1alpha1.ProtocolSpec{AcceptedVersions: ">=0.0.1", AliveIntervalSeconds: 10, AliveTimeoutSeconds: 35},
		Upstreams: []v1alpha1.Upstream{{Name: "east", Address: "east:1"}}})
	p.shared = filepath.Join(t.TempDir(), "certificate")
	p.must(os.WriteFile(p.shared, []byte(textCertificate+"\n"), 0o600))
	p.refinery("press", 1)
	p.patch(p.get("press"), func(r *v1alpha1.Refinery) { r.Spec.Nodes = &v1alpha1.NodeSelection{Rest: true} }, false)
	return p, p.start("alpha-0")
}

// transcript is a connection whose every byte counts.
type transcript struct {
	*testing.T
	conn net.Conn
}

func (p *plant) dial(m *process) *transcript {
	p.Helper()
	p.eventuallyMaster("active", func(m *v1alpha1.ClusterMaster) bool { return m.ActivePod() == "alpha-0" })
	var conn net.Conn
	p.until("listening", func() (listens bool) {
		var err error
		conn, err = net.Dial("tcp", m.address)
		return err == nil
	})
	p.Cleanup(func() { _ = conn.Close() })
	p.must(conn.SetDeadline(time.Now().Add(patience)))
	return &transcript{p.T, conn}
}

func (s *transcript) says(message string) {
	s.Helper()
	if _, err := s.conn.Write([]byte(message)); err != nil {
		s.Fatal(err)
	}
}

func (s *transcript) hears(message string) {
	s.Helper()
	heard := make([]byte, len(message))
	n, err := io.ReadFull(s.conn, heard)
	if err != nil || string(heard) != message {
		s.Fatalf("heard %q (%v), want %q", heard[:n], err, message)
	}
}

// enters is the opening as the text has it.
func (s *transcript) enters(id string) {
	s.Helper()
	s.says(`conn:establish;;"{id":"` + id + `","version":"0.0.1","type":"refinery"}<EOF>`)
	s.hears(`conn:startAuth;;<EOF>`)
	s.says(`auth:start;;"{cert":"` + textCertificate + `"}<EOF>`)
}

func TestANodeThatGoesByTheTextAloneIsLetInShownMovedAndClosed(t *testing.T) {
	p, m := openPlant(t)
	node := p.dial(m)
	node.enters(textUUID)
	node.hears(`auth:ack;;{"upstream":"east:1"}<EOF>`)
	node.says(`auth:ack;;<EOF>`)
	r := p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
	want := []v1alpha1.NodeStatus{{ID: textUUID, State: v1alpha1.NodeAuthenticated, Reason: v1alpha1.ReasonAuthenticated, Version: "0.0.1", Type: "refinery",
		Address: "127.0.0.1", Upstream: "east", LastTransitionTime: r.Status.Nodes[0].LastTransitionTime}}
	if diff := cmp.Diff(want, r.Status.Nodes); diff != "" {
		t.Errorf("status.nodes (-want +got):\n%s", diff)
	}
	node.says(`conn:alive;;<EOF>`)
	node.hears(`conn:alive;;<EOF>`)
	p.patchMaster(func(m *v1alpha1.ClusterMaster) {
		m.Spec.Upstreams = []v1alpha1.Upstream{{Name: "west", Address: "west:1"}}
		m.Spec.Protocol.PayloadForm = v1alpha1.PayloadLiteral // for the sessions to come
	})
	node.hears(`auth:ack;;{"upstream":"west:1"}<EOF>`)
	node.says(`auth:ack;;<EOF>`)
	p.eventually("press", "moved", func(r *v1alpha1.Refinery) bool { return r.Status.Nodes[0].Upstream == "west" })

	yard := &v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "yard"}, Spec: v1alpha1.RefinerySpec{
		MasterRef: v1alpha1.LocalReference{Name: "alpha"}, Nodes: &v1alpha1.NodeSelection{IDs: []v1alpha1.NodeID{textUUID}}}}
	p.must(p.client.Create(p.ctx, yard))
	node.hears(`conn:close;;<EOF>`)
	node = p.dial(m)
	node.enters(textUUID)
	node.hears(`auth:ack;;"{upstream":"west:1"}<EOF>`)
	node.says(`auth:ack;;<EOF>`)
	p.eventually("yard", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))

	p.patch(p.get("yard"), func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, false)
	node.hears(`conn:close;;<EOF>`)
	node = p.dial(m)
	node.enters(textUUID)
	node.hears(`auth:dec;;<EOF>`)
	node.says(`conn:close;;<EOF>`)
	suspended := p.eventually("yard", "suspended", shows("0/1", v1alpha1.ReasonSuspended))
	if said := reportIn(&suspended.Status).Condition.Message; !strings.Contains(said, "whoever holds the shared certificate") {
		t.Errorf("condition says %q", said)
	}
}

func TestAStrangerIsShownUntilARefinerySelectsIt(t *testing.T) {
	p, m := openPlant(t)
	p.patch(p.get("press"), func(r *v1alpha1.Refinery) { r.Spec.Nodes = nil }, false)
	node := p.dial(m)
	p.until("read", func() bool { return m.directory.Refinery("press").Spec.Nodes == nil })
	node.enters(textUUID)
	node.hears(`auth:dec;;<EOF>`)
	node.says(`conn:close;;<EOF>`)
	cm := p.eventuallyMaster("shown", func(m *v1alpha1.ClusterMaster) bool { return len(m.Status.Strangers) > 0 })
	want := []v1alpha1.StrangerStatus{{ID: textUUID, Address: "127.0.0.1", Type: "refinery", Reason: v1alpha1.ReasonIDMismatch, Count: 1,
		LastSeen: cm.Status.Strangers[0].LastSeen}}
	if diff := cmp.Diff(want, cm.Status.Strangers); diff != "" {
		t.Errorf("status.strangers (-want +got):\n%s", diff)
	}
	p.patch(p.get("press"), func(r *v1alpha1.Refinery) {
		r.Spec.Nodes = &v1alpha1.NodeSelection{Prefixes: []v1alpha1.NodeID{"5f0c"}}
	}, false)
	p.until("read", func() bool { return m.directory.Refinery("press").Spec.Nodes != nil })
	node = p.dial(m)
	node.enters(textUUID)
	node.hears(`auth:ack;;{"upstream":"east:1"}<EOF>`)
}

func TestTheProgramThatGoesByTheTextAloneIsLetInMovedAndClosed(t *testing.T) {
	p, m := openPlant(t)
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("the example in docs/examples is tested too, and python3 is not installed: install it, for example with apt-get install python3-minimal")
	}
	_ = p.dial(m).conn.Close() // it tries once
	host, port, err := net.SplitHostPort(m.address)
	p.must(err)
	var stderr bytes.Buffer
	program := exec.Command(python, filepath.Join("..", "..", "docs", "examples", "by_the_text.py"), host, port, p.shared)
	program.Stderr = &stderr
	stdout, err := program.StdoutPipe()
	p.must(err)
	p.must(program.Start())
	defer func() { _ = program.Process.Kill() }() // it has ended, unless the test failed
	lines := bufio.NewScanner(stdout)
	prints := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			_ = program.Process.Kill()
			_ = program.Wait()
			t.Fatalf("printed %q, want %q\n%s", lines.Text(), want, stderr.String())
		}
	}
	prints("east:1")
	r := p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
	if n := r.Status.Nodes[0]; n.Version != "0.0.1" || len(n.ID) != len(textUUID) {
		t.Errorf("status.nodes: %+v", n)
	}
	p.patchMaster(func(m *v1alpha1.ClusterMaster) {
		m.Spec.Upstreams = []v1alpha1.Upstream{{Name: "west", Address: "west:1"}}
	})
	prints("west:1")
	p.patch(p.get("press"), func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, false)
	prints("closed")
	if err := program.Wait(); err != nil {
		t.Errorf("%v\n%s", err, stderr.String())
	}
}
