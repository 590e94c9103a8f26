package master

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	ac "github.com/refinery-operator/refinery-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/internal/masterfields"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/protocol"
)

func shows(text, reason string) func(*v1alpha1.Refinery) bool {
	return func(r *v1alpha1.Refinery) bool {
		report := reportIn(&r.Status)
		return report.Authenticated.Summary == text && report.Condition.Reason == reason
	}
}

func TestANodeThatAuthenticatesShowsInStatus(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	p.eventually("press", "connecting", shows("0/1", v1alpha1.ReasonConnecting))
	p.node(m, "press/a", certificate)
	r := p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
	want := []v1alpha1.NodeStatus{{ID: "press/a", State: v1alpha1.NodeAuthenticated, Reason: v1alpha1.ReasonAuthenticated, Version: "0.1.0",
		Type: "refinery", Address: "127.0.0.1", Upstream: "default", Certificate: v1alpha1.Fingerprint(certificate.Leaf), LastTransitionTime: r.Status.Nodes[0].LastTransitionTime}}
	if diff := cmp.Diff(want, r.Status.Nodes); diff != "" {
		t.Errorf("status.nodes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&v1alpha1.Reporter{Pod: "alpha-0", Epoch: 1}, r.Status.Reporter); diff != "" {
		t.Errorf("status.reporter (-want +got):\n%s", diff)
	}
	cm := p.eventuallyMaster("totalled", func(m *v1alpha1.ClusterMaster) bool {
		return m.Status.Refineries != nil && m.Status.Refineries.Summary == "1/1"
	})
	upstreams := []v1alpha1.UpstreamStatus{{Name: "default", Address: fmt.Sprintf("alpha.%s.svc:34308", p.namespace), Ready: true, Assigned: 1}}
	if diff := cmp.Diff(upstreams, cm.Status.Upstreams); diff != "" {
		t.Errorf("status.upstreams (-want +got):\n%s", diff)
	}
	active := &v1alpha1.ActiveMaster{Pod: "alpha-0", Epoch: 1, Since: cm.Status.Active.Since,
		Certificate: v1alpha1.Fingerprint(served(t, p.directory)), Authorities: []string{v1alpha1.Fingerprint(p.authority.Certificate)}}
	if diff := cmp.Diff(active, cm.Status.Active); diff != "" {
		t.Errorf("status.active (-want +got):\n%s", diff)
	}
	p.owns("press")
}

// served is the certificate of a mounted Secret.
func served(t *testing.T, directory string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(directory, "tls.crt"), filepath.Join(directory, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func TestWhatTheActiveMasterHasLoadedShowsInStatus(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	p.node(m, "press/a", certificate)
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
	other := pkitest.NewAuthority("other")
	mount(p.directory, other, p.authority)
	authorities := []string{v1alpha1.Fingerprint(p.authority.Certificate), v1alpha1.Fingerprint(other.Certificate)}
	slices.Sort(authorities)
	certificateServed := v1alpha1.Fingerprint(served(t, p.directory))
	cm := p.eventuallyMaster("loaded", func(m *v1alpha1.ClusterMaster) bool {
		a := m.Status.Active
		return a != nil && a.Certificate == certificateServed && slices.Equal(a.Authorities, authorities)
	})
	m.stop()

	// Another master that has loaded the same says so with its claim, and writes nothing after it.
	p.start("alpha-1")
	next := p.eventuallyMaster("taken over", func(m *v1alpha1.ClusterMaster) bool { return m.Status.Active.Pod == "alpha-1" })
	want := *cm.Status.Active
	want.Pod, want.Epoch, want.Since = "alpha-1", 2, next.Status.Active.Since
	if diff := cmp.Diff(&want, next.Status.Active); diff != "" {
		t.Errorf("status.active (-want +got):\n%s", diff)
	}
	r := p.get("press")
	if diff := cmp.Diff([]v1alpha1.PresentedCertificate{{Fingerprint: v1alpha1.Fingerprint(certificate.Leaf), Nodes: 1}}, r.Status.Authenticated.Certificates); diff != "" {
		t.Errorf("status.authenticated.certificates (-want +got):\n%s", diff)
	}
}

// owns shows that the master's field owner owns exactly its part of a Refinery's status.
func (p *plant) owns(name string) {
	p.Helper()
	for _, entry := range p.get(name).ManagedFields {
		if entry.Manager != v1alpha1.MasterFieldOwner {
			continue
		}
		fields := string(entry.FieldsV1.GetRawBytes())
		var owned map[string]map[string]map[string]any
		p.must(json.Unmarshal([]byte(fields), &owned))
		status := owned["f:status"]
		got := []any{entry.Operation, len(owned), slices.Sorted(maps.Keys(status)), slices.Collect(maps.Keys(status["f:conditions"]))}
		want := []any{metav1.ManagedFieldsOperationApply, 1, []string{"f:authenticated", "f:conditions", "f:nodes", "f:reporter"}, []string{`k:{"type":"Authenticated"}`}}
		if diff := cmp.Diff(want, got); diff != "" {
			p.Errorf("what the master owns (-want +got):\n%s\n%s", diff, fields)
		}
		return
	}
	p.Error("the master owns nothing")
}

func TestARefusedVersionIsShownAndLetInOnceItIsAccepted(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{Protocol: v1alpha1.ProtocolSpec{AcceptedVersions: ">=0.2.0", AliveIntervalSeconds: 10, AliveTimeoutSeconds: 35}})
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	p.node(m, "press/a", certificate)
	r := p.eventually("press", "refused", shows("0/1", v1alpha1.ReasonVersionMismatch))
	if want := `announces version 0.1.0; this master accepts ">=0.2.0" (spec.protocol.acceptedVersions)`; r.Status.Nodes[0].Message != want {
		t.Errorf("message %q", r.Status.Nodes[0].Message)
	}
	p.eventuallyEvent("VersionMismatch", "press/a: VersionMismatch: announces version 0.1.0")
	p.patchMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Protocol.AcceptedVersions = ">=0.1.0" })
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
}

