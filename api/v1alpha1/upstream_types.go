package v1alpha1

// Upstream is a target that nodes are told to connect to.
// +kubebuilder:validation:XValidation:rule="has(self.address) != has(self.service)",message="give either address (host:port) or service (name and port), not both and not none"
type Upstream struct {
	// name of the upstream, by which a Refinery can pin it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be a lower-case label such as 'east'"
	Name string `json:"name"`
	// address is the target as host:port.
	// +optional
	// +kubebuilder:validation:MaxLength=261
	// +kubebuilder:validation:XValidation:rule="self.matches('^([^:\\\\s]+|\\\\[[0-9a-fA-F:.]+\\\\]):[0-9]{1,5}$') && int(self.substring(self.lastIndexOf(':') + 1)) >= 1 && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535",message="must be host:port with a port from 1 to 65535, for example 'ingest.example.com:34307' or '[2001:db8::1]:34307'"
	Address string `json:"address,omitempty"`
	// service is a Service in the same namespace. Nodes are told <name>.<namespace>.svc and the port. It is ready while it has a
	// ready endpoint for the port.
	// +optional
	Service *UpstreamService `json:"service,omitempty"`
	// weight of this upstream relative to the others. With 0 only nodes that spec.upstream pins to it are placed on it; all others leave
	// it, a few at a time.
	// Default: 1. The API server does not fill it in: tools that compare lists as a whole would see a difference.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Weight *int32 `json:"weight,omitempty"`
	// types are the node types that are placed on this upstream. Default: all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=63
	Types []string `json:"types,omitempty"`
}

// UpstreamService names a Service and one of its ports.
type UpstreamService struct {
	// name of the Service.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// port of the Service.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// UpstreamStatus is one upstream in use.
type UpstreamStatus struct {
	// name of the upstream.
	// +required
	Name string `json:"name"`
	// address that nodes are told, as host:port.
	// +required
	Address string `json:"address"`
	// ready reports whether nodes are placed on it.
	// +required
	Ready bool `json:"ready"`
	// reason why it is not ready.
	// +optional
	Reason string `json:"reason,omitempty"`
	// message for people, about the reason.
	// +optional
	Message string `json:"message,omitempty"`
	// assigned is the number of authenticated nodes placed on it.
	// +required
	Assigned int32 `json:"assigned"`
}
