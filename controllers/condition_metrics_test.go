package controllers_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
)

func TestMetricsShowTheConditionsOfEachObjectUntilItIsGone(t *testing.T) {
	m := controllers.NewMetrics()
	alpha, press := client.ObjectKey{Namespace: "plant", Name: "alpha"}, client.ObjectKey{Namespace: "plant", Name: "press"}
	shows := func(when string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, linesOf(m)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	ready := func(status metav1.ConditionStatus, reason string) []metav1.Condition {
		return []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: reason}, {Type: v1alpha1.ConditionAvailable, Status: status}}
	}
	m.ShowMaster(alpha, &v1alpha1.ClusterMasterStatus{Conditions: ready(metav1.ConditionFalse, v1alpha1.ReasonNoActiveMaster)}, 1)
	shows("no master is active",
		`condition{condition="CertificateExpiring",kind="ClusterMaster",name="alpha",namespace="plant",reason=""} 0`,
		`condition{condition="CertificateReady",kind="ClusterMaster",name="alpha",namespace="plant",reason=""} 0`,
		`condition{condition="Ready",kind="ClusterMaster",name="alpha",namespace="plant",reason="NoActiveMaster"} 0`,
		`condition{condition="Stalled",kind="ClusterMaster",name="alpha",namespace="plant",reason=""} 0`,
		`master_active{name="alpha",namespace="plant"} 0`)

	m.ShowMaster(alpha, &v1alpha1.ClusterMasterStatus{Conditions: ready(metav1.ConditionTrue, v1alpha1.ReasonReady), Active: &v1alpha1.ActiveMaster{Pod: "alpha-0"}}, 1)
	shows("one is",
		`condition{condition="CertificateExpiring",kind="ClusterMaster",name="alpha",namespace="plant",reason=""} 0`,
		`condition{condition="CertificateReady",kind="ClusterMaster",name="alpha",namespace="plant",reason=""} 0`,
		`condition{condition="Ready",kind="ClusterMaster",name="alpha",namespace="plant",reason="Ready"} 1`,
		`condition{condition="Stalled",kind="ClusterMaster",name="alpha",namespace="plant",reason=""} 0`,
		`master_active{name="alpha",namespace="plant"} 1`)

	m.ShowMaster(alpha, &v1alpha1.ClusterMasterStatus{Conditions: ready(metav1.ConditionFalse, v1alpha1.ReasonNoActiveMaster)}, 0)
	shows("none is wanted",
		`condition{condition="CertificateExpiring",kind="ClusterMaster",name="alpha",namespace="plant",reason=""} 0`,
		`condition{condition="CertificateReady",kind="ClusterMaster",name="alpha",namespace="plant",reason=""} 0`,
		`condition{condition="Ready",kind="ClusterMaster",name="alpha",namespace="plant",reason="NoActiveMaster"} 0`,
		`condition{condition="Stalled",kind="ClusterMaster",name="alpha",namespace="plant",reason=""} 0`)

	m.Forget(&v1alpha1.ClusterMaster{}, alpha)
	m.ShowRefinery(press, &v1alpha1.RefineryStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRejected}}})
	shows("the master is gone, and a Refinery is Stalled",
		`condition{condition="CertificateExpiring",kind="Refinery",name="press",namespace="plant",reason=""} 0`,
		`condition{condition="CertificateReady",kind="Refinery",name="press",namespace="plant",reason=""} 0`,
		`condition{condition="Ready",kind="Refinery",name="press",namespace="plant",reason=""} 0`,
		`condition{condition="Stalled",kind="Refinery",name="press",namespace="plant",reason="Rejected"} 1`)
	m.Forget(&v1alpha1.Refinery{}, press)
	shows("both are gone")
}
