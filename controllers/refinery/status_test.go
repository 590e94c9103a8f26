package refinery

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers/passtest"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

// pass is what a pass read and found.
type pass struct {
	scope
	findings
}

// status is what the pass leaves.
func (p *pass) status(o reconcile.Outcome) v1alpha1.RefineryStatus {
	status, _ := statusOf(&p.scope, p.findings, o)
	return status
}

// passOf is a Refinery of two nodes at its best, then changed.
func passOf(change func(*pass)) *pass {
	s := &pass{
		scope{refinery: &v1alpha1.Refinery{}, master: &v1alpha1.ClusterMaster{}, deployment: passtest.Deployed(2), now: passtest.Now},
		findings{certificate: &certificates.Finding{Condition: certificates.Ready(v1alpha1.ReasonIssued, "")}},
	}
	s.refinery.Generation, s.refinery.Name = 7, "press"
	s.refinery.Spec.Replicas, s.refinery.Spec.MasterRef.Name = ptr.To[int32](2), "alpha"
	s.master.Name, s.master.Spec.Protocol.AliveTimeoutSeconds = "alpha", 35
	s.master.Status.Active = &v1alpha1.ActiveMaster{Pod: "alpha-0", Epoch: 3}
	authenticated(metav1.ConditionTrue, v1alpha1.ReasonAuthenticated)(s)
	if change != nil {
		change(s)
	}
	s.standing = certificates.Revoke(s.refinery, func(v1alpha1.ListedCertificate) types.UID { return "1" }, s.now)
	return s
}

func authenticated(status metav1.ConditionStatus, reason string) func(*pass) {
	return func(s *pass) {
		meta.SetStatusCondition(&s.refinery.Status.Conditions, reconcile.NewCondition(v1alpha1.ConditionAuthenticated, status, reason, "by the master"))
	}
}

// succeeded is a report of a newer epoch than that of the last master, which is gone.
func succeeded(byNobody bool) func(*pass) {
	return func(s *pass) {
		s.master.Status.Active.Pod, s.nobodys = "", byNobody
		s.refinery.Status.Reporter = &v1alpha1.Reporter{Pod: "alpha-1", Epoch: 4}
	}
}

