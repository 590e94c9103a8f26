package master

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// scene is a directory with Refineries press and pump, both of master plant/alpha, and their certificates.
type scene struct {
	*testing.T
	directory   *directory
	trust       *admit.Trust
	clock       *clocktesting.FakeClock
	authority   *pkitest.Authority
	press, pump tls.Certificate
	generation  int64 // of the ClusterMaster
}

func newScene(t *testing.T) *scene {
	t.Helper()
	clk := clocktesting.NewFakeClock(time.Now())
	s := &scene{T: t, directory: newDirectory(clk), clock: clk, authority: pkitest.NewAuthority("plant")}
	s.trusting(s.authority)
	s.press, s.pump = admittest.Issue(s.authority, "press"), admittest.Issue(s.authority, "pump")
	s.setMaster(func(*v1alpha1.ClusterMaster) {})
	s.setRefinery("press", func(*v1alpha1.Refinery) {}, s.press)
	s.setRefinery("pump", func(*v1alpha1.Refinery) {}, s.pump)
	return s
}

func (s *scene) trusting(a *pkitest.Authority) {
	s.trust = s.trust.WithAnchors([]*x509.Certificate{a.Certificate})
}

// setMaster changes the ClusterMaster's spec.
func (s *scene) setMaster(edit func(*v1alpha1.ClusterMaster)) {
	s.generation++
	m := admittest.ClusterMaster(edit)
	m.Generation = s.generation
	s.directory.SetMaster(m)
}

func (s *scene) setRefinery(name string, edit func(*v1alpha1.Refinery), listed ...tls.Certificate) {
	s.directory.SetRefinery(admittest.Refinery(name, edit, listed...))
}

// floor is a scene whose sessions serve nodes over real sockets. It is its directory's listener.
type floor struct {
	*scene
	registry *registry
	sessions *sessions
	address  string
	changed  chan string // Refineries whose snapshot changed
	entered  chan string // ids of nodes whose session has been reviewed for the first time
}

// door tells when a session is fully there: the review that follows the handshake has put its end on the clock.
type door struct {
	*sessions
	entered chan<- string
}

func (d door) Authenticated(session *protocol.Session) {
	d.sessions.Authenticated(session)
	d.entered <- session.ID()
}

func newFloor(t *testing.T) *floor {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	f := &floor{scene: newScene(t), changed: make(chan string, 1000), entered: make(chan string, 1000)}
	f.registry = newRegistry(f.clock, func(name string, _ time.Duration) { f.changed <- name })
	f.sessions = newSessions(f.directory, f.registry, &admit.Authenticator{Directory: f.directory, Trust: func() *admit.Trust { return f.trust }, Clock: f.clock}, permitted(f.clock), newMetrics(), f.clock, logr.Discard())
	for _, name := range []string{"press", "pump"} {
		f.registry.SetWanted(name, 10)
	}
	f.directory.Listen(f)
	served := f.authority.Issue(pkitest.Server("localhost"))
	certificates := &certificates{log: logr.Discard()}
	certificates.current.Store(&inForce{served: &served})
	o := protocol.DefaultServerOptions()
	o.TLSConfig = certificates.ServerConfig(policyOf(v1alpha1.TransportMutualTLS, v1alpha1.AuthenticationIssuedCertificate))
	o.OnReport = f.sessions.Reported
	server, err := protocol.NewServer(door{f.sessions, f.entered}, o)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.address = listener.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{}, 2)
	go func() { f.sessions.Run(ctx); ended <- struct{}{} }()
	go func() { _ = server.Serve(listener); ended <- struct{}{} }()
	t.Cleanup(func() {
		stop()
		_ = server.Close()
		<-ended
		<-ended
		goleak.VerifyNone(t, leaks)
	})
	return f
}

func (f *floor) MasterChanged() {
	f.sessions.Arrange()
	for _, name := range f.directory.Names() {
		f.sessions.Review(name)
	}
}

func (f *floor) RefineryChanged(name string) { f.sessions.Review(name) }

