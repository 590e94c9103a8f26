package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Placement says who runs the nodes of a Refinery.
// +kubebuilder:validation:Enum=InCluster;External
type Placement string

const (
	// PlacementInCluster lets the operator run the nodes as pods.
	PlacementInCluster Placement = "InCluster"
	// PlacementExternal leaves running the nodes to someone else. The operator creates only their Secret.
	PlacementExternal Placement = "External"
)

// Access says whether the nodes of a Refinery may be let in.
// +kubebuilder:validation:Enum=Allowed;Suspended
type Access string

const (
	// AccessAllowed lets in nodes that authenticate.
	AccessAllowed Access = "Allowed"
	// AccessSuspended closes every session and refuses new ones.
	AccessSuspended Access = "Suspended"
)

// UpgradePolicy says who lets pods be replaced because of a change that the owner of a Refinery did not ask for.
// +kubebuilder:validation:Enum=Manual;Automatic
type UpgradePolicy string

const (
	// UpgradeManual leaves running pods as they are until their owner lets the upgrade go, or changes the Refinery.
	UpgradeManual UpgradePolicy = "Manual"
	// UpgradeAutomatic replaces pods once the masters are upgraded, those of a few Refineries at a time.
	UpgradeAutomatic UpgradePolicy = "Automatic"
)

