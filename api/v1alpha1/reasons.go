package v1alpha1

// The comments of this file are documentation, as those of conditions.go are. "To do:" begins what a person does about a
// reason.

// Reasons of condition Ready. Where a person has to act, condition Stalled has the same reason.
const (
	// ReasonReady: everything is as wanted.
	ReasonReady = "Ready"
	// ReasonProgressing: the object is on its way, and nothing is wrong. To do: wait.
	ReasonProgressing = "Progressing"
	// ReasonPaused: spec.paused is set, and nothing is changed. To do: unset it to resume.
	ReasonPaused = "Paused"
	// ReasonMasterNotFound: spec.masterRef names a ClusterMaster that does not exist. To do: create it; reconciliation then
	// resumes.
	ReasonMasterNotFound = "MasterNotFound"
	// ReasonNoActiveMaster: no master pod holds the Lease. To do: look at the master's pods.
	ReasonNoActiveMaster = "NoActiveMaster"
	// ReasonNotAuthenticated: not every wanted node is authenticated. To do: see condition Authenticated.
	ReasonNotAuthenticated = "NotAuthenticated"
	// ReasonCertificateNotReady: the certificate is missing or not valid. To do: see condition CertificateReady.
	ReasonCertificateNotReady = "CertificateNotReady"
	// ReasonNameConflict: an object of a name that the operator needs belongs to someone else, or pods of a Refinery use the
	// name of one that would hold a key. It is not changed. To do:
	// delete or rename one of the two; the operator looks again every half minute. Of a ClusterMaster and a Refinery of one
	// name in a namespace, the one that was created first has the name, and the other waits.
	ReasonNameConflict = "NameConflict"
	// ReasonAuthorityUnproven: the Secret of the certificate authority has lost its owner, as after a restore, and nothing proves
	// that the operator made what it holds. It is neither used nor changed. To do: keep it with the annotation that the message
	// shows, or delete the Secret to have a new authority.
	ReasonAuthorityUnproven = "AuthorityUnproven"
	// ReasonContested: someone else keeps overwriting an object of the operator. The message names who; the object is left as it
	// is. To do: have them leave it alone; the operator tries again every five minutes.
	ReasonContested = "Contested"
	// ReasonInvalidTemplate: spec.template is not a valid pod template, or uses what belongs to the operator. To do: correct
	// it as the message says.
	ReasonInvalidTemplate = "InvalidTemplate"
	// ReasonInvalidVersions: spec.protocol.acceptedVersions is not a valid semver constraint. To do: correct it.
	ReasonInvalidVersions = "InvalidVersions"
	// ReasonInvalidReference: the spec names a Secret that belongs to a ClusterMaster or to another Refinery, or that pods of
	// a Refinery read which must not have its key. To do: name another one.
	ReasonInvalidReference = "InvalidReference"
	// ReasonRejected: the API server refused an object. The message quotes it. To do: correct the spec, the quota or the
	// policy that it names; the operator tries again after seconds at first, at least once a minute.
	ReasonRejected = "Rejected"
	// ReasonProgressDeadlineExceeded: pods did not become available within the progress deadline of the Deployment, in a rollout or
	// since. The message says what keeps one of them. To do: correct that; the operator notices by itself.
	ReasonProgressDeadlineExceeded = "ProgressDeadlineExceeded"
	// ReasonTooManyRevoked: status.revoked is full. What is revoked stays refused, and no other certificate is listed until
	// there is room again. To do: wait until one of them expires, or take back a revocation with the annotation
	// cluster.refinery.dev/readmit.
	ReasonTooManyRevoked = "TooManyRevoked"
	// ReasonError: something failed. The operator tries again, with backoff. To do: if it stays, see the message and the
	// operator's log.
	ReasonError = "Error"
)

