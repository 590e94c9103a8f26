package admit

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
)

// fleet is press, with two nodes and one that is lost, whose certificate authority old signed, and pump, with one node, whose
// certificate authority next signed.
type fleet struct {
	old, next, press, pump *x509.Certificate
	refineries             []v1alpha1.Refinery
}

func newFleet() fleet {
	old, next := pkitest.NewAuthority("old"), pkitest.NewAuthority("next")
	f := fleet{old: old.Certificate, next: next.Certificate, press: admittest.Issue(old, "press").Leaf, pump: admittest.Issue(next, "pump").Leaf}
	node := func(id, version string, c *x509.Certificate) v1alpha1.NodeStatus {
		return v1alpha1.NodeStatus{ID: id, State: v1alpha1.NodeAuthenticated, Version: version, Type: "refinery", Certificate: v1alpha1.Fingerprint(c)}
	}
	refinery := func(name string, nodes ...v1alpha1.NodeStatus) v1alpha1.Refinery {
		r := v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name}, Spec: v1alpha1.RefinerySpec{Type: "refinery"}}
		r.Status.Nodes = nodes
		return r
	}
	lost := node("press/gone", "0.9.0", f.press)
	lost.State = v1alpha1.NodeLost
	f.refineries = []v1alpha1.Refinery{refinery("press", lost, node("press/a", "0.1.0", f.press), node("press/b", "0.2.0", f.press)),
		refinery("pump", node("pump/a", "0.2.0", f.pump))}
	return f
}

func (f fleet) onlyPump() []v1alpha1.Refinery {
	return []v1alpha1.Refinery{*f.refineries[1].DeepCopy()}
}

// proposal is what a proposal changes, and whom its preview names.
type proposal struct {
	change func(p *Proposal)
	want   []string // refinery node when reason: message
}

