package clustermaster

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers/passtest"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

type leafCertificate struct {
	*x509.Certificate
	fingerprint string
}

func testAuthority(t *testing.T) *pki.Authority {
	t.Helper()
	pair, err := pki.NewAuthority("plant/alpha", v1alpha1.DefaultCADuration, passtest.Now)
	if err != nil {
		t.Fatal(err)
	}
	a, err := pki.ParseAuthority(pair.Certificate, pair.Key, passtest.Now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func testLeaf(t *testing.T, a *pki.Authority) leafCertificate {
	t.Helper()
	pair, err := a.IssueClient("press", v1alpha1.RefineryIdentity("alpha", "plant", "press"), passtest.Now)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := pki.ParseCertificates("tls.crt", pair.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return leafCertificate{chain[0], v1alpha1.Fingerprint(chain[0])}
}

// pass is what a pass read and found.
type pass struct {
	scope
	findings
}

// status is what the pass leaves.
func (p *pass) status(o reconcile.Outcome) v1alpha1.ClusterMasterStatus {
	if p.security == nil { // as inspectSecurity finds it where nothing changes
		mode := p.master.Spec.Security.Mode()
		p.security = &security{status: v1alpha1.SecurityStatus{SecurityMode: mode}}
	}
	status, _ := statusOf(&p.scope, p.findings, o)
	return status
}

// foundWrong has something be wrong with the certificate.
func (p *pass) foundWrong(reason, message string) {
	p.certificate.Condition = certificates.NotReady(reason, message)
}

// passOf is a ClusterMaster at its best, then changed.
func passOf(change func(*pass)) *pass {
	s := &pass{scope{master: &v1alpha1.ClusterMaster{}, deployment: passtest.Deployed(2), now: passtest.Now},
		findings{authority: &authorityFound{}, certificate: &certificates.Finding{Condition: certificates.Ready(v1alpha1.ReasonIssued, "")}}}
	s.master.Generation, s.master.Name, s.master.Namespace = 7, "alpha", "plant"
	s.master.Spec.Replicas, s.master.Spec.Service.Port = ptr.To[int32](2), 34308
	s.master.Spec.Security = v1alpha1.SecuritySpec{Transport: v1alpha1.TransportMutualTLS, Authentication: v1alpha1.AuthenticationIssuedCertificate}
	s.master.Status.Active = &v1alpha1.ActiveMaster{Pod: "alpha-0", Epoch: 1}
	if change != nil {
		change(s)
	}
	return s
}

// leased is the Lease as it was looked at.
func leased(held bool, left time.Duration) func(*pass) {
	return func(s *pass) {
		s.lease = &reconcile.Lease{HasHolder: held, End: passtest.Now.Add(left), Recheck: 10 * time.Second}
	}
}

func TestConditions(t *testing.T) {
	with := func(changes map[string]string) map[string]string {
		all := map[string]string{"Ready": "True/Ready", "CertificateReady": "True/Issued", "Available": "True/Available", "TransportSecure": "True/MutualTLS"}
		for kind, value := range changes {
			all[kind] = value
			if value == "" {
				delete(all, kind)
			}
		}
		if status, reason, _ := strings.Cut(all["Ready"], "/"); reason != "" && status != "True" && all["Stalled"] == "" {
			all["Reconciling"] = "True/" + reason
		}
		return all
	}
	secured := func(transport v1alpha1.Transport, authentication v1alpha1.Authentication) func(*pass) {
		return func(s *pass) {
			s.master.Spec.Security = v1alpha1.SecuritySpec{Transport: transport, Authentication: authentication}
		}
	}
	tests := map[string]struct {
		change  func(*pass)
		outcome reconcile.Outcome
		want    map[string]string
	}{
		"at its best":       {nil, reconcile.Outcome{}, with(nil)},
		"one standby fewer": {func(s *pass) { s.deployment = passtest.Deployed(1) }, reconcile.Outcome{}, with(nil)},
		"no pod":            {func(s *pass) { s.deployment = passtest.Deployed(0) }, reconcile.Outcome{}, with(map[string]string{"Available": "False/Unavailable", "Ready": "False/Progressing"})},
		"none wanted": {func(s *pass) { s.master.Spec.Replicas, s.deployment = ptr.To[int32](0), passtest.Deployed(0) }, reconcile.Outcome{},
			with(map[string]string{"Available": "False/Unavailable", "Ready": "False/NoActiveMaster", "Stalled": "True/NoActiveMaster"})},
		"Lease held":                  {leased(true, time.Second), reconcile.Outcome{}, with(nil)},
		"Lease released a moment ago": {leased(false, time.Second), reconcile.Outcome{}, with(nil)},
		"Lease lapsed":                {leased(true, 0), reconcile.Outcome{}, with(map[string]string{"Ready": "False/NoActiveMaster"})},
		"none active any more":        {func(s *pass) { s.master.Status.Active.Pod = "" }, reconcile.Outcome{}, with(map[string]string{"Ready": "False/NoActiveMaster"})},
		"old pods left":               {func(s *pass) { s.deployment.Status.UpdatedReplicas = 1 }, reconcile.Outcome{}, with(map[string]string{"Ready": "False/Progressing"})},
		"none active":                 {func(s *pass) { s.master.Status.Active = nil }, reconcile.Outcome{}, with(map[string]string{"Ready": "False/NoActiveMaster"})},
		"bad certificate": {func(s *pass) { s.foundWrong(v1alpha1.ReasonSecretNotFound, "") }, reconcile.Outcome{},
			with(map[string]string{"CertificateReady": "False/SecretNotFound", "Ready": "False/CertificateNotReady"})},
		"the first of two bad ones is told": {func(s *pass) {
			s.foundWrong(v1alpha1.ReasonSecretNotFound, "")
			s.shared = &pki.Problem{Reason: v1alpha1.ReasonTooLarge}
		}, reconcile.Outcome{}, with(map[string]string{"CertificateReady": "False/SecretNotFound", "Ready": "False/CertificateNotReady"})},
		"paused": {func(s *pass) { s.master.Spec.Paused = true }, reconcile.Outcome{}, with(map[string]string{"Ready": "Unknown/Paused", "Stalled": "True/Paused"})},
		"stalled": {func(s *pass) { s.authority = nil }, reconcile.Outcome{Consequence: reconcile.Stalled, Reason: v1alpha1.ReasonInvalidVersions},
			with(map[string]string{"CertificateReady": "", "Ready": "False/InvalidVersions", "Stalled": "True/InvalidVersions"})},
		"plaintext":  {secured(v1alpha1.TransportPlaintext, v1alpha1.AuthenticationSharedCertificate), reconcile.Outcome{}, with(map[string]string{"TransportSecure": "False/Plaintext"})},
		"server TLS": {secured(v1alpha1.TransportServerTLS, v1alpha1.AuthenticationSharedCertificate), reconcile.Outcome{}, with(map[string]string{"TransportSecure": "False/ServerTLS"})},
		"shared":     {secured(v1alpha1.TransportMutualTLS, v1alpha1.AuthenticationSharedCertificate), reconcile.Outcome{}, with(map[string]string{"TransportSecure": "False/SharedCertificate"})},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status := passOf(test.change).status(test.outcome)
			if diff := cmp.Diff(test.want, passtest.Shown(status.Conditions)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestStalledGoesWhenItIsOver(t *testing.T) {
	s := passOf(nil)
	s.master.Status = s.status(reconcile.Outcome{Consequence: reconcile.Stalled, Reason: v1alpha1.ReasonRejected})
	for _, test := range []struct {
		outcome reconcile.Outcome
		want    string
	}{{reconcile.Outcome{Consequence: reconcile.SilentRetry}, "True/Rejected"}, {reconcile.Outcome{}, ""}} {
		got := passtest.Shown(s.status(test.outcome).Conditions)[v1alpha1.ConditionStalled]
		if got != test.want {
			t.Errorf("after %v: Stalled is %q, want %q", test.outcome.Consequence, got, test.want)
		}
	}
}

func TestMasterStatusShowsWhatIsServed(t *testing.T) {
	s := passOf(nil)
	leaf := testLeaf(t, testAuthority(t))
	s.certificate.Leaf = leaf.Certificate
	status := s.status(reconcile.Outcome{})
	status.Conditions, status.Active = nil, nil
	want := v1alpha1.ClusterMasterStatus{
		ObservedGeneration: 7, ReconciledGeneration: 7, Endpoint: "alpha.plant.svc:34308", Version: "0.1.0", Replicas: 2,
		Security:    &v1alpha1.SecurityStatus{SecurityMode: v1alpha1.SecurityMode{Transport: v1alpha1.TransportMutualTLS, Authentication: v1alpha1.AuthenticationIssuedCertificate}},
		Certificate: &v1alpha1.ServedCertificate{Fingerprint: leaf.fingerprint, NotAfter: metav1.NewTime(passtest.Now.Add(90 * 24 * time.Hour))},
		Selector:    "app.kubernetes.io/component=master,app.kubernetes.io/instance=alpha,app.kubernetes.io/name=refinery-operator-master",
	}
	if diff := cmp.Diff(want, status); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNoReplicasSayWhatToDo(t *testing.T) {
	s := passOf(func(s *pass) { s.master.Spec.Replicas, s.deployment = ptr.To[int32](0), passtest.Deployed(0) })
	status := s.status(reconcile.Outcome{})
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionAvailable} {
		c := reconcile.Conditions{All: &status.Conditions}.Find(kind)
		if diff := cmp.Diff("spec.replicas is 0: no master runs; scale it up", c.Message); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

// reported is what the active master has written.
func reported(s *pass) {
	s.master.Status.Active = &v1alpha1.ActiveMaster{Pod: "alpha-0", Epoch: 3, Certificate: "c", Authorities: []string{"a"}}
	s.master.Status.Refineries = &v1alpha1.RefineryTotals{Total: 4, Authenticated: 3, Summary: "3/4"}
	s.master.Status.Nodes = &v1alpha1.NodeTotals{Wanted: 9, Authenticated: 8}
	s.master.Status.Upstreams = []v1alpha1.UpstreamStatus{{Name: "south", Ready: true, Assigned: 8}}
}

func TestWhenAMasterIsGone(t *testing.T) {
	scaledDown := func(terminating *int32) func(*pass) {
		return func(s *pass) {
			s.master.Spec.Replicas, s.deployment = ptr.To[int32](0), passtest.Deployed(0)
			s.deployment.Spec.Replicas, s.deployment.Status.TerminatingReplicas = ptr.To[int32](0), terminating
		}
	}
	type want struct {
		gone bool
		next time.Duration
	}
	for name, test := range map[string]struct {
		changes []func(*pass)
		want    want
	}{
		"held":                                   {[]func(*pass){leased(true, time.Minute)}, want{false, 10 * time.Second}},
		"held to the limit":                      {[]func(*pass){leased(true, time.Second)}, want{false, time.Second}},
		"lapsed":                                 {[]func(*pass){leased(true, 0)}, want{true, 10 * time.Second}},
		"given back, and another pod may follow": {[]func(*pass){leased(false, time.Minute)}, want{false, 10 * time.Second}},
		"pods unavailable":                       {[]func(*pass){leased(true, time.Minute), func(s *pass) { s.deployment = passtest.Deployed(0) }}, want{false, 10 * time.Second}},
		"scaled to nothing":                      {[]func(*pass){leased(true, time.Minute), scaledDown(ptr.To[int32](0))}, want{true, 2 * time.Second}},
		"and it sends nodes away":                {[]func(*pass){leased(true, time.Minute), scaledDown(ptr.To[int32](1))}, want{false, 2 * time.Second}},
		"and it has given back":                  {[]func(*pass){leased(false, time.Minute), scaledDown(ptr.To[int32](1))}, want{true, 2 * time.Second}},
		"in a cluster that does not tell":        {[]func(*pass){leased(true, time.Minute), scaledDown(nil)}, want{false, 2 * time.Second}},
		"where it has given back":                {[]func(*pass){leased(false, time.Minute), scaledDown(nil)}, want{true, 2 * time.Second}},
		"scaled to nothing a moment ago": {[]func(*pass){leased(false, time.Minute), scaledDown(ptr.To[int32](0)),
			func(s *pass) { s.deployment.Generation = 2 }}, want{false, 10 * time.Second}},
		"paused at nothing": {[]func(*pass){leased(true, time.Minute), func(s *pass) { s.master.Spec.Replicas = ptr.To[int32](0) }}, want{false, 10 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			s := passOf(reported)
			for _, change := range test.changes {
				change(s)
			}
			status, agenda := statusOf(&s.scope, s.findings, reconcile.Outcome{})
			expected := s.master.Status
			if test.want.gone {
				expected = v1alpha1.ClusterMasterStatus{
					Active:     &v1alpha1.ActiveMaster{Epoch: 3, Certificate: "c", Authorities: []string{"a"}},
					Refineries: &v1alpha1.RefineryTotals{Total: 4, Summary: "0/4"},
					Nodes:      &v1alpha1.NodeTotals{Wanted: 9},
					Upstreams:  []v1alpha1.UpstreamStatus{{Name: "south", Ready: true}},
				}
			}
			shown := v1alpha1.ClusterMasterStatus{Active: status.Active, Refineries: status.Refineries, Nodes: status.Nodes, Upstreams: status.Upstreams}
			if diff := cmp.Diff(expected, shown); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, want{mastersPart(s.master, status) != nil, agenda.After(passtest.Now)}, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			s.master.Status = status
			if status, _ := statusOf(&s.scope, s.findings, reconcile.Outcome{}); mastersPart(s.master, status) != nil {
				t.Error("writes it again")
			}
		})
	}
}