func TestTwoNodesThatShareAnIDAreShownInStatus(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	p.node(m, "press/a", certificate)
	_, stop := p.node(m, "press/a", certificate)
	r := p.eventually("press", "shown as duplicate", shows("1/1", v1alpha1.ReasonDuplicateID))
	if n := r.Status.Nodes[0]; n.State != v1alpha1.NodeAuthenticated || n.Reason != v1alpha1.ReasonDuplicateID || !strings.Contains(n.Message, "twice from 127.0.0.1") {
		t.Errorf("status.nodes: %+v", n)
	}
	p.eventuallyEvent("DuplicateID", "press/a: DuplicateID: several nodes announce this id")
	stop()
}

// eventuallyEvent waits for an event with this reason and a note that begins so.
func (p *plant) eventuallyEvent(reason, note string, is ...func(*eventsv1.Event) bool) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	w, err := p.client.Watch(ctx, &eventsv1.EventList{}, client.InNamespace(p.namespace))
	p.must(err)
	defer w.Stop()
	for event := range w.ResultChan() {
		e, ok := event.Object.(*eventsv1.Event)
		if ok && e.Reason == reason && strings.HasPrefix(e.Note, note) && !slices.ContainsFunc(is, func(is func(*eventsv1.Event) bool) bool { return !is(e) }) {
			return
		}
	}
	p.Errorf("no event %s %q", reason, note)
}

func TestAccessIsTakenAndGivenBack(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	p.node(m, "press/a", certificate)
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))

	p.patch(p.get("press"), func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, false)
	p.eventually("press", "denied", func(r *v1alpha1.Refinery) bool {
		return shows("0/1", v1alpha1.ReasonSuspended)(r) && r.Status.Nodes[0].State == v1alpha1.NodeDenied
	})
	p.patch(p.get("press"), func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessAllowed }, false)
	p.eventually("press", "authenticated again", shows("1/1", v1alpha1.ReasonAuthenticated))

	p.list("press")
	p.eventually("press", "denied for its fingerprint", func(r *v1alpha1.Refinery) bool {
		return shows("0/1", v1alpha1.ReasonDenied)(r) && r.Status.Nodes[0].Reason == v1alpha1.ReasonCertificateNotListed
	})
	p.eventuallyEvent("Denied", "press/a: CertificateNotListed")
	p.list("press", certificate)
	p.eventually("press", "authenticated once more", shows("1/1", v1alpha1.ReasonAuthenticated))

	p.must(p.client.Delete(p.ctx, p.get("press")))
	p.eventuallyMaster("empty", func(m *v1alpha1.ClusterMaster) bool {
		return m.Status.Refineries != nil && m.Status.Refineries.Summary == "0/0"
	})
}