// Reasons of condition Available. They are the PODS column. Where pods do not start, the message names container and pod.
const (
	// ReasonAvailable: enough pods are available.
	ReasonAvailable = "Available"
	// ReasonUnavailable: too few pods are available. To do: wait; if it stays, look at the pods.
	ReasonUnavailable = "Unavailable"
	// ReasonPodsRefused: the API server refuses pods, because of a quota or a policy. The message quotes it. To do: change the quota
	// or the policy, or the spec; the operator has them created again at least once a minute.
	ReasonPodsRefused = "PodsRefused"
	// ReasonImageNotPulled: an image cannot be pulled. To do: correct its name, or give the pods the pull secret that it needs.
	ReasonImageNotPulled = "ImagePullBackOff"
	// ReasonContainerNotCreated: a container cannot be created, because a Secret or ConfigMap, a key in it, or a volume is missing, for
	// example. To do: create it, or correct the spec.
	ReasonContainerNotCreated = "ContainerNotCreated"
	// ReasonCrashLoop: a container ends again and again. It counts as unavailable until it has run for twice as long as before. To
	// do: look at its log.
	ReasonCrashLoop = "CrashLoopBackOff"
	// ReasonUnschedulable: no node of the cluster takes a pod. The message quotes the scheduler. To do: correct what the pods ask for, or
	// add a node.
	ReasonUnschedulable = "Unschedulable"
	// ReasonContainersNotReady: a container runs, and its readiness or startup probe does not succeed. To do: see condition
	// Authenticated if it is the container of the node, otherwise look at its log.
	ReasonContainersNotReady = "ContainersNotReady"
	// ReasonExternal: spec.placement is External, so the operator runs no pods for this Refinery.
	ReasonExternal = "External"
)

// Reasons of condition CertificateReady. A node whose certificate the master refuses has these reasons too.
const (
	// ReasonIssued: the certificate was issued by the operator or, with certificates.issuerRef, by cert-manager.
	ReasonIssued = "Issued"
	// ReasonProvided: the certificate was provided by a user, and is valid.
	ReasonProvided = "Provided"
	// ReasonNotRequired: spec.security needs no certificate here.
	ReasonNotRequired = "NotRequired"
	// ReasonNotIssued: the operator has not issued the certificate yet, and creates its Secret itself. To do: wait; if it stays, see
	// condition Ready.
	ReasonNotIssued = "NotIssued"
	// ReasonSecretNotFound: the Secret that the spec names does not exist. To do: create it.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretKeyMissing: the Secret lacks a key that is needed, such as tls.crt. To do: add it.
	ReasonSecretKeyMissing = "SecretKeyMissing"
	// ReasonTooLarge: a value of the Secret is over the bound and was not parsed, or the chain is longer than a master
	// accepts. To do: leave out what is not needed.
	ReasonTooLarge = "TooLarge"
	// ReasonTooShort: the shared certificate is so short that it can be guessed. To do: put in a longer one.
	ReasonTooShort = "TooShort"
	// ReasonNotPEM: a value of the Secret is not valid PEM text of the right kind; the message says where. To do: correct it.
	ReasonNotPEM = "NotPEM"
	// ReasonKeyMismatch: private key and certificate do not belong together. To do: put in the key of the certificate.
	ReasonKeyMismatch = "KeyMismatch"
	// ReasonWrongAuthority: the certificate is not signed by an authority that the master trusts. To do: have it signed by
	// one of these.
	ReasonWrongAuthority = "WrongAuthority"
	// ReasonWrongIdentity: the certificate does not have exactly the one URI SAN that names the Refinery. To do: have it
	// issued with that.
	ReasonWrongIdentity = "WrongIdentity"
	// ReasonWrongUsage: the certificate is not for TLS client (or server) authentication, or is an authority's where a
	// node's is needed, or the reverse. To do: have it issued for the right usage.
	ReasonWrongUsage = "WrongUsage"
	// ReasonUnsupportedKey: a key of the chain is too weak, costly to verify, or of a kind that TLS 1.3 does not support. To
	// do: use ECDSA P-256, for example.
	ReasonUnsupportedKey = "UnsupportedKey"
	// ReasonNotYetValid: the certificate's validity has not begun. To do: wait, or correct the clock of whoever issued it.
	ReasonNotYetValid = "NotYetValid"
	// ReasonExpired: the certificate, an intermediate or the authority has expired. To do: replace it.
	ReasonExpired = "Expired"
	// ReasonRevoked: the certificate was revoked: the Secret that it was listed from was deleted. To do: use another
	// certificate, or take back the revocation with the annotation cluster.refinery.dev/readmit.
	ReasonRevoked = "Revoked"
	// ReasonAuthorityNotReady: the authority is missing or not valid. To do: see the ClusterMaster.
	ReasonAuthorityNotReady = "AuthorityNotReady"
	// ReasonAuthorityWithoutKey: the authority was provided without its key, so the operator cannot issue. To do: provide
	// the certificate too.
	ReasonAuthorityWithoutKey = "AuthorityWithoutKey"
	// ReasonAuthorityConstrained: a constraint of the provided authority (permitted or excluded names, extended key usage,
	// path length) forbids the certificate; the message names it. What was issued before stays in use, and the operator
	// tries again when the authority changes. To do: provide an authority that may sign it.
	ReasonAuthorityConstrained = "AuthorityConstrained"
	// ReasonIssuerNotInstalled: certificates.issuerRef is set, and the cluster has no cert-manager. To do: install it;
	// reconciliation then resumes.
	ReasonIssuerNotInstalled = "IssuerNotInstalled"
	// ReasonIssuerNotAllowed: certificates.issuerRef names an issuer of cert-manager that the operator is not set up to use. What
	// was issued before stays in use. To do: name another one, or have whoever installed the operator allow it.
	ReasonIssuerNotAllowed = "IssuerNotAllowed"
	// ReasonIssuerNotReady: the issuer of cert-manager has not issued the certificate yet. The message quotes cert-manager.
	// To do: look at the issuer.
	ReasonIssuerNotReady = "IssuerNotReady"
)

