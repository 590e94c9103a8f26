package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Transport is what carries the connection between a node and the master.
// +kubebuilder:validation:Enum=MutualTLS;ServerTLS;Plaintext
type Transport string

const (
	// TransportMutualTLS is TLS 1.3 with a certificate on both sides.
	TransportMutualTLS Transport = "MutualTLS"
	// TransportServerTLS is TLS 1.3 with a certificate on the master's side only.
	TransportServerTLS Transport = "ServerTLS"
	// TransportPlaintext is TCP without TLS.
	TransportPlaintext Transport = "Plaintext"
)

// Authentication is how a node proves that it may take part.
// +kubebuilder:validation:Enum=IssuedCertificate;SharedCertificate
type Authentication string

const (
	// AuthenticationIssuedCertificate requires a certificate that names the node's Refinery, and whose key TLS proves.
	AuthenticationIssuedCertificate Authentication = "IssuedCertificate"
	// AuthenticationSharedCertificate requires one bearer secret, the same for all nodes of a master.
	AuthenticationSharedCertificate Authentication = "SharedCertificate"
)

// ClusterMasterSpec is the desired state of a master.
// +kubebuilder:validation:XValidation:rule="self.security.authentication == 'SharedCertificate' || !has(self.certificates) || !has(self.certificates.shared)",message="certificates.shared is used only with security.authentication: SharedCertificate; remove it, or set security.authentication"
// +kubebuilder:validation:XValidation:rule="!has(self.minReadySeconds) || self.minReadySeconds < (has(self.progressDeadlineSeconds) ? self.progressDeadlineSeconds : 600)",message="progressDeadlineSeconds (600 by default) must be longer than minReadySeconds, or every rollout would count as failed; raise the one or lower the other"
type ClusterMasterSpec struct {
	// replicas is the number of master pods. One is active, the others are standbys that take over when it ends.
	// +optional
	// +default=2
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9
	Replicas *int32 `json:"replicas,omitempty"`
	// service configures the Service through which nodes reach the active master.
	// +optional
	// +kubebuilder:default={}
	Service MasterService `json:"service,omitzero"`
	// protocol configures the Cluster Protocol.
	// +optional
	// +kubebuilder:default={aliveIntervalSeconds: 10, aliveTimeoutSeconds: 35}
	Protocol ProtocolSpec `json:"protocol,omitzero"`
	// apiServerOutageSeconds is for how long the active master serves while it cannot reach the API server: it keeps sessions and
	// lets nodes in by what it knew last. What is revoked or suspended meanwhile takes effect when the API server is back. With 0
	// all nodes are sent away when the master's Lease has ended, after 10 seconds. Default: an hour.
	// +optional
	// +default=3600
	// +kubebuilder:default=3600
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=604800
	APIServerOutageSeconds *int32 `json:"apiServerOutageSeconds,omitempty"`
	// security says how nodes are authenticated.
	// +optional
	// +kubebuilder:default={transport: MutualTLS, authentication: IssuedCertificate, overlap: "1h"}
	Security SecuritySpec `json:"security,omitzero"`
	// certificates says where certificates come from and how long they are valid. Default: issued by the operator.
	// +optional
	// +kubebuilder:default={}
	Certificates *CertificatesSpec `json:"certificates,omitempty"`
	// upstreams are the targets that nodes are told to connect to. Default: the master's own Service.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Upstreams []Upstream `json:"upstreams,omitempty"`
	// imagePullSecrets name Secrets of this namespace with which the images of the pods are pulled, beside those that the operator
	// is configured with. Default: none.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []LocalReference `json:"imagePullSecrets,omitempty"`
	// podDisruptionBudget configures the PodDisruptionBudget over the pods, of which there is one if there is more than one pod.
	// +optional
	PodDisruptionBudget DisruptionBudget `json:"podDisruptionBudget,omitzero"`
	// How pods are replaced when they change.
	Rollout `json:",inline"`
	// networkPolicy, also an empty one, has the operator keep a NetworkPolicy over the pods: what may reach them, and what they may
	// reach. Default: none, so that the pods are subject to the NetworkPolicies of others only.
	// +optional
	NetworkPolicy *MasterNetworkPolicy `json:"networkPolicy,omitempty"`
	// commonMetadata is put on every object that the operator owns for this one.
	// +optional
	CommonMetadata CommonMetadata `json:"commonMetadata,omitzero"`
	// template configures the master's pods.
	// +optional
	Template *MasterPodTemplate `json:"template,omitempty"`
	// maxConcurrentUpgrades is of how many Refineries the pods may be replaced at a time because of a change that their owners did not
	// ask for, with upgradePolicy Automatic or because they were let go. If the pods of one do not come back within its progress
	// deadline, no other begins.
	// +optional
	// +default=5
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	MaxConcurrentUpgrades *int32 `json:"maxConcurrentUpgrades,omitempty"`
	// upgradeWindows are when the pods of Refineries with upgradePolicy Automatic may begin to be replaced because of a change that
	// their owners did not ask for. One Refinery that has begun goes on after the end of its window. Default: at any time.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	UpgradeWindows []UpgradeWindow `json:"upgradeWindows,omitempty"`
	// paused stops the operator from changing anything that this ClusterMaster owns. Running pods continue; certificates are
	// not renewed.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// ProtocolSpec configures the Cluster Protocol of a master.
// +kubebuilder:validation:XValidation:rule="self.aliveTimeoutSeconds >= 2 * self.aliveIntervalSeconds",message="aliveTimeoutSeconds must be at least twice aliveIntervalSeconds, so that one late heartbeat loses no node; with the interval of 10 use 20 or more (35 is the default)"
type ProtocolSpec struct {
	// acceptedVersions is a semver constraint on the version a node announces, for example ">=0.1.0 <1.0.0".
	// Default: all versions that speak the protocol, also later ones than the master's own.
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
	// aliveIntervalSeconds is how often a node sends a heartbeat.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	AliveIntervalSeconds int32 `json:"aliveIntervalSeconds,omitempty"`
	// aliveTimeoutSeconds is how long a node may be silent. Then its session is closed and the node is Lost.
	// +optional
	// +kubebuilder:default=35
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=10800
	AliveTimeoutSeconds int32 `json:"aliveTimeoutSeconds,omitempty"`
	// maxSessions is the highest number of authenticated sessions that the active master has at once.
	// +optional
	// +kubebuilder:default=20000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxSessions int32 `json:"maxSessions,omitempty"`
	// payloadForm is how the master writes the upstream: as JSON, {"upstream":"host:port"}, or Literal, "{upstream":"host:port"}, as
	// the protocol's text has it to the letter, for nodes that read nothing else. The master reads both in any case. A change counts for
	// sessions that begin after it. Default: JSON.
	// +optional
	// +kubebuilder:validation:Enum=JSON;Literal
	PayloadForm PayloadForm `json:"payloadForm,omitempty"`
	// maxHandshakesPerSource is the highest number of connections from one IP address that are not authenticated yet. Nodes behind a
	// gateway, or a load balancer that hides their addresses, share it: raise it to the number of nodes that connect at once. One more
	// takes the place of the oldest of them that has sent nothing, and otherwise is refused.
	// +optional
	// +kubebuilder:default=32
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=8192
	MaxHandshakesPerSource int32 `json:"maxHandshakesPerSource,omitempty"`
}

// PayloadForm is how a payload is written.
type PayloadForm string

// The forms of a payload.
const (
	PayloadJSON    PayloadForm = "JSON"
	PayloadLiteral PayloadForm = "Literal"
)

// SecuritySpec says how nodes are authenticated. Any choice other than the default is shown as condition
// TransportSecure=False.
// +kubebuilder:validation:XValidation:rule="self.authentication != 'IssuedCertificate' || self.transport == 'MutualTLS'",message="authentication IssuedCertificate needs transport MutualTLS, which proves that a node holds its certificate's key; set transport: MutualTLS, or authentication: SharedCertificate"
type SecuritySpec struct {
	// transport is MutualTLS. For nodes that do not support it: ServerTLS or Plaintext.
	// +optional
	// +kubebuilder:default=MutualTLS
	Transport Transport `json:"transport,omitempty"`
	// authentication is IssuedCertificate. For nodes that do not support it: SharedCertificate.
	// +optional
	// +kubebuilder:default=IssuedCertificate
	Authentication Authentication `json:"authentication,omitempty"`
	// overlap is how long, after transport or authentication has changed, the nodes of a Refinery may still connect as before:
	// until all of them have connected as it is now, and for that long at most. With 0s they are refused at once. Default: an hour.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:MaxLength=23
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && self != ''",message="must be hours, minutes and seconds, for example '1h', '90m' or '0s'"
	Overlap string `json:"overlap,omitempty"`
}

// PodMetadata is added to the pods' own metadata.
type PodMetadata struct {
	// labels of the pods. Labels that the operator sets cannot be replaced.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`
	// annotations of the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// MasterVolume is a volume of a master's pods, and where the master container has it: exactly one of the sources.
// +kubebuilder:validation:XValidation:rule="[has(self.configMap), has(self.emptyDir), has(self.persistentVolumeClaim), has(self.csi)].exists_one(b, b)",message="must have exactly one of configMap, emptyDir, persistentVolumeClaim and csi"
type MasterVolume struct {
	// name of the volume.
	// +required
	Name VolumeName `json:"name"`
	// mountPath in the master container. It must not cover, or be in, what the master reads and trusts.
	// +required
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/[A-Za-z0-9_.-]*[A-Za-z0-9_-])+$') && ['/etc', '/usr', '/run', '/var/run', '/dev', '/proc', '/sys', '/master'].all(p, !(self + '/').startsWith(p + '/') && !(p + '/').startsWith(self + '/'))",message="must be an absolute path, such as '/mnt/audit', that does not cover, and is not in, /etc, /usr, /run, /var/run, /dev, /proc, /sys or /master"
	MountPath string `json:"mountPath"`
	// readOnly mounts it so. Default: false.
	// +optional
	ReadOnly bool `json:"readOnly,omitempty"`
	// configMap is the source.
	// +optional
	ConfigMap *corev1.ConfigMapVolumeSource `json:"configMap,omitempty"`
	// emptyDir is the source.
	// +optional
	EmptyDir *corev1.EmptyDirVolumeSource `json:"emptyDir,omitempty"`
	// persistentVolumeClaim is the source. All pods mount the same claim, so that it has to be one that several pods on several
	// Kubernetes nodes can mount at a time, as with ReadWriteMany.
	// +optional
	PersistentVolumeClaim *corev1.PersistentVolumeClaimVolumeSource `json:"persistentVolumeClaim,omitempty"`
	// csi is the source. It cannot name a Secret.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.nodePublishSecretRef)",message="must not have nodePublishSecretRef: no Secret but the master's own gets into its pods"
	CSI *corev1.CSIVolumeSource `json:"csi,omitempty"`
}

// MasterPodTemplate configures the pods of a master. Image and command are set by the operator.
type MasterPodTemplate struct {
	// metadata of the pods.
	// +optional
	Metadata PodMetadata `json:"metadata,omitzero"`
	// env are further variables of the master container, such as GOMEMLIMIT.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Env []Variable `json:"env,omitempty"`
	// volumes of the pods, beside those that the operator makes. Secrets cannot be mounted.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, b.mountPath == a.mountPath))",message="two volumes have the same mountPath; choose another one for one of the two"
	Volumes []MasterVolume `json:"volumes,omitempty"`
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
	// runtimeClassName of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	RuntimeClassName string `json:"runtimeClassName,omitempty"`
	// podSecurityContext of the pods. Each field that it has takes the place of the default, which is what Pod Security "restricted"
	// asks for.
	// +optional
	PodSecurityContext *corev1.PodSecurityContext `json:"podSecurityContext,omitempty"`
	// securityContext of the master container. Each field that it has takes the place of the default, which is what Pod Security
	// "restricted" asks for, with a read-only file system.
	// +optional
	SecurityContext *corev1.SecurityContext `json:"securityContext,omitempty"`
}

// ClusterMasterStatus is the observed state of a master. The active master writes active, nodes, refineries, upstreams and strangers;
// the operator writes everything else, and these while no master is active.
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.active) || (has(self.active) && self.active.epoch >= oldSelf.active.epoch)",message="a newer master is active: active.epoch only grows"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.active) || !has(self.active) || self.active.epoch <= oldSelf.active.epoch + 1000",message="active.epoch grows by at most 1000 at once"
type ClusterMasterStatus struct {
	// observedGeneration is the generation of the spec that was last looked at, whatever came of it: the conditions say that. It is
	// -1 until then, so that nobody takes a new object for one that is done.
	// +optional
	// +kubebuilder:default=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// reconciledGeneration is the generation of the spec that was last reconciled in full. It stays behind while the object is
	// paused or Stalled.
	// +optional
	ReconciledGeneration int64 `json:"reconciledGeneration,omitempty"`
	// conditions: Ready, Available, CertificateReady, TransportSecure, and, only while they are True, CertificateExpiring,
	// CertificateAuthorityRotating, SecurityChanging, Reconciling, Stalled. See docs/conditions.md for when each is True.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// active is the master pod that holds the Lease, and its epoch. While none does, active.pod is empty, and the rest is
	// of the last one that did.
	// +optional
	Active *ActiveMaster `json:"active,omitempty"`
	// security is how nodes are authenticated and, while spec.security changes, how they were before.
	// +optional
	Security *SecurityStatus `json:"security,omitempty"`
	// endpoint is the address at which nodes inside the cluster reach the master, as host:port.
	// +optional
	Endpoint string `json:"endpoint,omitempty"`
	// externalEndpoints are the addresses at which a load balancer takes connections to the master, as host:port, sorted. None
	// unless service.type is LoadBalancer and the load balancer has one.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	ExternalEndpoints []string `json:"externalEndpoints,omitempty"`
	// version of the master that the operator runs.
	// +optional
	Version string `json:"version,omitempty"`
	// refineries counts the Refineries whose masterRef names this master.
	// +optional
	Refineries *RefineryTotals `json:"refineries,omitempty"`
	// nodes counts the nodes of those Refineries.
	// +optional
	Nodes *NodeTotals `json:"nodes,omitempty"`
	// upstreams in use, sorted by name, with the number of nodes placed on each.
	// +optional
	// +listType=atomic
	Upstreams []UpstreamStatus `json:"upstreams,omitempty"`
	// strangers are nodes that proved that they may take part, and are of no Refinery: the 16 that tried last, sorted by id. They
	// are denied. A stranger is forgotten an hour after it tried last, and when another master becomes active.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Strangers []StrangerStatus `json:"strangers,omitempty"`
	// certificate that the master serves over TLS.
	// +optional
	Certificate *ServedCertificate `json:"certificate,omitempty"`
	// authorities that the operator has put into ca.crt of the master's certificate Secret: fingerprints, sorted.
	// One of them that is no longer provided stays trusted until nobody needs it.
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

// SecurityStatus is what the operator has seen of spec.security last.
type SecurityStatus struct {
	SecurityMode `json:",inline"`
	// former is what spec.security said before, the latest first: nodes may still connect that way.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=3
	Former []FormerSecurity `json:"former,omitempty"`
}

// FormerSecurity is what spec.security said before.
type FormerSecurity struct {
	SecurityMode `json:",inline"`
	// until when nodes that have not moved are let in that way.
	// +required
	Until metav1.Time `json:"until"`
}

// ActiveMaster is the master pod that is active for a ClusterMaster.
type ActiveMaster struct {
	// pod that is active. Empty while none is.
	// +required
	Pod string `json:"pod"`
	// epoch grows by one whenever a master process becomes active. Writes of an older epoch are refused.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	Epoch int64 `json:"epoch"`
	// since when it is active.
	// +required
	Since metav1.Time `json:"since"`
	// certificate that it serves to new connections: a fingerprint. Empty if it has loaded none.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Certificate string `json:"certificate,omitempty"`
	// authorities of the trust bundle that it has loaded: fingerprints, sorted, at most 64. A node's certificate must be
	// signed by one of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	Authorities []string `json:"authorities,omitempty"`
	// sharedGeneration is the generation of Secret <master>-shared that it has loaded. 0 if it has none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	SharedGeneration int64 `json:"sharedGeneration,omitempty"`
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

// ClusterMaster is a server of the Cluster Protocol, at which the nodes of Refineries authenticate.
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

	// spec is the desired state.
	// +optional
	// +kubebuilder:default={}
	Spec ClusterMasterSpec `json:"spec,omitzero"`
	// status is the observed state.
	// +optional
	// +kubebuilder:default={}
	Status ClusterMasterStatus `json:"status,omitzero"`
}

// ClusterMasterList is a list of ClusterMasters.
// +kubebuilder:object:root=true
type ClusterMasterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterMaster `json:"items"`
}