func (f *floor) MembershipChanged(string) { f.MasterChanged() }

func (f *floor) UpstreamsChanged() { f.MasterChanged() }

// member is a node of a floor, connected.
type member struct {
	*floor
	id        string
	client    *protocol.Client
	upstreams chan string
	ended     chan error
}

// join connects as a node; its session ends with the test.
func (f *floor) join(certificate tls.Certificate, id string, edit ...func(*protocol.ClientOptions)) (*member, error) {
	f.Helper()
	m := &member{floor: f, id: id, upstreams: make(chan string, 10), ended: make(chan error, 1)}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pkitest.Pool(f.authority), ServerName: "localhost"}
	o := protocol.DefaultClientOptions()
	o.ID, o.Version, o.Type, o.Certificate = id, "0.1.0", "refinery", "none"
	if certificate.Leaf != nil {
		config.Certificates = []tls.Certificate{certificate}
		o.Certificate = admittest.PEM(certificate.Leaf)
	}
	o.OnUpstream = func(u string) error { m.upstreams <- u; return nil }
	for _, e := range edit {
		e(&o)
	}
	conn, err := tls.Dial("tcp", f.address, config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	if m.client, err = protocol.Handshake(ctx, conn, o); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.Background())
	go func() { m.ended <- m.client.Run(running) }()
	f.Cleanup(func() { stop(); _ = m.client.Close() })
	return m, nil
}

// refusal returns why a node that joins is not let in; nil if it is.
func (f *floor) refusal(certificate tls.Certificate, id string, edit ...func(*protocol.ClientOptions)) error {
	f.Helper()
	_, err := f.join(certificate, id, edit...)
	return err
}

func (f *floor) joined(certificate tls.Certificate, id string) *member {
	f.Helper()
	m, err := f.join(certificate, id)
	if err != nil {
		f.Fatal(err)
	}
	deadline := time.After(patience)
	for {
		select {
		case entered := <-f.entered:
			if entered == id {
				return m
			}
		case <-deadline:
			f.Fatalf("%s not authenticated in time", id)
		}
	}
}

// until waits on the registry's changes.
func (f *floor) until(what string, is func() bool) {
	f.Helper()
	deadline := time.After(patience)
	for !is() {
		select {
		case <-f.changed:
		case <-deadline:
			f.Fatalf("not %s in time", what)
		}
	}
}

// steps waits for what happens while the clock steps on.
func (f *floor) steps(by time.Duration, what string, is func() bool) {
	f.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
			f.clock.Step(by)
		case <-deadline:
			f.Fatalf("not %s in time", what)
		}
	}
}

// lives fails the test if the session has ended.
func (m *member) lives() {
	m.Helper()
	select {
	case err := <-m.ended:
		m.Errorf("the session of %s ended: %v", m.id, err)
	default:
	}
}

// closed waits until the master closed the session.
func (m *member) closed() {
	m.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for steps := 0; ; {
		select {
		case err := <-m.ended:
			if !errors.Is(err, protocol.ErrPeerClosed) {
				m.Errorf("ended by %v", err)
			}
			return
		case <-tick.C: // a queue that was setting its timer while the clock jumped looks again after 10 s of that clock
			if steps++; steps <= 100 { // and no certificate expires in the meantime
				m.clock.Step(11 * time.Second)
			}
		case <-deadline:
			m.Fatalf("the session is not closed after %v", patience)
		}
	}
}

func (f *floor) state(refinery, id string) string {
	s := f.registry.Snapshot(refinery)
	for _, n := range s.Nodes {
		if n.ID == id {
			return string(n.State) + "/" + n.Reason
		}
	}
	return ""
}