// with are the conditions of a Refinery at its best, but for these; those that are "" are not there.
func with(changes map[string]string) map[string]string {
	all := map[string]string{"Ready": "True/Ready", "CertificateReady": "True/Issued", "Available": "True/Available", "Authenticated": "True/Authenticated"}
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

func TestConditions(t *testing.T) {
	masterless := with(map[string]string{"Authenticated": "Unknown/MasterUnavailable", "Ready": "False/NotAuthenticated"})
	tests := map[string]struct {
		change  func(*pass)
		outcome reconcile.Outcome
		want    map[string]string
	}{
		"at its best":      {nil, reconcile.Outcome{}, with(nil)},
		"one pod missing":  {func(s *pass) { s.deployment = passtest.Deployed(1) }, reconcile.Outcome{}, with(map[string]string{"Available": "False/Unavailable", "Ready": "False/Progressing"})},
		"no deployment":    {func(s *pass) { s.deployment = nil }, reconcile.Outcome{}, with(map[string]string{"Available": "False/Unavailable", "Ready": "False/Progressing"})},
		"no nodes wanted":  {func(s *pass) { s.refinery.Spec.Replicas, s.deployment = ptr.To[int32](0), passtest.Deployed(0) }, reconcile.Outcome{}, with(nil)},
		"external":         {func(s *pass) { s.refinery.Spec.Placement, s.deployment = v1alpha1.PlacementExternal, nil }, reconcile.Outcome{}, with(map[string]string{"Available": "True/External"})},
		"denied":           {authenticated(metav1.ConditionFalse, v1alpha1.ReasonDenied), reconcile.Outcome{}, with(map[string]string{"Authenticated": "False/Denied", "Ready": "False/NotAuthenticated"})},
		"not reported yet": {func(s *pass) { s.refinery.Status.Conditions = nil }, reconcile.Outcome{}, with(map[string]string{"Authenticated": "", "Ready": "False/Progressing"})},
		"nor active": {func(s *pass) { s.refinery.Status.Conditions, s.master.Status.Active = nil, nil }, reconcile.Outcome{},
			with(map[string]string{"Authenticated": "Unknown/MasterUnavailable", "Ready": "False/NotAuthenticated"})},
		"bad certificate": {func(s *pass) {
			s.certificate.Condition = certificates.NotReady(v1alpha1.ReasonNotPEM, "")
		}, reconcile.Outcome{},
			with(map[string]string{"CertificateReady": "False/NotPEM", "Ready": "False/CertificateNotReady", "Stalled": "True/CertificateNotReady"})},
		"paused": {func(s *pass) { s.refinery.Spec.Paused = true }, reconcile.Outcome{}, with(map[string]string{"Ready": "Unknown/Paused", "Stalled": "True/Paused"})},
		"stalled": {nil, reconcile.Outcome{Consequence: reconcile.Stalled, Reason: v1alpha1.ReasonRejected},
			with(map[string]string{"Ready": "False/Rejected", "Stalled": "True/Rejected"})},
		"waiting":                               {nil, reconcile.Outcome{Consequence: reconcile.Wait, Reason: v1alpha1.ReasonMasterNotFound}, with(map[string]string{"Ready": "False/MasterNotFound"})},
		"failed":                                {nil, reconcile.Outcome{Consequence: reconcile.Retry, Reason: v1alpha1.ReasonError}, with(map[string]string{"Ready": "False/Error"})},
		"busy at first":                         {nil, reconcile.Outcome{Consequence: reconcile.SilentRetry}, with(map[string]string{"Ready": ""})},
		"master missing":                        {func(s *pass) { s.master, s.certificate = nil, nil }, reconcile.Outcome{}, with(map[string]string{"CertificateReady": "", "Authenticated": "Unknown/MasterUnavailable", "Ready": "False/NotAuthenticated"})},
		"master gone":                           {func(s *pass) { s.master.Status.Active.Pod = "" }, reconcile.Outcome{}, masterless},
		"master gone, and the next one reports": {succeeded(false), reconcile.Outcome{}, with(nil)},
		"master gone, and nobody's epoch":       {succeeded(true), reconcile.Outcome{}, masterless},
		"old pods left":                         {func(s *pass) { s.deployment.Status.Replicas = 3 }, reconcile.Outcome{}, with(map[string]string{"Ready": "False/Progressing"})},
		"update not taken up":                   {func(s *pass) { s.written = 1 }, reconcile.Outcome{}, with(map[string]string{"Ready": "False/Progressing"})},
		"busy":                                  {nil, reconcile.Outcome{Consequence: reconcile.Away}, with(map[string]string{"Ready": ""})},
		"master back, no report yet": {authenticated(metav1.ConditionUnknown, v1alpha1.ReasonMasterUnavailable), reconcile.Outcome{},
			with(map[string]string{"Authenticated": "Unknown/MasterUnavailable", "Ready": "False/NotAuthenticated"})},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status := passOf(test.change).status(test.outcome)
			if diff := cmp.Diff(test.want, passtest.Shown(status.Conditions)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if looked := status.ObservedGeneration == 7; looked == test.outcome.Silent() {
				t.Errorf("observedGeneration moved: %v, want %v", looked, !test.outcome.Silent())
			}
			moved := status.ReconciledGeneration == 7
			if should := test.outcome.Consequence == reconcile.CarriedOut && test.want["Ready"] != "Unknown/Paused"; moved != should {
				t.Errorf("reconciledGeneration moved: %v, want %v", moved, should)
			}
		})
	}
}