// Reasons of condition CertificateInSync.
const (
	// ReasonInSync: every authenticated node presents the Current certificate.
	ReasonInSync = "InSync"
	// ReasonOutdatedCertificate: some authenticated nodes still present another certificate. The message names them. To do:
	// wait two minutes, then look at the kubelets of these pods, or copy the Secret to External nodes.
	ReasonOutdatedCertificate = "OutdatedCertificate"
)

// Reasons of condition UpgradePending.
const (
	// ReasonAwaitsOwner: spec.upgradePolicy is Manual, so that running pods stay as they are. To do: when it suits the workload, let
	// the upgrade go with the command in the message. Any change of the Refinery that its pods need lets it go too.
	ReasonAwaitsOwner = "AwaitsOwner"
	// ReasonAwaitsMaster: masters are upgraded before nodes, and the pods of the ClusterMaster are not there yet. To do: wait, or
	// look at the ClusterMaster.
	ReasonAwaitsMaster = "AwaitsMaster"
	// ReasonAwaitsWindow: it is not one of the times of spec.upgradeWindows of the ClusterMaster. To do: wait until the time in the
	// message, or let the upgrade go by the annotation cluster.refinery.dev/upgrade.
	ReasonAwaitsWindow = "AwaitsWindow"
	// ReasonAwaitsOthers: the pods of as many Refineries are being replaced as spec.maxConcurrentUpgrades of the ClusterMaster
	// allows. To do: wait.
	ReasonAwaitsOthers = "AwaitsOthers"
	// ReasonUpgradeStopped: the pods of another Refinery were replaced and did not come back, so that no other upgrade begins. To do:
	// look at the Refinery that the message names.
	ReasonUpgradeStopped = "UpgradeStopped"
)