func TestWhoIsNotLetInGetsNoUpstream(t *testing.T) {
	tests := []struct {
		name  string
		join  func(f *floor) error
		want  error  // nil: any
		state string // of press/a in status
	}{
		{"another version", func(f *floor) error {
			return f.refusal(f.press, "press/a", func(o *protocol.ClientOptions) { o.Version = "0.3.0" })
		}, protocol.ErrVersionRefused, "VersionMismatch/VersionMismatch"},
		{"another type", func(f *floor) error {
			return f.refusal(f.press, "press/a", func(o *protocol.ClientOptions) { o.Type = "smelter" })
		}, protocol.ErrVersionRefused, "VersionMismatch/TypeNotAccepted"},
		{"another Refinery's certificate", func(f *floor) error { return f.refusal(f.pump, "press/a") }, protocol.ErrDenied, ""},
		{"another Refinery's certificate in auth:start", func(f *floor) error {
			return f.refusal(f.press, "press/a", func(o *protocol.ClientOptions) { o.Certificate = admittest.PEM(f.pump.Leaf) })
		}, protocol.ErrDenied, "Denied/CertificateMismatch"},
		{"a fingerprint that is not listed", func(f *floor) error {
			err := f.refusal(admittest.Issue(f.authority, "press"), "press/a")
			f.clock.Step(listingGrace)
			return err
		}, protocol.ErrDenied, "Denied/CertificateNotListed"},
		{"two URI SANs", func(f *floor) error {
			uri := f.press.Leaf.URIs[0].String()
			return f.refusal(f.authority.Issue(pkitest.Client(uri, uri+"2")), "press/a")
		}, protocol.ErrDenied, ""},
		{"no certificate", func(f *floor) error { return f.refusal(tls.Certificate{}, "press/a") }, nil, ""},
		{"a pin on an upstream that does not exist", func(f *floor) error {
			f.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Upstream = "moon" }, f.press)
			return f.refusal(f.press, "press/a")
		}, protocol.ErrDenied, "Denied/UnknownUpstream"},
		{"one more than maxSessions", func(f *floor) error {
			f.setMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Protocol.MaxSessions = 1 })
			f.joined(f.press, "press/first")
			f.joined(f.press, "press/first") // again under the same id: takes the place of the other
			return f.refusal(f.press, "press/a")
		}, protocol.ErrDenied, "Denied/TooManySessions"},
		{"one more than a Refinery's share", func(f *floor) error {
			f.registry.SetWanted("press", 1)
			for i := range 2*1 + spareSessions {
				f.joined(f.press, fmt.Sprintf("press/n%d", i))
			}
			f.joined(f.press, "press/n0") // again under the same id
			f.joined(f.pump, "pump/a")    // and others still come in
			return f.refusal(f.press, "press/a")
		}, protocol.ErrDenied, ""}, // more nodes than wanted are authenticated, so that a refusal does not show
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFloor(t)
			err := test.join(f)
			if err == nil || (test.want != nil && !errors.Is(err, test.want)) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			f.until("shown", func() bool { return f.state("press", "press/a") == test.state })
		})
	}
}

func TestAnIDIsTheNodesOwnAndSessionsAreKeptByRefineryAndID(t *testing.T) {
	const uuid = "5f0c9a52-7d0e-4b8e-9f3a-0d6b1c2e3f40"
	f := newFloor(t)
	press, pump := f.joined(f.press, uuid), f.joined(f.pump, uuid)
	for _, name := range []string{"press", "pump"} {
		if got := f.state(name, uuid); got != "Authenticated/Authenticated" {
			t.Errorf("in status of %s: %q", name, got)
		}
	}
	press.lives()
	pump.lives()
	if err := f.refusal(f.press, "pump/"+uuid); !errors.Is(err, protocol.ErrDenied) {
		t.Errorf("an id of another Refinery: %v", err)
	}
}

