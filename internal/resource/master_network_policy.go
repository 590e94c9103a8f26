package resource

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// dnsPorts are where name servers listen: OpenShift's pods have 5353 behind the 53 of their Service, and a NetworkPolicy sees the pod's.
var dnsPorts = []int32{53, 5353}

// MasterNetworkPolicy lets through to and from the pods of a ClusterMaster what they need, as far as its spec has not chosen less. There
// is none for Refineries: it would hold for the workload in the same pod too.
func MasterNetworkPolicy(m *v1alpha1.ClusterMaster) *networkingv1ac.NetworkPolicyApplyConfiguration {
	chosen := m.Spec.NetworkPolicy
	masters := networkingv1ac.NetworkPolicyPeer().WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(MasterSelector(m)))
	spec := networkingv1ac.NetworkPolicySpec().
		WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(MasterSelector(m))).
		WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
		WithIngress(
			networkingv1ac.NetworkPolicyIngressRule().WithPorts(policyPort(corev1.ProtocolTCP, v1alpha1.DefaultPort)).WithFrom(policyPeers(chosen.Nodes)...),
			networkingv1ac.NetworkPolicyIngressRule().WithPorts(policyPort(corev1.ProtocolTCP, v1alpha1.PeerPort)).WithFrom(masters),
		).
		WithEgress(
			networkingv1ac.NetworkPolicyEgressRule().WithPorts(policyPort(corev1.ProtocolTCP, v1alpha1.PeerPort)).WithTo(masters),
			nameServers(),
			networkingv1ac.NetworkPolicyEgressRule().WithPorts(apiServerPort(chosen)).WithTo(policyPeers(chosen.APIServer)...),
		)
	if p := m.Spec.Service.ProxyProtocol; p != nil {
		rule := networkingv1ac.NetworkPolicyIngressRule().WithPorts(policyPort(corev1.ProtocolTCP, v1alpha1.ProxyPort))
		for _, network := range p.TrustedNetworks {
			rule.WithFrom(networkingv1ac.NetworkPolicyPeer().WithIPBlock(networkingv1ac.IPBlock().WithCIDR(string(network))))
		}
		spec.WithIngress(rule)
	}
	if len(chosen.Metrics) > 0 { // a rule without peers would let everybody in
		spec.WithIngress(networkingv1ac.NetworkPolicyIngressRule().
			WithPorts(policyPort(corev1.ProtocolTCP, masterHealthPort)).WithFrom(policyPeers(chosen.Metrics)...))
	}
	return networkingv1ac.NetworkPolicy(m.Name, m.Namespace).
		WithLabels(MasterLabels(m)).WithOwnerReferences(masterOwner(m)).WithSpec(spec)
}

func nameServers() *networkingv1ac.NetworkPolicyEgressRuleApplyConfiguration {
	rule := networkingv1ac.NetworkPolicyEgressRule()
	for _, port := range dnsPorts {
		rule.WithPorts(policyPort(corev1.ProtocolUDP, port), policyPort(corev1.ProtocolTCP, port))
	}
	return rule
}

func apiServerPort(chosen *v1alpha1.MasterNetworkPolicy) *networkingv1ac.NetworkPolicyPortApplyConfiguration {
	if chosen.APIServerPort == nil {
		return networkingv1ac.NetworkPolicyPort().WithProtocol(corev1.ProtocolTCP)
	}
	return policyPort(corev1.ProtocolTCP, *chosen.APIServerPort)
}

func policyPort(protocol corev1.Protocol, port int32) *networkingv1ac.NetworkPolicyPortApplyConfiguration {
	return networkingv1ac.NetworkPolicyPort().WithProtocol(protocol).WithPort(intstr.FromInt32(port))
}

// policyPeers are the peers of a spec; an empty selector stays one, as it selects everything.
func policyPeers(chosen []v1alpha1.NetworkPeer) []*networkingv1ac.NetworkPolicyPeerApplyConfiguration {
	var peers []*networkingv1ac.NetworkPolicyPeerApplyConfiguration
	for _, p := range chosen {
		peer := networkingv1ac.NetworkPolicyPeer()
		peer.PodSelector, peer.NamespaceSelector = labelSelector(p.PodSelector), labelSelector(p.NamespaceSelector)
		if p.IPBlock != nil {
			block := networkingv1ac.IPBlock().WithCIDR(string(p.IPBlock.CIDR))
			for _, except := range p.IPBlock.Except {
				block.WithExcept(string(except))
			}
			peer.WithIPBlock(block)
		}
		peers = append(peers, peer)
	}
	return peers
}

func labelSelector(chosen *metav1.LabelSelector) *metav1ac.LabelSelectorApplyConfiguration {
	if chosen == nil {
		return nil
	}
	selector := metav1ac.LabelSelector().WithMatchLabels(chosen.MatchLabels)
	for _, e := range chosen.MatchExpressions {
		selector.WithMatchExpressions(metav1ac.LabelSelectorRequirement().WithKey(e.Key).WithOperator(e.Operator).WithValues(e.Values...))
	}
	return selector
}