func TestWithoutAMasterNoNodeCountsAsAuthenticated(t *testing.T) {
	report := func(s *pass) {
		s.refinery.Status.Reporter = &v1alpha1.Reporter{Pod: "alpha-0", Epoch: 3}
		s.refinery.Status.Nodes = []v1alpha1.NodeStatus{{ID: "press/1", State: v1alpha1.NodeAuthenticated}}
		s.refinery.Status.Authenticated = &v1alpha1.AuthenticatedNodes{Nodes: 2, Wanted: 2, Summary: "2/2", Upstreams: "south",
			Certificates: []v1alpha1.PresentedCertificate{{Fingerprint: "f", Nodes: 2}}}
	}
	for name, test := range map[string]struct {
		change func(*pass)
		nodes  int
		want   *v1alpha1.AuthenticatedNodes
		writes bool
	}{
		"one is active": {report, 1, &v1alpha1.AuthenticatedNodes{Nodes: 2, Wanted: 2, Summary: "2/2", Upstreams: "south",
			Certificates: []v1alpha1.PresentedCertificate{{Fingerprint: "f", Nodes: 2}}}, false},
		"gone":     {func(s *pass) { report(s); s.master.Status.Active.Pod = "" }, 0, &v1alpha1.AuthenticatedNodes{Wanted: 2, Summary: "0/2"}, true},
		"deleted":  {func(s *pass) { report(s); s.master, s.certificate = nil, nil }, 0, &v1alpha1.AuthenticatedNodes{Wanted: 2, Summary: "0/2"}, true},
		"none yet": {func(s *pass) { s.refinery.Status.Conditions, s.master.Status.Active = nil, nil }, 0, &v1alpha1.AuthenticatedNodes{Wanted: 2, Summary: "0/2"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := passOf(test.change)
			status := s.status(reconcile.Outcome{})
			if diff := cmp.Diff(test.want, status.Authenticated); diff != "" || len(status.Nodes) != test.nodes {
				t.Errorf("%d nodes, counts (-want +got):\n%s", len(status.Nodes), diff)
			}
			if writes := mastersPart(s.refinery, status) != nil; writes != test.writes {
				t.Errorf("writes what is a master's: %v, want %v", writes, test.writes)
			}
			s.refinery.Status = status
			if mastersPart(s.refinery, s.status(reconcile.Outcome{})) != nil {
				t.Error("writes it again")
			}
		})
	}
}