// Reasons of condition CertificateExpiring.
const (
	// ReasonExpiring: a certificate ends soon. To do: replace it, or remove what prevents its renewal; the message says
	// which.
	ReasonExpiring = "Expiring"
)

// Reasons of condition CertificateAuthorityRotating. They are its phases.
const (
	// ReasonPreparing: the new authority is added to every trust bundle, and signs nothing yet. To do: wait, unless the
	// message names who it waits for.
	ReasonPreparing = "Preparing"
	// ReasonActivating: certificates are issued by the new authority, and the old one is still trusted. To do: wait, unless
	// the message names who it waits for.
	ReasonActivating = "Activating"
)

// Reasons of condition SecurityChanging.
const (
	// ReasonMoving: nodes move from what spec.security said before to what it says now. To do: wait, and configure External
	// nodes anew; nodes that have not moved in time are refused.
	ReasonMoving = "Moving"
)

// Reasons of condition TransportSecure. Every one but the first is a choice in spec.security, and a warning.
const (
	// ReasonMutualTLS: the default. Each node proves that it holds its own certificate's key.
	ReasonMutualTLS = "MutualTLS"
	// ReasonServerTLS: the master proves its identity; the nodes share one secret. To do: use MutualTLS if the nodes can.
	ReasonServerTLS = "ServerTLS"
	// ReasonSharedCertificate: mutual TLS, but nodes share one secret and are told apart only by the id that they announce.
	// To do: use IssuedCertificate if the nodes can.
	ReasonSharedCertificate = "SharedCertificate"
	// ReasonPlaintext: anyone on the network path can read and change everything. To do: use MutualTLS if the nodes can.
	ReasonPlaintext = "Plaintext"
)

// Reasons of condition Authenticated. They are the AUTH column of kubectl get refineries. While no node is authenticated, the reason is
// what most of them have in common.
const (
	// ReasonAuthenticated: every wanted node is authenticated.
	ReasonAuthenticated = "Authenticated"
	// ReasonPartiallyAuthenticated: some wanted nodes are authenticated. The message describes most of the others, and the worst. To
	// do: kubectl describe lists unhealthy nodes first, in status.nodes.
	ReasonPartiallyAuthenticated = "PartiallyAuthenticated"
	// ReasonDuplicateID: several nodes announce the same id; the message names their addresses. One of them at a time is let in,
	// and another one takes its place at most once in the alive timeout. To do: give each node an id of its own.
	ReasonDuplicateID = "DuplicateID"
	// ReasonConnecting: no node has connected that proved to be of this Refinery. To do: see condition Ready, which says
	// whether pods could not be created; then look at the pods, or start the External nodes. Without issued certificates a
	// refused node proves nothing: see the master's log.
	ReasonConnecting = "Connecting"
	// ReasonVersionMismatch: the announced version or type is not accepted. The message of the node names both. To do:
	// upgrade the nodes, or widen spec.protocol.acceptedVersions (or acceptedTypes) of the ClusterMaster. No restart is
	// needed.
	ReasonVersionMismatch = "VersionMismatch"
	// ReasonDenied: the nodes are refused because of their certificate, or of the upstream that spec.upstream pins. To do:
	// see the reason and message of the nodes.
	ReasonDenied = "Denied"
	// ReasonLost: the nodes fell silent, or their connections broke. To do: look at the nodes, and at the network between
	// them and the master.
	ReasonLost = "Lost"
	// ReasonSuspended: spec.access is Suspended. To do: set it to Allowed to let the nodes in.
	ReasonSuspended = "Suspended"
	// ReasonMasterUnavailable: no master is active. The operator reports this, because no master can, and lists no nodes. To
	// do: look at the ClusterMaster.
	ReasonMasterUnavailable = "MasterUnavailable"
)