func TestWhatTheOperatorSaidWhileThereWasNoMasterIsTakenBack(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	none := report{Nodes: []v1alpha1.NodeStatus{{ID: "press/gone", State: v1alpha1.NodeAuthenticated, LastTransitionTime: metav1.Now()}},
		Authenticated: v1alpha1.AuthenticatedNodes{Wanted: 1, Summary: "0/1"},
		Condition: metav1.Condition{Type: v1alpha1.ConditionAuthenticated, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonMasterUnavailable,
			LastTransitionTime: metav1.Now()}}
	p.must(p.client.Status().Apply(p.ctx, refineryStatus(p.namespace, "press", &none, tenure{Pod: "alpha-9", Epoch: 1}),
		client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership))
	m := p.start("alpha-0")
	p.eventually("press", "connecting", func(r *v1alpha1.Refinery) bool {
		return shows("0/1", v1alpha1.ReasonConnecting)(r) && len(r.Status.Nodes) == 0
	})
	p.node(m, "press/a", certificate)
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
}

func TestAMasterThatTheOperatorTookForGoneSaysThatItIsActive(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.start("alpha-0")
	active := func(m *v1alpha1.ClusterMaster) bool { return m.ActivePod() == "alpha-0" && m.Status.Refineries != nil }
	gone := p.eventuallyMaster("active", active).DeepCopy()
	gone.Status.Active.Pod = ""
	p.must(p.client.Status().Apply(p.ctx, masterfields.OfClusterMaster(p.namespace, "alpha", &gone.Status),
		client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership))
	p.eventuallyMaster("active again", active)
}

// admissionPolicy has the API server judge what masters write, and waits until it refuses a write.
func (p *plant) admissionPolicy(refused func() error) {
	p.Helper()
	file, err := os.Open(filepath.Join("..", "..", "config", "admission", "master_status_policy.yaml"))
	p.must(err)
	defer func() { _ = file.Close() }()
	for decoder := utilyaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			p.Fatal(err)
		}
		p.must(p.client.Create(p.ctx, o))
		p.Cleanup(func() { p.must(p.client.Delete(context.Background(), o)) })
	}
	p.until("judged", func() bool { return apierrors.IsInvalid(refused()) || apierrors.IsForbidden(refused()) })
}

func TestTheRoleThatTheOperatorMakesIsEnough(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{Upstreams: []v1alpha1.Upstream{serviceUpstream("east", 1)},
		Protocol: v1alpha1.ProtocolSpec{AcceptedVersions: ">=0.2.0", AliveIntervalSeconds: 10, AliveTimeoutSeconds: 35}})
	cm := p.master()
	for _, object := range []runtime.ApplyConfiguration{resource.MasterServiceAccount(cm), resource.MasterRole(cm), resource.MasterRoleBinding(cm), resource.MasterLease(cm)} {
		p.must(p.client.Apply(p.ctx, object, client.FieldOwner(v1alpha1.OperatorFieldOwner)))
	}
	p.config = rest.CopyConfig(p.config)
	p.config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + p.namespace + ":" + resource.MasterServiceAccountName(cm),
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + p.namespace, "system:authenticated"}}
	restricted, err := client.New(p.config, client.Options{Scheme: p.client.Scheme()})
	p.must(err)
	if err := restricted.List(p.ctx, &corev1.SecretList{}, client.InNamespace(p.namespace)); !apierrors.IsForbidden(err) {
		t.Fatalf("the test shows nothing: listing Secrets: %v", err)
	}
	p.createEndpointSlice(discoveryv1.AddressTypeIPv4)
	certificate := p.refinery("press", 1)
	p.admissionPolicy(func() error {
		return restricted.Status().Apply(p.ctx, ac.Refinery("press", p.namespace).WithStatus(ac.RefineryStatus().WithSelector("not a master's")),
			client.FieldOwner("probe"))
	})
	m := p.start("alpha-0", at("10.1.0.7"))
	p.node(m, "press/a", certificate)
	p.eventuallyEvent("VersionMismatch", "press/a: ")
	p.eventuallyEndpoint("10.1.0.7")
	p.patchMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Protocol.AcceptedVersions = ">=0.1.0" })
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
	p.eventuallyMaster("totalled", func(m *v1alpha1.ClusterMaster) bool {
		return m.Status.Refineries != nil && m.Status.Refineries.Summary == "1/1" && m.Status.Upstreams[0].Reason == v1alpha1.ReasonServiceNotFound
	})
	for range 2 {
		p.patch(p.get("press"), func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessSuspended }, false)
		p.eventually("press", "denied", shows("0/1", v1alpha1.ReasonSuspended))
		p.patch(p.get("press"), func(r *v1alpha1.Refinery) { r.Spec.Access = v1alpha1.AccessAllowed }, false)
		p.eventually("press", "authenticated again", shows("1/1", v1alpha1.ReasonAuthenticated))
	}
	p.eventuallyEvent(string(v1alpha1.NodeDenied), "press/a: ", func(e *eventsv1.Event) bool { return e.Series != nil }) // which is a patch
}