func TestPodsThatDoNotStartSayWhy(t *testing.T) {
	const why = "1 of 2 pods are available: container app of pod press-a: why"
	connecting := authenticated(metav1.ConditionFalse, v1alpha1.ReasonConnecting)
	rollout := func(d *appsv1.Deployment) *appsv1.Deployment { d.Status.Replicas++; return d }
	for name, test := range map[string]struct {
		changes          []func(*pass)
		available, ready string
	}{
		"refused": {[]func(*pass){connecting, func(s *pass) { s.deployment = passtest.Refused("exceeded quota") }},
			"False/PodsRefused: 0 of 2 pods are available: exceeded quota", "False/Rejected: 0 of 2 pods are available: exceeded quota"},
		"though the nodes are authenticated": {[]func(*pass){failing(v1alpha1.ReasonImageNotPulled, passtest.Deployed(1))},
			"False/ImagePullBackOff: " + why, "False/Progressing: " + why},
		"before that the nodes are not": {[]func(*pass){connecting, failing(v1alpha1.ReasonImageNotPulled, passtest.Deployed(1))},
			"False/ImagePullBackOff: " + why, "False/Progressing: " + why},
		"after why the nodes are not, which makes pods not ready": {[]func(*pass){connecting, failing(v1alpha1.ReasonContainersNotReady, passtest.Late(1))},
			"False/ContainersNotReady: " + why, "False/NotAuthenticated: Connecting: by the master"},
		"late": {[]func(*pass){failing(v1alpha1.ReasonContainersNotReady, passtest.Late(1))},
			"False/ContainersNotReady: " + why, "False/ProgressDeadlineExceeded: " + why},
		"in a rollout": {[]func(*pass){failing(v1alpha1.ReasonImageNotPulled, rollout(passtest.Deployed(2)))}, "True/Available: 2 of 2 pods are available",
			"False/Progressing: a rollout is pending: 2 of 2 pods were created by the current spec, and older ones still there: 1: container app of pod press-a: why"},
		"in a rollout that is late": {[]func(*pass){failing(v1alpha1.ReasonImageNotPulled, rollout(passtest.Late(2)))}, "True/Available: 2 of 2 pods are available",
			"False/ProgressDeadlineExceeded: a rollout is pending: 2 of 2 pods were created by the current spec, and older ones still there: 1: container app of pod press-a: why"},
	} {
		t.Run(name, func(t *testing.T) {
			status := passOf(func(s *pass) {
				for _, change := range test.changes {
					change(s)
				}
			}).status(reconcile.Outcome{})
			got := []string{passtest.Told(status.Conditions, v1alpha1.ConditionAvailable), passtest.Told(status.Conditions, v1alpha1.ConditionReady)}
			if diff := cmp.Diff([]string{test.available, test.ready}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPodsThatAreLateStallWhateverKeepsTheNodesOut(t *testing.T) {
	connecting := authenticated(metav1.ConditionFalse, v1alpha1.ReasonConnecting)
	late := func(s *pass) { s.deployment = passtest.Late(1) }
	for name, test := range map[string]struct {
		changes        []func(*pass)
		outcome        reconcile.Outcome
		ready, stalled string
	}{
		"not authenticated":                    {[]func(*pass){late, connecting}, reconcile.Outcome{}, "False/NotAuthenticated", "True/NotAuthenticated"},
		"a probe that waits for the session":   {[]func(*pass){failing(v1alpha1.ReasonContainersNotReady, passtest.Late(1)), connecting}, reconcile.Outcome{}, "False/NotAuthenticated", "True/NotAuthenticated"},
		"not reported yet":                     {[]func(*pass){late, func(s *pass) { s.refinery.Status.Conditions = nil }}, reconcile.Outcome{}, "False/Progressing", "True/Progressing"},
		"late once, and not authenticated now": {[]func(*pass){connecting, func(s *pass) { s.deployment = passtest.Late(2) }}, reconcile.Outcome{}, "False/NotAuthenticated", ""},
		"not before what the pass waits for":   {[]func(*pass){late, connecting}, reconcile.Outcome{Consequence: reconcile.Retry, Reason: v1alpha1.ReasonError}, "False/Error", ""},
	} {
		t.Run(name, func(t *testing.T) {
			conditions := passtest.Shown(passOf(func(s *pass) {
				for _, change := range test.changes {
					change(s)
				}
			}).status(test.outcome).Conditions)
			if diff := cmp.Diff([]string{test.ready, test.stalled}, []string{conditions["Ready"], conditions["Stalled"]}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTimeOfAConditionMovesWithItsStatusOnly(t *testing.T) {
	s := passOf(nil)
	s.refinery.Status = s.status(reconcile.Outcome{})
	s.now = passtest.Now.Add(time.Hour)
	s.deployment = passtest.Deployed(1)
	status := s.status(reconcile.Outcome{})
	times := map[string]time.Time{}
	for _, c := range status.Conditions {
		times[c.Type] = c.LastTransitionTime.Time
	}
	delete(times, v1alpha1.ConditionAuthenticated) // the master's
	want := map[string]time.Time{"Ready": s.now, "Reconciling": s.now, "Available": s.now, "CertificateReady": passtest.Now}
	if diff := cmp.Diff(want, times); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatusConfigurationLeavesToTheMasterWhatIsTheMasters(t *testing.T) {
	s := passOf(nil)
	s.refinery.Status.Nodes = []v1alpha1.NodeStatus{{ID: "press/1"}}
	s.refinery.Status.Authenticated = &v1alpha1.AuthenticatedNodes{Nodes: 1}
	s.refinery.Status.Reporter = &v1alpha1.Reporter{Epoch: 3}
	got := statusConfiguration(s.refinery, s.status(reconcile.Outcome{}))
	if got.Status.Nodes != nil || got.Status.Authenticated != nil || got.Status.Reporter != nil {
		t.Errorf("takes the master's fields: %+v", got.Status)
	}
	for _, c := range got.Status.Conditions {
		if *c.Type == v1alpha1.ConditionAuthenticated {
			t.Error("takes the master's condition")
		}
	}
}
