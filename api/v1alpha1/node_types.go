package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeSelection selects nodes by what they announce. Of several Refineries that select a node, it is of the one that has its
// id, then of the one with the longest prefix, then of the one that has its type, then of the one that takes the rest; and of
// two that do so in the same way, of the older one.
// +kubebuilder:validation:XValidation:rule="(has(self.ids) && self.ids.size() > 0) || (has(self.prefixes) && self.prefixes.size() > 0) || (has(self.types) && self.types.size() > 0) || (has(self.rest) && self.rest)",message="nodes selects nothing; write ids, prefixes, types or rest: true, or remove nodes"
type NodeSelection struct {
	// ids of nodes.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	IDs []NodeID `json:"ids,omitempty"`
	// prefixes of ids.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Prefixes []NodeID `json:"prefixes,omitempty"`
	// types of nodes; spec.protocol.acceptedTypes of the ClusterMaster must have them too.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Types []string `json:"types,omitempty"`
	// rest selects the nodes that no Refinery selects in another way.
	// +optional
	Rest bool `json:"rest,omitempty"`
}

// NodeID is the id of a node, or the beginning of one.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^[\\\\pL\\\\pM\\\\pN\\\\pP\\\\pS ]+$')",message="must be printable: letters, marks, numbers, punctuation, symbols and spaces"
type NodeID string

// NodeBan bans one node of a Refinery.
// +kubebuilder:validation:XValidation:rule="has(self.id) != has(self.certificate)",message="a ban names either an id or a certificate; write one of them, and another ban for the other"
type NodeBan struct {
	// id of the node. A node that does not prove its id can announce another one.
	// +optional
	ID NodeID `json:"id,omitempty"`
	// certificate that the node presents over TLS: its fingerprint, as in status.nodes. All nodes that present it are banned.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{64}$')",message="must be a fingerprint: the SHA-256 of the certificate's DER form, in 64 lower-case hexadecimal digits"
	// +kubebuilder:validation:MaxLength=64
	Certificate string `json:"certificate,omitempty"`
	// reason of the ban, for people. Status shows it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason"`
	// until when the node is banned. Default: until the ban is removed.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// StrangerStatus is a node that has the shared certificate, or one that a trusted authority signed, and is of no Refinery.
type StrangerStatus struct {
	// id that it announced.
	// +required
	// +kubebuilder:validation:MaxLength=253
	ID string `json:"id"`
	// address from which it connected last, without the port.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Address string `json:"address,omitempty"`
	// type that it announced.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Type string `json:"type,omitempty"`
	// certificate is the fingerprint of the certificate that it presented over TLS.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Certificate string `json:"certificate,omitempty"`
	// reason why it was denied, in CamelCase.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`
	// count is how often it was denied.
	// +required
	Count int32 `json:"count"`
	// lastSeen is when it was denied last. It is written at most every half minute.
	// +required
	LastSeen metav1.Time `json:"lastSeen"`
}
