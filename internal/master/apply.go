package master

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	ac "github.com/refinery-operator/refinery-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/masterfields"
)

// tenure is one time of being active: who, and with which epoch.
type tenure struct {
	Pod   string
	Epoch int64
	Since metav1.Time
	// Former is the pod that was active before, as status says; "" for none.
	Former string
}

// refineryStatus is what the master writes of a Refinery's status.
func refineryStatus(namespace, name string, report *report, term tenure) *ac.RefineryApplyConfiguration {
	return masterfields.OfRefinery(namespace, name, &v1alpha1.RefineryStatus{
		Reporter:      &v1alpha1.Reporter{Pod: term.Pod, Epoch: term.Epoch},
		Conditions:    []metav1.Condition{report.Condition},
		Authenticated: &report.Authenticated,
		Nodes:         report.Nodes,
	})
}

// masterStatus is what the master writes of its ClusterMaster's status.
func masterStatus(namespace, name string, term tenure, loaded reportedCertificates, totals *masterTotals) *ac.ClusterMasterApplyConfiguration {
	status := &v1alpha1.ClusterMasterStatus{Active: &v1alpha1.ActiveMaster{Pod: term.Pod, Epoch: term.Epoch, Since: term.Since,
		Certificate: loaded.Certificate, Authorities: loaded.Authorities, SharedGeneration: loaded.Shared}}
	if totals != nil {
		status.Refineries, status.Nodes, status.Upstreams, status.Strangers = &totals.Refineries, &totals.Nodes, totals.Upstreams, totals.Strangers
	}
	return masterfields.OfClusterMaster(namespace, name, status)
}
