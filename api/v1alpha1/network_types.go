package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NetworkPeer is the other side of a connection, written as in a NetworkPolicy: pods, or a range of addresses.
// +kubebuilder:validation:XValidation:rule="has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",message="must be a podSelector, a namespaceSelector, both, or an ipBlock alone"
type NetworkPeer struct {
	// podSelector selects pods: of the namespaces that namespaceSelector selects, or else of this one. An empty one selects all.
	// +optional
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	// namespaceSelector selects namespaces. An empty one selects all.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// ipBlock is a range of addresses, for what is outside of the cluster. Whether pods in that range are meant too depends on the
	// network plugin; except leaves them out.
	// +optional
	IPBlock *IPBlock `json:"ipBlock,omitempty"`
}

// IPBlock is a range of addresses.
// +kubebuilder:validation:XValidation:rule="!has(self.except) || !isCIDR(self.cidr) || self.except.all(e, isCIDR(e) && cidr(self.cidr).containsCIDR(e) && cidr(self.cidr).prefixLength() < cidr(e).prefixLength())",message="each except must be a part of cidr"
type IPBlock struct {
	// cidr is the range, such as 192.0.2.0/24 or 2001:db8::/32.
	// +required
	CIDR CIDR `json:"cidr"`
	// except are ranges in it that are not meant.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Except []CIDR `json:"except,omitempty"`
}

// CIDR is a range of IP addresses.
// +kubebuilder:validation:MaxLength=43
// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be an address and a length, of which no more bits are set than that, for example '192.0.2.0/24', '192.0.2.10/32' or '2001:db8::/32'"
type CIDR string

// MasterNetworkPolicy asks for a NetworkPolicy over the pods of a master. What it does not name is not let through: the masters of
// this ClusterMaster reach each other, and everything looks up names, whatever is chosen here.
type MasterNetworkPolicy struct {
	// nodes are from where nodes may connect, as in ingress.from of a NetworkPolicy. Behind a load balancer or a NodePort that hides
	// addresses, the address of the Kubernetes node is what counts. Default: from anywhere.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Nodes []NetworkPeer `json:"nodes,omitempty"`
	// metrics are from where the metrics may be read. They are served beside the probes of the kubelet, which a NetworkPolicy never
	// keeps out. Default: from nowhere.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Metrics []NetworkPeer `json:"metrics,omitempty"`
	// apiServer are where the masters find the API server: the addresses behind Service kubernetes in namespace default, not that of the
	// Service. A master that cannot reach it does not start, and the operator does not know these addresses. Default: anywhere, by TCP.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	APIServer []NetworkPeer `json:"apiServer,omitempty"`
	// apiServerPort is the port of these addresses, not that of the Service. Default: any.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	APIServerPort *int32 `json:"apiServerPort,omitempty"`
}
