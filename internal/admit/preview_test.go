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

func TestAPreviewTellsWhoWouldBeRefusedAndWhen(t *testing.T) {
	old, next := pkitest.NewAuthority("old"), pkitest.NewAuthority("next")
	press, pump := admittest.Issue(old, "press").Leaf, admittest.Issue(next, "pump").Leaf
	node := func(id, version string, c *x509.Certificate) v1alpha1.NodeStatus {
		return v1alpha1.NodeStatus{ID: id, State: v1alpha1.NodeAuthenticated, Version: version, Type: "refinery", Certificate: v1alpha1.Fingerprint(c)}
	}
	refinery := func(name string, nodes ...v1alpha1.NodeStatus) v1alpha1.Refinery {
		r := v1alpha1.Refinery{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name}, Spec: v1alpha1.RefinerySpec{Type: "refinery"}}
		r.Status.Nodes = nodes
		return r
	}
	lost := node("press/gone", "0.9.0", press)
	lost.State = v1alpha1.NodeLost
	refineries := []v1alpha1.Refinery{refinery("press", lost, node("press/a", "0.1.0", press), node("press/b", "0.2.0", press)), refinery("pump", node("pump/a", "0.2.0", pump))}
	chains := map[string][]*x509.Certificate{v1alpha1.Fingerprint(press): {press}, v1alpha1.Fingerprint(pump): {pump}}
	unsigned := func(refinery, trusted string) string {
		issuer := map[string]string{"press": "old", "pump": "next"}[refinery]
		return fmt.Sprintf("the certificate %q was issued by %q and is not signed by the authority that the master trusts, %s; "+
			"put in one that is, followed by its intermediates in order if it has any", "CN="+refinery, "CN="+issuer, trusted)
	}
	tests := map[string]struct {
		change func(p *Proposal)
		want   []string // refinery node when reason: message
	}{
		"nothing":          {func(*Proposal) {}, nil},
		"both authorities": {func(p *Proposal) { p.Anchors = []*x509.Certificate{next.Certificate, old.Certificate} }, nil},
		"one authority less": {func(p *Proposal) { p.Anchors = []*x509.Certificate{next.Certificate} }, []string{
			"press press/a AtOnce WrongAuthority: " + unsigned("press", `"CN=next"`),
			"press press/b AtOnce WrongAuthority: " + unsigned("press", `"CN=next"`),
		}},
		"no authority at all": {func(p *Proposal) { p.Anchors, p.Refineries = []*x509.Certificate{}, refineries[1:] }, []string{
			"pump pump/a AtOnce WrongAuthority: " + unsigned("pump", "since it trusts none")}},
		"a certificate that nobody has": {func(p *Proposal) {
			p.Anchors, p.Chains, p.Refineries = []*x509.Certificate{next.Certificate}, nil, refineries[1:]
		}, []string{fmt.Sprintf("pump pump/a Unknown : its certificate %.12s… is not in the Refinery's Secret, so its issuer is unknown", v1alpha1.Fingerprint(pump))}},
		"narrower versions": {func(p *Proposal) { p.After.Spec.Protocol.AcceptedVersions = ">=0.2.0" }, []string{
			`press press/a OnReturn VersionMismatch: announces version 0.1.0; this master accepts ">=0.2.0" (spec.protocol.acceptedVersions)`}},
		"a constraint that is none": {func(p *Proposal) { p.After.Spec.Protocol.AcceptedVersions, p.Refineries = "=>", refineries[1:] }, []string{
			`pump pump/a OnReturn VersionMismatch: spec.protocol.acceptedVersions of ClusterMaster alpha is not a valid semver constraint ("=>": improper constraint: "=>"); no node is let in until it is`}},
		"other types": {func(p *Proposal) {
			p.After.Spec.Protocol.AcceptedTypes, p.Refineries = []string{"smelter"}, refineries[1:]
		}, []string{
			`pump pump/a OnReturn TypeNotAccepted: announces type "refinery"; this master accepts "smelter" (spec.protocol.acceptedTypes)`}},
		"other security": {func(p *Proposal) {
			p.After.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportServerTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
			p.Refineries = refineries[1:]
		}, []string{"pump pump/a AtOnce Denied: spec.security changes: every node must authenticate again, with transport ServerTLS and authentication SharedCertificate"}},
		"another shared certificate": {func(p *Proposal) {
			p.Before.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportServerTLS, Authentication: v1alpha1.AuthenticationSharedCertificate}
			p.After, p.Shared, p.Refineries = p.Before.DeepCopy(), true, refineries[1:]
		}, []string{"pump pump/a AtOnce SharedCertificateMismatch: the shared certificate of the master changes: every node must authenticate again, with the new one"}},
		"a trust that nobody can tell": {func(p *Proposal) { p.Unknown, p.Refineries = "ask the issuer", refineries[1:] }, []string{"pump pump/a Unknown : ask the issuer"}},
		"the same, and narrower versions": {func(p *Proposal) {
			p.Unknown, p.After.Spec.Protocol.AcceptedVersions = "ask the issuer", ">=0.2.0"
		}, []string{
			`press press/a OnReturn VersionMismatch: announces version 0.1.0; this master accepts ">=0.2.0" (spec.protocol.acceptedVersions)`,
			"press press/b Unknown : ask the issuer", "pump pump/a Unknown : ask the issuer"}},
		"one authority less, and narrower versions": {func(p *Proposal) {
			p.Anchors, p.After.Spec.Protocol.AcceptedVersions = []*x509.Certificate{old.Certificate}, ">=0.2.0"
		}, []string{
			`press press/a OnReturn VersionMismatch: announces version 0.1.0; this master accepts ">=0.2.0" (spec.protocol.acceptedVersions)`,
			"pump pump/a AtOnce WrongAuthority: " + unsigned("pump", `"CN=old"`)}},
		"no upstream for its type": {func(p *Proposal) {
			p.After.Spec.Upstreams, p.Refineries = []v1alpha1.Upstream{{Name: "east", Address: "east:1", Types: []string{"smelter"}}}, refineries[1:]
		}, []string{`pump pump/a OnReturn UnknownUpstream: no upstream of the master takes nodes of type "refinery": give one of east a weight over 0 and this type`}},
		"more nodes than status lists, with certificates that are not counted": {func(p *Proposal) {
			p.Anchors, p.Refineries = []*x509.Certificate{next.Certificate}, []v1alpha1.Refinery{*refineries[1].DeepCopy()}
			p.Refineries[0].Status.Authenticated = &v1alpha1.AuthenticatedNodes{Nodes: 200, Versions: "0.2.0",
				Certificates: []v1alpha1.PresentedCertificate{{Fingerprint: v1alpha1.Fingerprint(pump), Nodes: 199}}}
		}, []string{"pump  Unknown : 199 more nodes are authenticated that status.nodes does not list"}},
		"more nodes than status lists, all alike": {func(p *Proposal) {
			p.Refineries = []v1alpha1.Refinery{*refineries[1].DeepCopy()}
			p.Refineries[0].Status.Authenticated = &v1alpha1.AuthenticatedNodes{Nodes: 200, Versions: "0.2.0"}
		}, nil},
		"more nodes than status lists, not all alike": {func(p *Proposal) {
			p.After.Spec.Protocol.AcceptedVersions = ">=0.2.0"
			p.Refineries = []v1alpha1.Refinery{*refineries[1].DeepCopy()}
			p.Refineries[0].Status.Authenticated = &v1alpha1.AuthenticatedNodes{Nodes: 200, Versions: "0.1.0,0.2.0"}
		}, []string{"pump  Unknown : 199 more nodes are authenticated that status.nodes does not list"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha"}}
			before.Spec.Protocol.AcceptedVersions = ">=0.1.0"
			p := &Proposal{Before: before, After: before.DeepCopy(), Refineries: refineries, Chains: chains, Clock: clocktesting.NewFakePassiveClock(time.Now())}
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
