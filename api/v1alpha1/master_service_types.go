package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// MasterService configures the Service of a master. What the API server would refuse of the Service is refused here, as far as it can
// be told from the spec alone.
// +kubebuilder:validation:XValidation:rule="!has(self.externalTrafficPolicy) || self.type != 'ClusterIP'",message="externalTrafficPolicy is for connections from outside of the cluster, and a Service of type ClusterIP takes none; set type: NodePort or LoadBalancer, or remove externalTrafficPolicy"
// +kubebuilder:validation:XValidation:rule="!has(self.nodePort) || self.type != 'ClusterIP'",message="a Service of type ClusterIP has no nodePort; set type: NodePort or LoadBalancer, or remove nodePort"
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerClass) || self.type == 'LoadBalancer'",message="loadBalancerClass chooses who makes the load balancer, and only a Service of type LoadBalancer has one; set type: LoadBalancer, or remove loadBalancerClass"
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerSourceRanges) || self.type == 'LoadBalancer'",message="loadBalancerSourceRanges are for a load balancer, and only a Service of type LoadBalancer has one; set type: LoadBalancer, or remove loadBalancerSourceRanges"
// +kubebuilder:validation:XValidation:rule="!has(self.ipFamilies) || self.ipFamilies.size() < 2 || (has(self.ipFamilyPolicy) && self.ipFamilyPolicy != 'SingleStack')",message="two ipFamilies need ipFamilyPolicy: PreferDualStack or RequireDualStack; set it, or remove one of them"
// +kubebuilder:validation:XValidation:rule="self.type != 'LoadBalancer' || oldSelf.type != 'LoadBalancer' || (has(self.loadBalancerClass) == has(oldSelf.loadBalancerClass) && (!has(self.loadBalancerClass) || self.loadBalancerClass == oldSelf.loadBalancerClass))",message="Kubernetes lets nobody change the loadBalancerClass of a Service of type LoadBalancer; set type: ClusterIP, and when the Service has it, set both again"
// +kubebuilder:validation:XValidation:rule="!has(self.ipFamilies) || !has(oldSelf.ipFamilies) || self.ipFamilies[0] == oldSelf.ipFamilies[0]",message="Kubernetes lets nobody change the first of the ipFamilies of a Service, in which its cluster IP is; keep it first"
// +kubebuilder:validation:XValidation:rule="!has(self.ipFamilies) || !has(oldSelf.ipFamilies) || self.ipFamilies.size() >= oldSelf.ipFamilies.size() || (has(self.ipFamilyPolicy) && self.ipFamilyPolicy == 'SingleStack')",message="the second of the ipFamilies is given up with ipFamilyPolicy: SingleStack; set it too"
// +kubebuilder:validation:XValidation:rule="!has(self.proxyProtocol) || self.proxyProtocol.port != self.port",message="proxyProtocol.port must differ from port, which takes connections without a header of the PROXY protocol only"
type MasterService struct {
	// type of the Service.
	// +optional
	// +kubebuilder:default=ClusterIP
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	Type corev1.ServiceType `json:"type,omitempty"`
	// port of the Service.
	// +optional
	// +kubebuilder:default=34308
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// nodePort is the port of each Kubernetes node, in the range that the cluster has for these. Default: one that Kubernetes chooses.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	NodePort *int32 `json:"nodePort,omitempty"`
	// externalTrafficPolicy is Cluster, or Local to keep the address that a node connects from: then only the Kubernetes node that
	// runs the active master takes connections. Default: Cluster.
	// +optional
	// +kubebuilder:validation:Enum=Cluster;Local
	ExternalTrafficPolicy corev1.ServiceExternalTrafficPolicy `json:"externalTrafficPolicy,omitempty"`
	// loadBalancerClass is whose load balancer it is, such as service.k8s.aws/nlb. Default: that of the cluster.
	// +optional
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')",message="must be a name as of a label, such as 'internal-vip' or 'example.com/internal-vip'"
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`
	// loadBalancerSourceRanges are from where the load balancer takes connections, if it supports that. Default: from anywhere.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	LoadBalancerSourceRanges []CIDR `json:"loadBalancerSourceRanges,omitempty"`
	// ipFamilyPolicy is SingleStack, PreferDualStack or RequireDualStack. Default: SingleStack.
	// +optional
	// +kubebuilder:validation:Enum=SingleStack;PreferDualStack;RequireDualStack
	IPFamilyPolicy corev1.IPFamilyPolicy `json:"ipFamilyPolicy,omitempty"`
	// ipFamilies are IPv4, IPv6 or both; the first is that of the cluster IP. The active master is reached by those that its pod has an
	// address of. Default: what the cluster chooses by ipFamilyPolicy.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:Enum=IPv4;IPv6
	// +kubebuilder:validation:XValidation:rule="self.size() < 2 || self[0] != self[1]",message="the two ipFamilies must differ"
	IPFamilies []corev1.IPFamily `json:"ipFamilies,omitempty"`
	// proxyProtocol has the Service take connections that load balancers forward with a header of the PROXY protocol, at a port of
	// their own. Default: none are taken.
	// +optional
	ProxyProtocol *ProxyProtocol `json:"proxyProtocol,omitempty"`
	// annotations of the Service, for load balancers and DNS controllers.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ProxyProtocol is the PROXY protocol, version 1 or 2, by which a load balancer says from where a connection came.
type ProxyProtocol struct {
	// port of the Service at which every connection must begin with a header of the PROXY protocol.
	// +optional
	// +kubebuilder:default=34310
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// trustedNetworks are the addresses of the load balancers, as the master's pods see them. Others are closed at once: whoever sends the
	// header is believed.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.all(n, !isCIDR(n) || cidr(n).prefixLength() > 0)",message="must not be everybody, as 0.0.0.0/0 and ::/0 are: whoever sends the header is believed; list the networks of the load balancers"
	TrustedNetworks []CIDR `json:"trustedNetworks"`
}