func (f fleet) preview(t *testing.T, proposals map[string]proposal) {
	t.Helper()
	chains := map[string][]*x509.Certificate{v1alpha1.Fingerprint(f.press): {f.press}, v1alpha1.Fingerprint(f.pump): {f.pump}}
	for name, test := range proposals {
		t.Run(name, func(t *testing.T) {
			before := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha"}}
			before.Spec.Protocol.AcceptedVersions = ">=0.1.0"
			p := &Proposal{Before: before, After: before.DeepCopy(), Refineries: f.refineries, Chains: chains, Clock: clocktesting.NewFakePassiveClock(time.Now())}
			test.change(p)
			var got []string
			for _, r := range p.Preview() {
				got = append(got, fmt.Sprintf("%s %s %s %s: %s", r.Refinery, r.Node, r.When, r.Reason, r.Message))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

const (
	tooOld   = `press press/a OnReturn VersionMismatch: announces version 0.1.0; this master accepts ">=0.2.0" (spec.protocol.acceptedVersions)`
	unlisted = "pump  Unknown : 199 more nodes are authenticated that status.nodes does not list"
)

// unsigned is the message for a Refinery whose certificate no trusted authority signed.
func unsigned(refinery, trusted string) string {
	issuer := map[string]string{"press": "old", "pump": "next"}[refinery]
	return fmt.Sprintf("the certificate %q was issued by %q and is not signed by the authority that the master trusts, %s; "+
		"put in one that is, followed by its intermediates in order if it has any", "CN="+refinery, "CN="+issuer, trusted)
}

func TestAPreviewTellsWhoseCertificateIsNoLongerTrusted(t *testing.T) {
	f := newFleet()
	f.preview(t, map[string]proposal{
		"nothing":          {func(*Proposal) {}, nil},
		"both authorities": {func(p *Proposal) { p.Anchors = []*x509.Certificate{f.next, f.old} }, nil},
		"one authority less": {func(p *Proposal) { p.Anchors = []*x509.Certificate{f.next} }, []string{
			"press press/a AtOnce WrongAuthority: " + unsigned("press", `"CN=next"`),
			"press press/b AtOnce WrongAuthority: " + unsigned("press", `"CN=next"`),
		}},
		"no authority at all": {func(p *Proposal) { p.Anchors, p.Refineries = []*x509.Certificate{}, f.onlyPump() }, []string{
			"pump pump/a AtOnce WrongAuthority: " + unsigned("pump", "since it trusts none")}},
		"a certificate that nobody has": {func(p *Proposal) {
			p.Anchors, p.Chains, p.Refineries = []*x509.Certificate{f.next}, nil, f.onlyPump()
		}, []string{fmt.Sprintf("pump pump/a Unknown : its certificate %.12s… is not in the Refinery's Secret, so its issuer is unknown", v1alpha1.Fingerprint(f.pump))}},
		"a trust that nobody can tell": {func(p *Proposal) { p.Unknown, p.Refineries = "ask the issuer", f.onlyPump() }, []string{"pump pump/a Unknown : ask the issuer"}},
		"a trust that nobody can tell, and narrower versions": {func(p *Proposal) {
			p.Unknown, p.After.Spec.Protocol.AcceptedVersions = "ask the issuer", ">=0.2.0"
		}, []string{tooOld, "press press/b Unknown : ask the issuer", "pump pump/a Unknown : ask the issuer"}},
		"one authority less, and narrower versions": {func(p *Proposal) {
			p.Anchors, p.After.Spec.Protocol.AcceptedVersions = []*x509.Certificate{f.old}, ">=0.2.0"
		}, []string{tooOld, "pump pump/a AtOnce WrongAuthority: " + unsigned("pump", `"CN=old"`)}},
	})
}

func TestAPreviewTellsWhatOtherSecurityDoesToEveryNode(t *testing.T) {
	f := newFleet()
	f.preview(t, map[string]proposal{
		"other security": {func(p *Proposal) { p.After.Spec.Security, p.Refineries = sharedServerTLS, f.onlyPump() },
			[]string{"pump pump/a Later SecurityChanged: spec.security changes: the node is let in as before until it has connected by ServerTLS, for 1h0m0s at most"}},
		"other security without an overlap": {func(p *Proposal) {
			p.After.Spec.Security, p.Refineries = sharedServerTLS, f.onlyPump()
			p.After.Spec.Security.Overlap = "0s"
		}, []string{"pump pump/a AtOnce SecurityChanged: spec.security changes, and its overlap is 0s: the node must connect again, by ServerTLS"}},
		"another shared certificate": {func(p *Proposal) {
			p.Before.Spec.Security = sharedServerTLS
			p.After, p.Shared, p.Refineries = p.Before.DeepCopy(), true, f.onlyPump()
		}, []string{"pump pump/a AtOnce SharedCertificateMismatch: the shared certificate of the master changes: every node must authenticate again, with the new one"}},
	})
}

func TestAPreviewTellsWhichNodesAreOfAnotherRefineryByWhatTheyAnnounce(t *testing.T) {
	f := newFleet()
	// anonymous has the only node of pump announce a UUID, and shared has all of them authenticate by the shared certificate.
	anonymous := func(p *Proposal, overlap string, selected *v1alpha1.NodeSelection) {
		p.Refineries = []v1alpha1.Refinery{*f.refineries[1].DeepCopy(), {}}
		p.Refineries[0].Status.Nodes[0].ID = "5f0c9a52"
		p.Refineries[1].Name, p.Refineries[1].Spec.Nodes = "press", selected
		p.After.Spec.Security = sharedServerTLS
		p.After.Spec.Security.Overlap = overlap
	}
	f.preview(t, map[string]proposal{
		"none": {func(p *Proposal) { anonymous(p, "1h", nil) }, []string{
			"pump 5f0c9a52 Later IDMismatch: with SharedCertificate the node is of no Refinery by its id and type; select it by spec.nodes of Refinery pump"}},
		"another, at once": {func(p *Proposal) { anonymous(p, "0s", &v1alpha1.NodeSelection{Rest: true}) }, []string{
			"pump 5f0c9a52 AtOnce IDMismatch: with SharedCertificate the node is of Refinery press by its id and type; select it by spec.nodes of Refinery pump"}},
	})
}

func TestAPreviewTellsWhoIsRefusedOnReturn(t *testing.T) {
	f := newFleet()
	f.preview(t, map[string]proposal{
		"narrower versions": {func(p *Proposal) { p.After.Spec.Protocol.AcceptedVersions = ">=0.2.0" }, []string{tooOld}},
		"a constraint that is none": {func(p *Proposal) { p.After.Spec.Protocol.AcceptedVersions, p.Refineries = "=>", f.onlyPump() }, []string{
			`pump pump/a OnReturn VersionMismatch: spec.protocol.acceptedVersions of ClusterMaster alpha is not a valid semver constraint ("=>": improper constraint: "=>"); no node is let in until it is`}},
		"other types": {func(p *Proposal) {
			p.After.Spec.Protocol.AcceptedTypes, p.Refineries = []string{"smelter"}, f.onlyPump()
		}, []string{
			`pump pump/a OnReturn TypeNotAccepted: announces type "refinery"; this master accepts "smelter" (spec.protocol.acceptedTypes)`}},
		"no upstream for its type": {func(p *Proposal) {
			p.After.Spec.Upstreams, p.Refineries = []v1alpha1.Upstream{{Name: "east", Address: "east:1", Types: []string{"smelter"}}}, f.onlyPump()
		}, []string{`pump pump/a OnReturn UnknownUpstream: no upstream of the master takes nodes of type "refinery": give one of east a weight over 0 and this type`}},
	})
}

func TestAPreviewTellsOfNodesThatStatusDoesNotList(t *testing.T) {
	f := newFleet()
	f.preview(t, map[string]proposal{
		"with certificates that are not counted": {func(p *Proposal) {
			p.Anchors, p.Refineries = []*x509.Certificate{f.next}, f.onlyPump()
			p.Refineries[0].Status.Authenticated = &v1alpha1.AuthenticatedNodes{Nodes: 200, Versions: "0.2.0",
				Certificates: []v1alpha1.PresentedCertificate{{Fingerprint: v1alpha1.Fingerprint(f.pump), Nodes: 199}}}
		}, []string{unlisted}},
		"all alike": {func(p *Proposal) {
			p.Refineries = f.onlyPump()
			p.Refineries[0].Status.Authenticated = &v1alpha1.AuthenticatedNodes{Nodes: 200, Versions: "0.2.0"}
		}, nil},
		"not all alike": {func(p *Proposal) {
			p.After.Spec.Protocol.AcceptedVersions = ">=0.2.0"
			p.Refineries = f.onlyPump()
			p.Refineries[0].Status.Authenticated = &v1alpha1.AuthenticatedNodes{Nodes: 200, Versions: "0.1.0,0.2.0"}
		}, []string{unlisted}},
	})
}
