package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Transport is how bytes travel between master and refinery.
// +kubebuilder:validation:Enum=MutualTLS;ServerTLS;Plaintext
type Transport string

const (
	// TransportMutualTLS is TLS 1.3 with a certificate on both sides.
	TransportMutualTLS Transport = "MutualTLS"
	// TransportServerTLS is TLS 1.3 with a certificate of the master only.
	TransportServerTLS Transport = "ServerTLS"
	// TransportPlaintext is bare TCP.
	TransportPlaintext Transport = "Plaintext"
)

// Authentication is what a refinery proves itself with.
// +kubebuilder:validation:Enum=IssuedCertificate;SharedCertificate
type Authentication string

const (
	// AuthenticationIssuedCertificate wants a certificate of the refinery's own, whose key TLS proves.
	AuthenticationIssuedCertificate Authentication = "IssuedCertificate"
	// AuthenticationSharedCertificate wants one bearer secret, the same for all refineries of a master.
	AuthenticationSharedCertificate Authentication = "SharedCertificate"
)

// ClusterMasterSpec is what a person wants of a master.
// +kubebuilder:validation:XValidation:rule="self.security.authentication == 'SharedCertificate' || !has(self.certificates) || !has(self.certificates.shared)",message="certificates.shared is used only with security.authentication: SharedCertificate; remove it, or set security.authentication"
type ClusterMasterSpec struct {
	// replicas is the number of master pods. One is active; the rest stand by and take over.
	// +optional
	// +default=2
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9
	Replicas *int32 `json:"replicas,omitempty"`
	// service configures the Service through which refineries reach the active master.
	// +optional
	// +kubebuilder:default={}
	Service MasterService `json:"service,omitzero"`
	// protocol configures the Cluster Protocol.
	// +optional
	// +kubebuilder:default={aliveIntervalSeconds: 10, aliveTimeoutSeconds: 35}
	Protocol ProtocolSpec `json:"protocol,omitzero"`
	// security says how refineries are authenticated.
	// +optional
	// +kubebuilder:default={transport: MutualTLS, authentication: IssuedCertificate}
	Security SecuritySpec `json:"security,omitzero"`
	// certificates says where certificates come from and how long they live. Default: made by the operator.
	// +optional
	// +kubebuilder:default={}
	Certificates *CertificatesSpec `json:"certificates,omitempty"`
	// upstreams are the targets that refineries are told to connect to. Default: the master's own Service.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Upstreams []Upstream `json:"upstreams,omitempty"`
	// template configures the master's pods.
	// +optional
	Template *MasterPodTemplate `json:"template,omitempty"`
	// paused stops the operator from changing anything this ClusterMaster owns. Running pods go on; certificates are not renewed.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// MasterService configures the Service of a master.
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
	// annotations of the Service, for load balancers and DNS controllers.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ProtocolSpec configures the Cluster Protocol of a master.
// +kubebuilder:validation:XValidation:rule="self.aliveTimeoutSeconds >= 2 * self.aliveIntervalSeconds",message="aliveTimeoutSeconds must be at least twice aliveIntervalSeconds, so that one late heartbeat loses no node; with the interval of 10 use 20 or more (35 is the default)"
type ProtocolSpec struct {
	// acceptedVersions is a semver constraint on the version a node announces, for example ">=0.1.0 <1.0.0".
	// Default: the versions compatible with the master's own.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-0-9A-Za-z.+*^~<>=!, |]*$')",message="must be a semver constraint, for example '>=0.1.0 <1.0.0' or '^0.1.0'"
	AcceptedVersions string `json:"acceptedVersions,omitempty"`
	// acceptedTypes are the node types that are let in.
	// +optional
	// +kubebuilder:default={refinery}
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	AcceptedTypes []string `json:"acceptedTypes,omitempty"`
	// handshakeTimeoutSeconds bounds the TLS and protocol handshake together.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=120
	HandshakeTimeoutSeconds int32 `json:"handshakeTimeoutSeconds,omitempty"`
	// aliveIntervalSeconds is how often a node says that it is alive.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	AliveIntervalSeconds int32 `json:"aliveIntervalSeconds,omitempty"`
	// aliveTimeoutSeconds is how long a node may be silent before it is Lost.
	// +optional
	// +kubebuilder:default=35
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=10800
	AliveTimeoutSeconds int32 `json:"aliveTimeoutSeconds,omitempty"`
	// maxSessions is the number of authenticated sessions that the active master holds at once.
	// +optional
	// +kubebuilder:default=20000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxSessions int32 `json:"maxSessions,omitempty"`
}

// SecuritySpec says how refineries are authenticated. Any other choice than the default is shown as
// condition TransportSecure=False.
// +kubebuilder:validation:XValidation:rule="self.authentication != 'IssuedCertificate' || self.transport == 'MutualTLS'",message="authentication IssuedCertificate needs transport MutualTLS, which proves that a node holds its certificate's key; set transport: MutualTLS, or authentication: SharedCertificate"
type SecuritySpec struct {
	// transport is MutualTLS, or, for nodes that cannot, ServerTLS or Plaintext.
	// +optional
	// +kubebuilder:default=MutualTLS
	Transport Transport `json:"transport,omitempty"`
	// authentication is IssuedCertificate, or, for nodes that cannot, SharedCertificate.
	// +optional
	// +kubebuilder:default=IssuedCertificate
	Authentication Authentication `json:"authentication,omitempty"`
}

// CertificatesSpec says where certificates come from, and how long those live that the operator issues.
// Its durations are written as in 2160h, 90m or 1h30m.
// +kubebuilder:validation:XValidation:rule="!has(self.duration) || duration(self.duration) >= duration('1m')",message="duration must be at least 1m; below 1h a kubelet may be too slow to bring a renewed certificate into its pods in time"
// +kubebuilder:validation:XValidation:rule="!has(self.renewBefore) || duration(self.renewBefore) > duration('0s')",message="renewBefore must be longer than 0s: nodes need time to get the renewed certificate; leave it out for a third of duration"
// +kubebuilder:validation:XValidation:rule="!has(self.duration) || !has(self.renewBefore) || duration(self.renewBefore) < duration(self.duration)",message="renewBefore must be shorter than duration, since a certificate is renewed that long before its end; leave it out for a third of duration"
// +kubebuilder:validation:XValidation:rule="!has(self.duration) || !has(self.caDuration) || duration(self.caDuration) >= duration(self.duration) + duration(self.duration)",message="caDuration must be at least twice duration, so that an authority can be replaced before what it signed ends; raise caDuration (87600h is the default), or lower duration"
// +kubebuilder:validation:XValidation:rule="!has(self.issuerRef) || !has(self.authority)",message="issuerRef has cert-manager issue from its issuer, authority has the operator issue from a Secret; remove one of them"
type CertificatesSpec struct {
	// duration is the validity of the server and client certificates that the operator issues: at least 1m.
	// Below 1h a kubelet may be too slow to bring a renewed one into its pods in time.
	// +optional
	// +kubebuilder:default="2160h"
	// +kubebuilder:validation:MaxLength=23
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && self != ''",message="must be hours, minutes and seconds, for example '2160h', '90m' or '1h30m'"
	Duration string `json:"duration,omitempty"`
	// renewBefore is how long before its end a certificate is renewed; for each object up to a tenth of
	// duration earlier, so that a fleet does not renew at once. Default: a third of duration, which is 720h of
	// the default 2160h.
	// +optional
	// +kubebuilder:validation:MaxLength=23
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && self != ''",message="must be hours, minutes and seconds, for example '720h', '90m' or '1h30m'"
	RenewBefore string `json:"renewBefore,omitempty"`
	// overlap is how long a replaced certificate is still let in. With 0s it is revoked at once: nodes are out
	// until they have the new one. While the certificate authority is being replaced nothing that the operator issued
	// is revoked so: its overlap begins when that is over.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:MaxLength=23
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && self != ''",message="must be hours, minutes and seconds, for example '1h', '90m' or '0s'"
	Overlap string `json:"overlap,omitempty"`
	// caDuration is the validity of an authority that the operator makes: at least twice duration. It is
	// replaced at two thirds of it, and on demand by the annotation cluster.refinery.dev/rotate-ca.
	// +optional
	// +kubebuilder:default="87600h"
	// +kubebuilder:validation:MaxLength=23
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && self != ''",message="must be hours, minutes and seconds, for example '87600h'"
	CADuration string `json:"caDuration,omitempty"`
	// authority is the certificate authority: a Secret with tls.crt and tls.key. Without the key the
	// operator issues nothing, and every certificate has to be brought. Default: made by the operator.
	// +optional
	Authority *SecretSource `json:"authority,omitempty"`
	// issuerRef names an issuer of cert-manager, which then issues all certificates: the operator makes the
	// Certificate objects. The issuer has to fill in ca.crt, as those of kind CA do. Default: none, the
	// operator issues.
	// +optional
	IssuerRef *IssuerReference `json:"issuerRef,omitempty"`
	// shared is the certificate that all nodes present with authentication SharedCertificate: a Secret
	// with the key "certificate". Default: made by the operator.
	// +optional
	Shared *SecretSource `json:"shared,omitempty"`
}

// Upstream is a target that refineries are told to connect to.
// +kubebuilder:validation:XValidation:rule="has(self.address) != has(self.service)",message="give either address (host:port) or service (name and port), not both and not none"
type Upstream struct {
	// name by which refineries pin an upstream and status shows it.
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
	// service is a Service in the same namespace: nodes are told <name>.<namespace>.svc and the port.
	// +optional
	Service *UpstreamService `json:"service,omitempty"`
	// weight of this upstream against the others. 0 takes it out: no node is placed on it.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Weight *int32 `json:"weight,omitempty"`
	// types are the node types that this upstream takes. Default: all.
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

// PodMetadata is put on pods beside what the operator needs there.
type PodMetadata struct {
	// labels of the pods. Labels of the operator cannot be replaced.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`
	// annotations of the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// MasterPodTemplate configures the pods of a master. Image, command and volumes are the operator's.
type MasterPodTemplate struct {
	// metadata of the pods.
	// +optional
	Metadata PodMetadata `json:"metadata,omitzero"`
	// resources of the master container.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitzero"`
	// nodeSelector of the pods.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// tolerations of the pods.
	// +optional
	// +listType=atomic
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// affinity of the pods.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// topologySpreadConstraints of the pods.
	// +optional
	// +listType=atomic
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// priorityClassName of the pods.
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
}

// ClusterMasterStatus is what is so. The fields active, nodes, refineries and upstreams are written by
// the active master; everything else by the operator.
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.active) || (has(self.active) && self.active.epoch >= oldSelf.active.epoch)",message="a newer master is active: active.epoch only grows"
type ClusterMasterStatus struct {
	// observedGeneration is the generation of the spec that was last carried out in full.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready, Available, CertificateReady, TransportSecure, and Stalled, CertificateExpiring and
	// CertificateAuthorityRotating while it is so.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// active is the master pod that holds the Lease, and its epoch.
	// +optional
	Active *ActiveMaster `json:"active,omitempty"`
	// endpoint is the address at which refineries inside the cluster reach the master, as host:port.
	// +optional
	Endpoint string `json:"endpoint,omitempty"`
	// version of the master that the operator runs.
	// +optional
	Version string `json:"version,omitempty"`
	// refineries counts the Refineries that name this master.
	// +optional
	Refineries *RefineryTotals `json:"refineries,omitempty"`
	// nodes counts the nodes of those Refineries.
	// +optional
	Nodes *NodeTotals `json:"nodes,omitempty"`
	// upstreams in force, sorted by name, with the number of nodes placed on each.
	// +optional
	// +listType=atomic
	Upstreams []UpstreamStatus `json:"upstreams,omitempty"`
	// certificate that the master serves over TLS.
	// +optional
	Certificate *ServedCertificate `json:"certificate,omitempty"`
	// authorities that the operator has put into ca.crt of the master's certificate Secret, by fingerprint, sorted.
	// One that is brought no more stays trusted, until nobody needs it, if it is listed here.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	Authorities []string `json:"authorities,omitempty"`
	// replicas is the number of master pods.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// selector of the master pods, for kubectl scale and autoscalers.
	// +optional
	Selector string `json:"selector,omitempty"`
}

// ActiveMaster is the master pod that speaks for a ClusterMaster.
type ActiveMaster struct {
	// pod that is active.
	// +required
	Pod string `json:"pod"`
	// epoch grows by one whenever another master process becomes active. Writes of an older epoch are refused.
	// +required
	Epoch int64 `json:"epoch"`
	// since when it is active.
	// +required
	Since metav1.Time `json:"since"`
	// certificate that it serves to new connections, by fingerprint. Empty where it has loaded none.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Certificate string `json:"certificate,omitempty"`
	// authorities of the trust bundle that it has loaded, by fingerprint, sorted, at most 64: nodes are let in whose
	// certificate one of them vouches for.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	Authorities []string `json:"authorities,omitempty"`
}

// RefineryTotals counts Refineries.
type RefineryTotals struct {
	// total number of Refineries that name this master.
	// +required
	Total int32 `json:"total"`
	// authenticated is the number of those whose condition Authenticated is True.
	// +required
	Authenticated int32 `json:"authenticated"`
	// summary is authenticated/total, for the REFINERIES column.
	// +required
	Summary string `json:"summary"`
}

// NodeTotals counts nodes.
type NodeTotals struct {
	// wanted is the number of nodes that the Refineries ask for.
	// +required
	Wanted int32 `json:"wanted"`
	// authenticated is the number of nodes with an authenticated session.
	// +required
	Authenticated int32 `json:"authenticated"`
}

// UpstreamStatus is one upstream in force.
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
	// assigned is the number of authenticated nodes placed on it.
	// +required
	Assigned int32 `json:"assigned"`
}

// ClusterMaster is a server of the Cluster Protocol, at which Refineries authenticate.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:path=clustermasters,singular=clustermaster,shortName=cmaster,categories=refinery-operator,scope=Namespaced
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Active",type=string,JSONPath=`.status.active.pod`
// +kubebuilder:printcolumn:name="Refineries",type=string,JSONPath=`.status.refineries.summary`,description="authenticated/total"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Endpoint",type=string,priority=1,JSONPath=`.status.endpoint`
// +kubebuilder:printcolumn:name="Version",type=string,priority=1,JSONPath=`.status.version`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 48 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name becomes the name of a Service: use at most 48 lower-case letters, digits and '-', beginning with a letter"
type ClusterMaster struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +optional
	// +kubebuilder:default={}
	Spec ClusterMasterSpec `json:"spec,omitzero"`
	// status is what is so.
	// +optional
	Status ClusterMasterStatus `json:"status,omitzero"`
}

// ClusterMasterList is a list of ClusterMasters.
// +kubebuilder:object:root=true
type ClusterMasterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterMaster `json:"items"`
}
