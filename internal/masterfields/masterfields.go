// Package masterfields builds what field owner refinery-master owns of a status, all of it: what an apply leaves out is
// removed. The active master writes it. While none is active, the operator does, in the name of that owner: a former
// master's word does not outlive it, and the next master takes over by its first write.
package masterfields

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	ac "github.com/refinery-operator/refinery-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// OfRefinery are those of a Refinery: reporter, nodes, their counts and condition Authenticated.
func OfRefinery(namespace, name string, from *v1alpha1.RefineryStatus) *ac.RefineryApplyConfiguration {
	status := ac.RefineryStatus()
	if r := from.Reporter; r != nil {
		status.WithReporter(ac.Reporter().WithPod(r.Pod).WithEpoch(r.Epoch))
	}
	if c := meta.FindStatusCondition(from.Conditions, v1alpha1.ConditionAuthenticated); c != nil {
		status.WithConditions(metav1ac.Condition().WithType(c.Type).WithStatus(c.Status).WithReason(c.Reason).WithMessage(c.Message).
			WithObservedGeneration(c.ObservedGeneration).WithLastTransitionTime(c.LastTransitionTime))
	}
	if a := from.Authenticated; a != nil {
		authenticated := ac.AuthenticatedNodes().WithNodes(a.Nodes).WithWanted(a.Wanted).WithSummary(a.Summary)
		if a.Upstreams != "" {
			authenticated.WithUpstreams(a.Upstreams)
		}
		if a.Versions != "" {
			authenticated.WithVersions(a.Versions)
		}
		for _, c := range a.Certificates {
			authenticated.WithCertificates(ac.PresentedCertificate().WithFingerprint(c.Fingerprint).WithNodes(c.Nodes))
		}
		for _, n := range a.Security {
			authenticated.WithSecurity(ac.NodesOfMode().WithTransport(n.Transport).WithAuthentication(n.Authentication).WithNodes(n.Nodes))
		}
		status.WithAuthenticated(authenticated)
	}
	for i := range from.Nodes {
		status.WithNodes(node(&from.Nodes[i]))
	}
	return ac.Refinery(name, namespace).WithStatus(status)
}

func node(n *v1alpha1.NodeStatus) *ac.NodeStatusApplyConfiguration {
	node := ac.NodeStatus().WithID(n.ID).WithState(n.State).WithLastTransitionTime(n.LastTransitionTime)
	for _, field := range []struct {
		value string
		with  func(string) *ac.NodeStatusApplyConfiguration
	}{
		{n.Reason, node.WithReason}, {n.Message, node.WithMessage}, {n.Version, node.WithVersion}, {n.Type, node.WithType},
		{n.Address, node.WithAddress}, {n.Upstream, node.WithUpstream}, {n.Certificate, node.WithCertificate},
		{n.Status, node.WithStatus},
	} {
		if field.value != "" {
			field.with(field.value)
		}
	}
	return node
}

// OfClusterMaster are those of a ClusterMaster: who is active, the totals, and strangers.
func OfClusterMaster(namespace, name string, from *v1alpha1.ClusterMasterStatus) *ac.ClusterMasterApplyConfiguration {
	status := ac.ClusterMasterStatus()
	if a := from.Active; a != nil {
		active := ac.ActiveMaster().WithPod(a.Pod).WithEpoch(a.Epoch).WithSince(a.Since).WithAuthorities(a.Authorities...)
		if a.Certificate != "" {
			active.WithCertificate(a.Certificate)
		}
		if a.SharedGeneration != 0 {
			active.WithSharedGeneration(a.SharedGeneration)
		}
		status.WithActive(active)
	}
	if r := from.Refineries; r != nil {
		status.WithRefineries(ac.RefineryTotals().WithTotal(r.Total).WithAuthenticated(r.Authenticated).WithSummary(r.Summary))
	}
	if n := from.Nodes; n != nil {
		status.WithNodes(ac.NodeTotals().WithWanted(n.Wanted).WithAuthenticated(n.Authenticated))
	}
	for _, u := range from.Upstreams {
		upstream := ac.UpstreamStatus().WithName(u.Name).WithAddress(u.Address).WithReady(u.Ready).WithAssigned(u.Assigned)
		if u.Reason != "" {
			upstream.WithReason(u.Reason).WithMessage(u.Message)
		}
		status.WithUpstreams(upstream)
	}
	for i := range from.Strangers {
		status.WithStrangers(stranger(&from.Strangers[i]))
	}
	return ac.ClusterMaster(name, namespace).WithStatus(status)
}

func stranger(s *v1alpha1.StrangerStatus) *ac.StrangerStatusApplyConfiguration {
	stranger := ac.StrangerStatus().WithID(s.ID).WithReason(s.Reason).WithCount(s.Count).WithLastSeen(s.LastSeen)
	for _, field := range []struct {
		value string
		with  func(string) *ac.StrangerStatusApplyConfiguration
	}{{s.Address, stranger.WithAddress}, {s.Type, stranger.WithType}, {s.Certificate, stranger.WithCertificate}} {
		if field.value != "" {
			field.with(field.value)
		}
	}
	return stranger
}