// until waits for something that no watch brings.
func (p *plant) until(what string, is func() bool) {
	p.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			p.Fatalf("not %s in time", what)
		}
	}
}

func TestAnotherTransportTakesEffectInALivingMaster(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.shared = filepath.Join(t.TempDir(), "certificate")
	p.must(os.WriteFile(p.shared, []byte("open sesame, please\n"), 0o600))
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	p.node(m, "press/a", certificate)
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
	p.patchMaster(func(m *v1alpha1.ClusterMaster) {
		m.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportPlaintext, Authentication: v1alpha1.AuthenticationSharedCertificate}
	})
	p.eventually("press", "closed", func(r *v1alpha1.Refinery) bool {
		return len(r.Status.Nodes) == 1 && r.Status.Nodes[0].State == v1alpha1.NodeClosed
	})
	conn, err := net.Dial("tcp", m.address)
	p.must(err)
	o := protocol.DefaultClientOptions()
	o.ID, o.Version, o.Type, o.Certificate = "press/bare", "0.1.0", "refinery", "open sesame, please"
	c, err := protocol.Handshake(p.ctx, conn, o)
	p.must(err)
	p.eventually("press", "authenticated by the shared certificate", func(r *v1alpha1.Refinery) bool {
		return shows("1/1", v1alpha1.ReasonAuthenticated)(r) && r.Status.Nodes[0].ID == "press/bare" && r.Status.Nodes[0].Certificate == ""
	})
	p.must(os.WriteFile(p.shared, []byte("close sesame, please\n"), 0o600))
	if err := c.Run(p.ctx); !errors.Is(err, protocol.ErrPeerClosed) {
		t.Errorf("with another shared certificate the session ended by %v", err)
	}
}

func TestNewUpstreamsAndAnotherCertificateTakeEffectInALivingMaster(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{Upstreams: []v1alpha1.Upstream{{Name: "east", Address: "east:1"}}})
	certificate := p.refinery("press", 1)
	m := p.start("alpha-0")
	a, _ := p.node(m, "press/a", certificate)
	p.eventually("press", "at east", func(r *v1alpha1.Refinery) bool {
		return r.Status.Authenticated != nil && r.Status.Authenticated.Upstreams == "east"
	})
	p.patchMaster(func(m *v1alpha1.ClusterMaster) {
		m.Spec.Upstreams = []v1alpha1.Upstream{{Name: "east", Address: "east:1", Weight: ptr.To[int32](0)}, {Name: "west", Address: "west:1"}}
	})
	p.eventually("press", "at west", func(r *v1alpha1.Refinery) bool { return r.Status.Authenticated.Upstreams == "west" })
	if got := []string{<-a.upstreams, <-a.upstreams}; !slices.Equal(got, []string{"east:1", "west:1"}) {
		t.Errorf("told %v", got)
	}
	p.eventuallyMaster("counted", func(m *v1alpha1.ClusterMaster) bool {
		return cmp.Equal(m.Status.Upstreams, []v1alpha1.UpstreamStatus{
			{Name: "east", Address: "east:1", Reason: v1alpha1.ReasonWeightZero, Message: "its weight is 0: only nodes that spec.upstream pins are placed on it"},
			{Name: "west", Address: "west:1", Ready: true, Assigned: 1}})
	})

	// Another authority: the session of the old one's certificate ends, and one of the new one's is let in.
	other := pkitest.NewAuthority("other")
	mount(p.directory, other)
	p.eventually("press", "denied", func(r *v1alpha1.Refinery) bool {
		return len(r.Status.Nodes) > 0 && r.Status.Nodes[0].Reason == v1alpha1.ReasonWrongAuthority
	})
	p.authority = other
	renewed := admittest.IssueFor(other, "alpha", p.namespace, "press")
	p.list("press", renewed)
	p.node(m, "press/a", renewed)
	p.eventually("press", "authenticated", shows("1/1", v1alpha1.ReasonAuthenticated))
}

func TestAMissingClusterMasterIsSaidAtTheStart(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	m, err := NewMaster(Options{Namespace: p.namespace, Name: "beta", PodName: "beta-0", HealthAddress: "127.0.0.1:0"}, p.config, p.logger("beta"))
	p.must(err)
	if err := m.Run(p.ctx); err == nil || !strings.Contains(err.Error(), "ClusterMaster "+p.namespace+"/beta does not exist") {
		t.Errorf("got %v", err)
	}
}
