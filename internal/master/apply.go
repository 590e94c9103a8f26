package master

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	ac "github.com/refinery-operator/refinery-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// tenure is one time of being active: who, and with which epoch.
type tenure struct {
	Pod   string
	Epoch int64
	Since metav1.Time
}

// refineryStatus is everything of a Refinery's status that the field owner refinery-master owns.
func refineryStatus(namespace, name string, report *report, term tenure) *ac.RefineryApplyConfiguration {
	status := ac.RefineryStatus().
		WithReporter(ac.Reporter().WithPod(term.Pod).WithEpoch(term.Epoch)).
		WithConditions(conditionApply(&report.Condition))
	authenticated := ac.AuthenticatedNodes().
		WithNodes(report.Authenticated.Nodes).
		WithWanted(report.Authenticated.Wanted).
		WithSummary(report.Authenticated.Summary)
	if report.Authenticated.Upstreams != "" {
		authenticated.WithUpstreams(report.Authenticated.Upstreams)
	}
	if report.Authenticated.Versions != "" {
		authenticated.WithVersions(report.Authenticated.Versions)
	}
	for _, c := range report.Authenticated.Certificates {
		authenticated.WithCertificates(ac.PresentedCertificate().WithFingerprint(c.Fingerprint).WithNodes(c.Nodes))
	}
	status.WithAuthenticated(authenticated)
	for i := range report.Nodes {
		status.WithNodes(nodeApply(&report.Nodes[i]))
	}
	return ac.Refinery(name, namespace).WithStatus(status)
}

func conditionApply(c *metav1.Condition) *metav1ac.ConditionApplyConfiguration {
	return metav1ac.Condition().WithType(c.Type).WithStatus(c.Status).WithReason(c.Reason).WithMessage(c.Message).
		WithObservedGeneration(c.ObservedGeneration).WithLastTransitionTime(c.LastTransitionTime)
}

func nodeApply(n *v1alpha1.NodeStatus) *ac.NodeStatusApplyConfiguration {
	node := ac.NodeStatus().WithID(n.ID).WithState(n.State).WithLastTransitionTime(n.LastTransitionTime)
	for _, field := range []struct {
		value string
		with  func(string) *ac.NodeStatusApplyConfiguration
	}{
		{n.Reason, node.WithReason}, {n.Message, node.WithMessage}, {n.Version, node.WithVersion}, {n.Type, node.WithType},
		{n.Address, node.WithAddress}, {n.Upstream, node.WithUpstream}, {n.Certificate, node.WithCertificate},
	} {
		if field.value != "" {
			field.with(field.value)
		}
	}
	return node
}

// masterStatus is everything of a ClusterMaster's status that the field owner refinery-master owns.
func masterStatus(namespace, name string, term tenure, loaded reportedCertificates, totals *masterTotals) *ac.ClusterMasterApplyConfiguration {
	active := ac.ActiveMaster().WithPod(term.Pod).WithEpoch(term.Epoch).WithSince(term.Since).WithAuthorities(loaded.Authorities...)
	if loaded.Certificate != "" {
		active.WithCertificate(loaded.Certificate)
	}
	status := ac.ClusterMasterStatus().WithActive(active)
	if totals != nil {
		status.WithRefineries(ac.RefineryTotals().
			WithTotal(totals.Refineries.Total).
			WithAuthenticated(totals.Refineries.Authenticated).
			WithSummary(totals.Refineries.Summary))
		status.WithNodes(ac.NodeTotals().WithWanted(totals.Nodes.Wanted).WithAuthenticated(totals.Nodes.Authenticated))
		for _, u := range totals.Upstreams {
			status.WithUpstreams(ac.UpstreamStatus().
				WithName(u.Name).WithAddress(u.Address).WithReady(u.Ready).WithAssigned(u.Assigned))
		}
	}
	return ac.ClusterMaster(name, namespace).WithStatus(status)
}