// Reasons of a node. They are in status.nodes. A node may also have a reason of condition Authenticated and, where its
// certificate was refused, one of condition CertificateReady. Of a single node, Denied means that the message says why: it presented no
// certificate or no TLS, or its Refinery was deleted. Lost means that it did not return after another master became active.
const (
	// ReasonTypeNotAccepted: spec.protocol.acceptedTypes of the ClusterMaster does not list the announced type. To do: add
	// it there, or correct spec.type.
	ReasonTypeNotAccepted = "TypeNotAccepted"
	// ReasonCertificateNotListed: status.certificates does not list the fingerprint, or no longer: the certificate was
	// replaced or revoked. To do: give the node the current files.
	ReasonCertificateNotListed = "CertificateNotListed"
	// ReasonCertificateMismatch: auth:start carried another certificate than the TLS session. To do: correct the node.
	ReasonCertificateMismatch = "CertificateMismatch"
	// ReasonSharedCertificateMismatch: auth:start carried another certificate than the shared one. To do: give the node
	// the shared certificate.
	ReasonSharedCertificateMismatch = "SharedCertificateMismatch"
	// ReasonIDMismatch: the announced id is, or begins with, the name of another Refinery than the one that the certificate
	// proves; or, with SharedCertificate, no Refinery has the id. To do: announce <refinery>/<node>, or any unique id.
	ReasonIDMismatch = "IDMismatch"
	// ReasonBanned: spec.banned of the Refinery names the node's id or certificate; the message has the reason that it gives. To
	// do: remove the ban to let the node in.
	ReasonBanned = "Banned"
	// ReasonTooManySessions: spec.protocol.maxSessions of the ClusterMaster is reached, or the Refinery has more than twice
	// its wanted nodes and sixteen sessions. To do: raise maxSessions, or stop the nodes that are too many.
	ReasonTooManySessions = "TooManySessions"
	// ReasonReplaced: a newer session of the same id took its place. To do: nothing, or, if two nodes take turns, give each
	// an id of its own.
	ReasonReplaced = "Replaced"
	// ReasonClosedByNode: the node sent conn:close.
	ReasonClosedByNode = "ClosedByNode"
	// ReasonConnectionBroken: the connection ended without conn:close. To do: look at the node and at the network.
	ReasonConnectionBroken = "ConnectionBroken"
	// ReasonSilent: nothing came from the node within the alive timeout. To do: look at the node and at the network.
	ReasonSilent = "Silent"
	// ReasonSecurityChanged: the node connected as spec.security of the ClusterMaster said before, and that is over: the time
	// for moving has ended, or all nodes of its Refinery had moved. To do: connect as spec.security says.
	ReasonSecurityChanged = "SecurityChanged"
	// ReasonUnknownUpstream: spec.upstream pins an upstream that the ClusterMaster does not have, or no upstream takes the
	// node's type. To do: correct spec.upstream, or add the upstream.
	ReasonUnknownUpstream = "UnknownUpstream"
)

// Reasons of an upstream that is not ready. They are in status.upstreams of a ClusterMaster.
const (
	// ReasonServiceNotFound: the Service of the upstream does not exist, or does not have the port. To do: create it, or correct
	// spec.upstreams.
	ReasonServiceNotFound = "ServiceNotFound"
	// ReasonNoReadyEndpoint: the Service of the upstream has no ready endpoint for the port. To do: look at the pods that it selects.
	ReasonNoReadyEndpoint = "NoReadyEndpoint"
	// ReasonEndpointsUnknown: the master has not read the endpoints of the upstream's Service yet. To do: if it stays, see the log of the
	// master.
	ReasonEndpointsUnknown = "EndpointsUnknown"
	// ReasonReturning: the upstream was not ready a short while ago. It takes nodes when it has been ready for ten seconds, and sooner if no
	// other one is ready.
	ReasonReturning = "Returning"
	// ReasonWeightZero: the weight of the upstream is 0, so that only nodes which spec.upstream pins are placed on it.
	ReasonWeightZero = "WeightZero"
)