func TestWhatChangesUnderALiveSession(t *testing.T) {
	tests := []struct {
		name   string
		change func(f *floor)
		state  string
	}{
		{"suspended", func(f *floor) {
			f.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, f.press)
		}, "Closed/Suspended"},
		{"banned", func(f *floor) {
			f.setRefinery("press", func(r *v1alpha1.Refinery) {
				r.Spec.Banned = []v1alpha1.NodeBan{{ID: "press/a", Reason: "stolen"}}
			}, f.press)
		}, "Closed/Banned"},
		{"deleted", func(f *floor) { f.directory.DeleteRefinery("press") }, "Closed/Denied"},
		{"its fingerprint gone", func(f *floor) { f.setRefinery("press", func(*v1alpha1.Refinery) {}) }, "Closed/CertificateNotListed"},
		{"its certificate expired", func(f *floor) { f.clock.SetTime(f.press.Leaf.NotAfter.Add(time.Second)) }, "Closed/Expired"},
		{"other security", func(f *floor) {
			f.setMaster(func(m *v1alpha1.ClusterMaster) {
				m.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportMutualTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
			})
		}, "Closed/SecurityChanged"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFloor(t)
			stays := f.joined(f.pump, "pump/a")
			m := f.joined(f.press, "press/a")
			test.change(f)
			m.closed()
			f.until("shown", func() bool { return f.state("press", "press/a") == test.state })
			if test.name == "suspended" {
				stays.lives()
			}
		})
	}
}

func TestThePreviousCertificateIsLetInUntilItsOverlapEnds(t *testing.T) {
	f := newFloor(t)
	f.setRefinery("press", func(r *v1alpha1.Refinery) {
		r.Status.Certificates[0].Use = v1alpha1.CertificatePrevious
		r.Status.Certificates[0].Until = &metav1.Time{Time: f.clock.Now().Add(time.Minute)}
	}, f.press)
	m := f.joined(f.press, "press/a")
	f.clock.Step(2 * time.Minute)
	m.closed()
}

func TestANewerSessionTakesThePlaceOfTheOlderOnTheWire(t *testing.T) {
	f := newFloor(t)
	older := f.joined(f.press, "press/a")
	newer := f.joined(f.press, "press/a")
	older.closed()
	if state := f.state("press", "press/a"); state != "Authenticated/Authenticated" {
		t.Errorf("state %s", state)
	}
	newer.lives()
}

func TestNewUpstreamsMoveOnlyTheSessionsThatMust(t *testing.T) {
	f := newFloor(t)
	one := []v1alpha1.Upstream{{Name: "east", Address: "east:1", Weight: ptr.To[int32](1)}}
	two := []v1alpha1.Upstream{one[0], {Name: "west", Address: "west:1", Weight: ptr.To[int32](1)}}
	f.setMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Upstreams = one })
	members := map[string]*member{}
	for _, id := range []string{"press/a", "press/b", "press/c", "press/d", "press/e", "press/f"} {
		members[id] = f.joined(f.press, id)
		if u := <-members[id].upstreams; u != "east:1" {
			t.Fatalf("%s was told %s", id, u)
		}
	}
	f.setMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Upstreams = two })
	at := func(name string) (ids []string) {
		for _, n := range f.registry.Snapshot("press").Nodes {
			if n.Upstream == name {
				ids = append(ids, n.ID)
			}
		}
		return ids
	}
	f.steps(moveInterval, "spread over both", func() bool { return len(at("west")) == 3 })
	for _, id := range at("west") {
		if told := <-members[id].upstreams; told != "west:1" {
			t.Errorf("%s was told %s", id, told)
		}
	}
	for id, m := range members {
		if len(m.upstreams) > 0 {
			t.Errorf("%s was told more than it must: %s", id, <-m.upstreams)
		}
	}
	f.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Upstream = "west" }, f.press)
	f.until("pinned", func() bool {
		for _, n := range f.registry.Snapshot("press").Nodes {
			if n.Upstream != "west" {
				return false
			}
		}
		return true
	})
	f.setRefinery("press", func(r *v1alpha1.Refinery) { r.Spec.Upstream = "moon" }, f.press)
	f.sessions.Review("press")
	for id := range members {
		if f.state("press", id) != "Authenticated/Authenticated" {
			t.Errorf("%s was taken out of service by a pin that does not exist", id)
		}
	}
}