// RefinerySpec is the desired state of a group of nodes.
// +kubebuilder:validation:XValidation:rule="!has(self.ports) || self.ports.all(p, p.containerPort != (has(self.agent) && has(self.agent.httpPort) ? self.agent.httpPort : 8081) && p.containerPort != (has(self.agent) && has(self.agent.healthPort) ? self.agent.healthPort : 8082))",message="a containerPort is the agent's: agent.httpPort (default 8081) or agent.healthPort (default 8082); choose another port for one of the two"
// +kubebuilder:validation:XValidation:rule="!has(self.ports) || !has(self.agent) || !has(self.agent.relay) || self.ports.all(p, p.containerPort != self.agent.relay.port)",message="a containerPort is the agent's: agent.relay.port; choose another port for one of the two"
// +kubebuilder:validation:XValidation:rule="!has(self.ports) || !has(oldSelf.ports) || (has(self.service) && has(self.service.headless) && self.service.headless) == (has(oldSelf.service) && has(oldSelf.service.headless) && oldSelf.service.headless)",message="service.headless cannot be changed while there is a Service; remove ports, and then set both again"
// +kubebuilder:validation:XValidation:rule="self.placement != 'External' || !has(self.template)",message="template describes pods, and placement External makes none; remove template, or set placement: InCluster"
// +kubebuilder:validation:XValidation:rule="self.placement != 'External' || !(has(self.imagePullSecrets) || has(self.podDisruptionBudget) || has(self.strategy) || has(self.minReadySeconds) || has(self.progressDeadlineSeconds) || has(self.agent) || has(self.service) || has(self.statefulSet))",message="imagePullSecrets, podDisruptionBudget, strategy, minReadySeconds, progressDeadlineSeconds, agent, service and statefulSet are for pods, and placement External makes none; remove them, or set placement: InCluster"
// +kubebuilder:validation:XValidation:rule="!has(self.minReadySeconds) || self.minReadySeconds < (has(self.progressDeadlineSeconds) ? self.progressDeadlineSeconds : 600)",message="progressDeadlineSeconds (600 by default) must be longer than minReadySeconds, or every rollout would count as failed; raise the one or lower the other"
// +kubebuilder:validation:XValidation:rule="self.placement != 'External' || !has(self.ports)",message="ports describe a Service over pods, and placement External makes none; remove ports, or set placement: InCluster"
// +kubebuilder:validation:XValidation:rule="has(self.statefulSet) == has(oldSelf.statefulSet) || self.placement == 'External' || oldSelf.placement == 'External'",message="statefulSet cannot be added or removed while there are pods: none would run meanwhile; make a new Refinery instead"
// +kubebuilder:validation:XValidation:rule="!has(self.statefulSet) || !has(oldSelf.statefulSet) || has(self.statefulSet.volumeClaimTemplates) == has(oldSelf.statefulSet.volumeClaimTemplates)",message="statefulSet.volumeClaimTemplates cannot be added or removed: Kubernetes keeps those that a StatefulSet was created with; make a new Refinery instead"
// +kubebuilder:validation:XValidation:rule="!has(self.statefulSet) || !has(self.strategy) || !has(self.strategy.maxUnavailable) || !(string(self.strategy.maxUnavailable) in ['0', '0%'])",message="strategy.maxUnavailable must not be 0 with statefulSet, which replaces each pod in its place; remove it, or raise it"
// +kubebuilder:validation:XValidation:rule="!has(self.statefulSet) || !has(self.strategy) || !has(self.strategy.maxSurge)",message="strategy.maxSurge has no meaning with statefulSet, which replaces each pod in its place; remove maxSurge"
type RefinerySpec struct {
	// masterRef names the ClusterMaster, in this namespace, at which the nodes authenticate. It cannot be changed.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="masterRef cannot be changed: a node's certificate names its master; make a new Refinery instead"
	MasterRef LocalReference `json:"masterRef"`
	// replicas is the number of nodes.
	// +optional
	// +default=1
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Replicas *int32 `json:"replicas,omitempty"`
	// readinessGraceSeconds is how long the pod of a node that has lost its session stays ready, while the node's upstream takes
	// connections, its certificate is valid and the master has not denied it. 0: not at all. Default: the alive timeout of the
	// ClusterMaster, at most 60.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=600
	ReadinessGraceSeconds *int32 `json:"readinessGraceSeconds,omitempty"`
	// placement is InCluster, where the operator runs the nodes as pods, or External, where it only creates their Secret.
	// +optional
	// +kubebuilder:default=InCluster
	Placement Placement `json:"placement,omitempty"`
	// type that the nodes announce.
	// +optional
	// +kubebuilder:default=refinery
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",message="must be letters, digits, '-', '_' and '.', for example 'refinery'"
	Type string `json:"type,omitempty"`
	// version that the nodes announce, as a semantic version. Default: the agent's own.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^v?[0-9]+[.][0-9]+[.][0-9]+(-[0-9A-Za-z.-]+)?([+][0-9A-Za-z.-]+)?$')",message="must be a semantic version such as '0.1.0', or empty for the agent's own"
	Version string `json:"version,omitempty"`
	// nodes selects further nodes as this Refinery's, by what they announce. It counts where nodes authenticate with
	// SharedCertificate; a node with a certificate of its own is of the Refinery that the certificate names. Nodes whose id is
	// the Refinery's name, or begins with it and '/', are always this Refinery's.
	// +optional
	Nodes *NodeSelection `json:"nodes,omitempty"`
	// banned nodes are denied, and their sessions are closed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Banned []NodeBan `json:"banned,omitempty"`
	// access is Allowed or Suspended. Suspended closes all sessions and refuses new ones.
	// +optional
	// +kubebuilder:default=Allowed
	Access Access `json:"access,omitempty"`
	// certificateSecretRef names a Secret of type kubernetes.io/tls with a provided certificate. The operator never writes
	// to it. Default: <name>-tls, issued by the operator.
	// +optional
	CertificateSecretRef *LocalReference `json:"certificateSecretRef,omitempty"`
	// upstream pins the nodes to one of the master's upstreams by name. Default: the master chooses.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Upstream string `json:"upstream,omitempty"`
	// ports of the workload. If there are any, the operator creates a Service with the name of the Refinery.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.all(p, self.exists_one(q, (has(q.port) ? q.port : q.containerPort) == (has(p.port) ? p.port : p.containerPort) && (has(q.protocol) ? q.protocol : 'TCP') == (has(p.protocol) ? p.protocol : 'TCP')))",message="two ports have the same number and protocol; set port of one to another number, or remove it"
	Ports []Port `json:"ports,omitempty"`
	// imagePullSecrets name Secrets of this namespace with which the images of the pods are pulled, beside those that the operator
	// is configured with. Default: none.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []LocalReference `json:"imagePullSecrets,omitempty"`
	// podDisruptionBudget configures the PodDisruptionBudget over the pods.
	// +optional
	PodDisruptionBudget DisruptionBudget `json:"podDisruptionBudget,omitzero"`
	// How pods are replaced when they change.
	Rollout `json:",inline"`
	// statefulSet has the pods run by a StatefulSet instead of a Deployment: the names of the pods, and so the ids of the nodes,
	// stay when pods are replaced, and each pod can have volumes of its own. It cannot be added or removed while there are pods.
	// +optional
	StatefulSet *RefineryStatefulSet `json:"statefulSet,omitempty"`
	// service configures the Service over ports.
	// +optional
	Service RefineryService `json:"service,omitzero"`
	// agent configures the agent in the pods.
	// +optional
	Agent AgentSpec `json:"agent,omitzero"`
	// commonMetadata is put on every object that the operator owns for this one.
	// +optional
	CommonMetadata CommonMetadata `json:"commonMetadata,omitzero"`
	// template is a PodTemplateSpec that is merged strategically over the operator's pod. The containers of the workload go
	// here. Without it the agent runs alone.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Template *runtime.RawExtension `json:"template,omitempty"`
	// upgradePolicy is Manual or Automatic. It is about changes of the pods that do not come from this spec: another version of
	// the operator, other images, another port of the master. With Manual running pods stay as they are: status.pendingUpgrade
	// names the revision that waits, and the annotation cluster.refinery.dev/upgrade with that value lets it go. With Automatic
	// pods are replaced once the masters are upgraded, those of few Refineries at a time
	// (spec.maxConcurrentUpgrades of the ClusterMaster). Default: Manual where template has containers, Automatic otherwise.
	// +optional
	UpgradePolicy UpgradePolicy `json:"upgradePolicy,omitempty"`
	// paused stops the operator from changing anything that this Refinery owns. Running nodes continue; their certificate is
	// not renewed.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// RefineryService configures the Service of a Refinery.
// +kubebuilder:validation:XValidation:rule="!has(self.headless) || !self.headless || !has(self.type) || self.type == 'ClusterIP'",message="a headless Service has type ClusterIP; remove headless or type"
type RefineryService struct {
	// type of the Service. Default: ClusterIP.
	// +optional
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	Type corev1.ServiceType `json:"type,omitempty"`
	// headless gives the Service no address of its own: its name leads to the pods. It cannot be changed while there is a Service.
	// +optional
	Headless bool `json:"headless,omitempty"`
	// annotations of the Service, for load balancers and DNS controllers.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// AgentSpec configures the agent in the pods of a Refinery.
// +kubebuilder:validation:XValidation:rule="(has(self.httpPort) ? self.httpPort : 8081) != (has(self.healthPort) ? self.healthPort : 8082)",message="httpPort (default 8081) and healthPort (default 8082) must differ"
// +kubebuilder:validation:XValidation:rule="!has(self.relay) || (self.relay.port != (has(self.httpPort) ? self.httpPort : 8081) && self.relay.port != (has(self.healthPort) ? self.healthPort : 8082))",message="relay.port must not be httpPort (default 8081) or healthPort (default 8082); choose another port for one of the two"
type AgentSpec struct {
	// httpPort is where the agent tells the workload its upstream, on 127.0.0.1. Default: 8081.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	HTTPPort *int32 `json:"httpPort,omitempty"`
	// healthPort is where the agent serves probes and metrics. Default: 8082.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	HealthPort *int32 `json:"healthPort,omitempty"`
	// relay has the agent listen on a port of 127.0.0.1, and lead what the workload connects to there to the upstream of the node.
	// Default: no relay.
	// +optional
	Relay *AgentRelay `json:"relay,omitempty"`
	// resources of the agent's container. Default: 10m of CPU and 16Mi of memory, which is limited to 64Mi.
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitzero"`
	// logLevel is debug, info, warn or error. Default: info.
	// +optional
	// +kubebuilder:validation:Enum=debug;info;warn;error
	LogLevel string `json:"logLevel,omitempty"`
	// env are further variables of the agent's container.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Env []Variable `json:"env,omitempty"`
}

// AgentRelay configures the relay of an agent: TCP, for workloads that do not read the upstream.
type AgentRelay struct {
	// port on 127.0.0.1.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// drainSeconds is how long a connection stays at the former upstream when the master moves the node. New ones go to the new
	// upstream at once. Default: 300.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	DrainSeconds *int32 `json:"drainSeconds,omitempty"`
	// maxConnections is how many connections there may be at one time. Default: 1024.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65536
	MaxConnections *int32 `json:"maxConnections,omitempty"`
	// idleTimeoutSeconds is after how long a connection ends on which nothing moves. Default: never.
	// +optional
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=86400
	IdleTimeoutSeconds *int32 `json:"idleTimeoutSeconds,omitempty"`
}

// Port is a port of the workload.
type Port struct {
	// name of the port.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be at most 15 lower-case letters, digits and '-', for example 'http'"
	Name string `json:"name"`
	// port of the Service. Default: containerPort.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`
	// containerPort that the workload listens on, to which the Service leads.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	ContainerPort int32 `json:"containerPort"`
	// protocol is TCP or UDP. Default: TCP. The API server does not fill it in: tools that compare lists as a whole would see a
	// difference.
	// +optional
	// +kubebuilder:validation:Enum=TCP;UDP
	Protocol corev1.Protocol `json:"protocol,omitempty"`
}

// NodeState is the state of a node in the Cluster Protocol.
// +kubebuilder:validation:Enum=Establishing;Authenticating;Authenticated;VersionMismatch;Denied;Closed;Lost
type NodeState string

const (
	// NodeEstablishing means that conn:establish was read, and version and type are being checked.
	NodeEstablishing NodeState = "Establishing"
	// NodeAuthenticating means that conn:startAuth was sent, and the certificate is being checked.
	NodeAuthenticating NodeState = "Authenticating"
	// NodeAuthenticated means that both auth:ack were exchanged, and the session is live.
	NodeAuthenticated NodeState = "Authenticated"
	// NodeVersionMismatch means that version or type is not accepted, and conn:close was sent.
	NodeVersionMismatch NodeState = "VersionMismatch"
	// NodeDenied means that auth:dec was sent.
	NodeDenied NodeState = "Denied"
	// NodeClosed means that one side closed the session with conn:close.
	NodeClosed NodeState = "Closed"
	// NodeLost means that the session ended because the node fell silent or its connection broke.
	NodeLost NodeState = "Lost"
)

// NodeStatus is one node as the active master sees it.
type NodeStatus struct {
	// id that the node announced: <refinery>, <refinery>/<node>, or any other. Another Refinery may have a node of the same id.
	// +required
	// +kubebuilder:validation:MaxLength=253
	ID string `json:"id"`
	// state of the node in the Cluster Protocol.
	// +required
	State NodeState `json:"state"`
	// reason for the state, in CamelCase.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// message says what is wrong and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// version that the node announced.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`
	// type that the node announced.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Type string `json:"type,omitempty"`
	// address from which the node connected, without the port.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Address string `json:"address,omitempty"`
	// upstream that the node was told, by name.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Upstream string `json:"upstream,omitempty"`
	// certificate is the fingerprint of the certificate that the node presented.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Certificate string `json:"certificate,omitempty"`
	// status is what the node says about itself, where that is anything but that it is well. Changes of it are shown eight
	// at a time, and then one in ten seconds for all nodes of a Refinery.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Status string `json:"status,omitempty"`
	// lastTransitionTime is when the state last changed.
	// +required
	LastTransitionTime metav1.Time `json:"lastTransitionTime"`
}

// AuthenticatedNodes counts the nodes of a Refinery.
type AuthenticatedNodes struct {
	// nodes with an authenticated session.
	// +required
	Nodes int32 `json:"nodes"`
	// wanted is spec.replicas as the master saw it.
	// +required
	Wanted int32 `json:"wanted"`
	// summary is nodes/wanted, for the NODES column.
	// +required
	Summary string `json:"summary"`
	// upstreams of the authenticated nodes, sorted and joined by commas, for the UPSTREAM column.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Upstreams string `json:"upstreams,omitempty"`
	// versions that the Refinery's nodes announced, refused ones too, sorted and joined by commas, for the VERSION column.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Versions string `json:"versions,omitempty"`
	// certificates that the authenticated nodes presented, and how many nodes presented each: the eight with the most
	// nodes, in descending order. Every node is counted, also those that status.nodes does not list.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Certificates []PresentedCertificate `json:"certificates,omitempty"`
	// security is how the authenticated nodes connected, and how many in each way, while spec.security of the ClusterMaster
	// changes.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=4
	Security []NodesOfMode `json:"security,omitempty"`
}

// NodesOfMode counts the authenticated nodes that connected in one way.
type NodesOfMode struct {
	SecurityMode `json:",inline"`
	// nodes is the number of authenticated nodes.
	// +required
	Nodes int32 `json:"nodes"`
}

// PresentedCertificate is a certificate that authenticated nodes presented to the active master.
type PresentedCertificate struct {
	// fingerprint is the SHA-256 of the certificate's DER form, 64 lower-case hexadecimal digits.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Fingerprint string `json:"fingerprint"`
	// nodes is the number of authenticated nodes that presented it.
	// +required
	Nodes int32 `json:"nodes"`
}

// Reporter is the master process that wrote the status of a Refinery's nodes. Its epoch is a fencing token.
type Reporter struct {
	// pod that reported.
	// +required
	Pod string `json:"pod"`
	// epoch of that master. It only grows: the API server refuses the write of a master whose term is over. The operator sets
	// it to 0 if no master of the ClusterMaster ever had it.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000000
	Epoch int64 `json:"epoch"`
}

// RefineryStatus is the observed state of a group of nodes. The active master writes nodes, authenticated, reporter and
// condition Authenticated, or the operator in its place while none is active; the operator writes everything else.
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.reporter) || (has(self.reporter) && (self.reporter.epoch >= oldSelf.reporter.epoch || self.reporter.epoch == 0))",message="a newer master reports on this Refinery: reporter.epoch only grows"
type RefineryStatus struct {
	// observedGeneration is the generation of the spec that was last looked at, whatever came of it: the conditions say that. It is
	// -1 until then, so that nobody takes a new object for one that is done.
	// +optional
	// +kubebuilder:default=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// reconciledGeneration is the generation of the spec that was last reconciled in full. It stays behind while the object is
	// paused or Stalled.
	// +optional
	ReconciledGeneration int64 `json:"reconciledGeneration,omitempty"`
	// conditions: Ready, Available, CertificateReady, CertificateInSync, Authenticated, and, only while they are True,
	// CertificateExpiring, UpgradePending, Reconciling, Stalled. See docs/conditions.md for when each is True.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// authenticated counts the nodes.
	// +optional
	Authenticated *AuthenticatedNodes `json:"authenticated,omitempty"`
	// reporter is the master that wrote nodes, authenticated and the condition Authenticated.
	// +optional
	Reporter *Reporter `json:"reporter,omitempty"`
	// nodes as the active master sees them: at most 100, unhealthy ones first, then sorted by id. If there are more, those
	// that present an older certificate are listed before the others.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Nodes []NodeStatus `json:"nodes,omitempty"`
	// certificates that the master lets in. A certificate that is not listed is denied, whoever signed it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Certificates []ListedCertificate `json:"certificates,omitempty"`
	// revoked certificates are refused until they expire, whatever Secret of this Refinery holds them: the Secret that each
	// was listed from was deleted. The annotation cluster.refinery.dev/readmit takes back the revocation of the fingerprints that it names.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Revoked []RevokedCertificate `json:"revoked,omitempty"`
	// security is how all nodes of this Refinery have connected since spec.security of the ClusterMaster changed last: they are
	// not let in as before any more.
	// +optional
	Security *SecurityMode `json:"security,omitempty"`
	// pendingUpgrade is the revision of the pods that waits, see spec.upgradePolicy. Condition UpgradePending says for what.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	PendingUpgrade string `json:"pendingUpgrade,omitempty"`
	// replicas is the number of pods or, with placement External, of wanted nodes.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// selector of the pods, for kubectl scale and autoscalers.
	// +optional
	Selector string `json:"selector,omitempty"`
}

// Refinery is a group of nodes that authenticate at a ClusterMaster with a certificate from one Secret.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:path=refineries,singular=refinery,shortName=rfy,categories=refinery-operator,scope=Namespaced
// +kubebuilder:selectablefield:JSONPath=`.spec.masterRef.name`
// +kubebuilder:printcolumn:name="Master",type=string,JSONPath=`.spec.masterRef.name`
// +kubebuilder:printcolumn:name="Auth",type=string,JSONPath=`.status.conditions[?(@.type=="Authenticated")].reason`
// +kubebuilder:printcolumn:name="Nodes",type=string,JSONPath=`.status.authenticated.summary`,description="authenticated/wanted"
// +kubebuilder:printcolumn:name="Pods",type=string,JSONPath=`.status.conditions[?(@.type=="Available")].reason`
// +kubebuilder:printcolumn:name="Upstream",type=string,JSONPath=`.status.authenticated.upstreams`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Version",type=string,priority=1,JSONPath=`.status.authenticated.versions`
// +kubebuilder:printcolumn:name="Expires",type=string,priority=1,JSONPath=`.status.certificates[?(@.use=="Current")].notAfter`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 52 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name becomes part of node ids and the name of a Service: use at most 52 lower-case letters, digits and '-', beginning with a letter"
type Refinery struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the desired state.
	// +required
	Spec RefinerySpec `json:"spec"`
	// status is the observed state.
	// +optional
	// +kubebuilder:default={}
	Status RefineryStatus `json:"status,omitzero"`
}

// RefineryList is a list of Refineries.
// +kubebuilder:object:root=true
type RefineryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Refinery `json:"items"`
}
