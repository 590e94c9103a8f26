package v1alpha1

// Condition types. Every one of them is positive (True is good) except Stalled, CertificateExpiring and
// CertificateAuthorityRotating.
const (
	// ConditionReady is True when the object does its whole job: for a ClusterMaster, an active master
	// with its certificate; for a Refinery, every wanted node authenticated. Both kinds.
	ConditionReady = "Ready"
	// ConditionAvailable is True when enough pods are available. Both kinds.
	ConditionAvailable = "Available"
	// ConditionCertificateReady is True when the certificate in use is there and good. Both kinds.
	ConditionCertificateReady = "CertificateReady"
	// ConditionCertificateInSync is True while every authenticated node presents the Current certificate of
	// status.certificates, by what the master saw on the wire. Absent without certificates of the nodes' own. Refinery.
	ConditionCertificateInSync = "CertificateInSync"
	// ConditionCertificateExpiring is negative and present only while True: a certificate ends soon that a person has
	// to replace, or that should have been renewed and was not. Both kinds.
	ConditionCertificateExpiring = "CertificateExpiring"
	// ConditionTransportSecure is True with mutual TLS and issued certificates, the default. ClusterMaster.
	ConditionTransportSecure = "TransportSecure"
	// ConditionAuthenticated is True when every wanted node has an authenticated session. Refinery.
	// Its reason is the AUTH column of kubectl get refineries.
	ConditionAuthenticated = "Authenticated"
	// ConditionCertificateAuthorityRotating is present only while True: the authority that the operator made is
	// being replaced. Its reason is the phase, its message how many nodes have followed, and who has not. ClusterMaster.
	ConditionCertificateAuthorityRotating = "CertificateAuthorityRotating"
	// ConditionStalled is negative and present only while True: nothing gets better until a person changes
	// something. Both kinds.
	ConditionStalled = "Stalled"
)

// Reasons of ConditionReady, and of ConditionStalled where a person has to act.
const (
	// ReasonReady: all is as wanted.
	ReasonReady = "Ready"
	// ReasonProgressing: on the way, nothing is wrong.
	ReasonProgressing = "Progressing"
	// ReasonPaused: spec.paused is set; nothing is changed.
	ReasonPaused = "Paused"
	// ReasonMasterNotFound: spec.masterRef names a ClusterMaster that does not exist. Goes on when it does.
	ReasonMasterNotFound = "MasterNotFound"
	// ReasonNoActiveMaster: no master pod holds the Lease.
	ReasonNoActiveMaster = "NoActiveMaster"
	// ReasonNotAuthenticated: not every wanted node is authenticated; condition Authenticated says why.
	ReasonNotAuthenticated = "NotAuthenticated"
	// ReasonCertificateNotReady: condition CertificateReady says why.
	ReasonCertificateNotReady = "CertificateNotReady"
	// ReasonNameConflict: an object of a name that is needed belongs to someone else. It is not touched.
	ReasonNameConflict = "NameConflict"
	// ReasonInvalidTemplate: spec.template is no pod template, or takes what the operator needs.
	ReasonInvalidTemplate = "InvalidTemplate"
	// ReasonInvalidVersions: spec.protocol.acceptedVersions is no semver constraint.
	ReasonInvalidVersions = "InvalidVersions"
	// ReasonInvalidReference: the spec names a Secret that is not for those who would read it.
	ReasonInvalidReference = "InvalidReference"
	// ReasonRejected: the API server refused an object; the message carries its words.
	ReasonRejected = "Rejected"
	// ReasonError: something failed that is tried again.
	ReasonError = "Error"
)

// Reasons of ConditionAvailable.
const (
	// ReasonAvailable: enough pods are available: of a ClusterMaster one, of a Refinery as many as wanted.
	ReasonAvailable = "Available"
	// ReasonUnavailable: too few pods are available.
	ReasonUnavailable = "Unavailable"
	// ReasonExternal: placement External, the pods are not ours.
	ReasonExternal = "External"
)

// Reasons of ConditionCertificateReady.
const (
	// ReasonIssued: issued by the operator, or, with certificates.issuerRef, by cert-manager.
	ReasonIssued = "Issued"
	// ReasonProvided: brought by the user, and good.
	ReasonProvided = "Provided"
	// ReasonNotRequired: this security setting needs no certificate.
	ReasonNotRequired = "NotRequired"
	// ReasonSecretNotFound: the named Secret does not exist.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretKeyMissing: the Secret lacks a key that is needed.
	ReasonSecretKeyMissing = "SecretKeyMissing"
	// ReasonTooLarge: a value of the Secret is over the bound and was not parsed, or the chain is longer than a master
	// looks at.
	ReasonTooLarge = "TooLarge"
	// ReasonNotPEM: a value of the Secret is no PEM of the right kind.
	ReasonNotPEM = "NotPEM"
	// ReasonKeyMismatch: private key and certificate do not belong together.
	ReasonKeyMismatch = "KeyMismatch"
	// ReasonWrongAuthority: signed by another certificate authority than the master trusts.
	ReasonWrongAuthority = "WrongAuthority"
	// ReasonWrongIdentity: not exactly the one URI SAN that names the Refinery.
	ReasonWrongIdentity = "WrongIdentity"
	// ReasonWrongUsage: not usable for TLS client (or server) authentication, or no authority where one is needed.
	ReasonWrongUsage = "WrongUsage"
	// ReasonUnsupportedKey: its key, or that of a certificate above it, is too weak, or of a kind that TLS 1.3 does not
	// take, or dear to verify.
	ReasonUnsupportedKey = "UnsupportedKey"
	// ReasonNotYetValid: its validity has not begun.
	ReasonNotYetValid = "NotYetValid"
	// ReasonExpired: its validity is over.
	ReasonExpired = "Expired"
	// ReasonAuthorityNotReady: the certificate authority is missing or no good.
	ReasonAuthorityNotReady = "AuthorityNotReady"
	// ReasonAuthorityWithoutKey: the certificate authority came without its key; certificates must be brought.
	ReasonAuthorityWithoutKey = "AuthorityWithoutKey"
	// ReasonAuthorityConstrained: a constraint of the certificate authority (names, extended key usage, path length)
	// forbids the certificate.
	ReasonAuthorityConstrained = "AuthorityConstrained"
	// ReasonIssuerNotInstalled: certificates.issuerRef is set and the cluster has no cert-manager. Goes on when it has.
	ReasonIssuerNotInstalled = "IssuerNotInstalled"
	// ReasonIssuerNotReady: cert-manager has not issued the certificate yet; the message carries its words.
	ReasonIssuerNotReady = "IssuerNotReady"
)

// Reasons of ConditionCertificateInSync.
const (
	// ReasonInSync: every authenticated node presents the Current certificate.
	ReasonInSync = "InSync"
	// ReasonOutdatedCertificate: some authenticated nodes still present another one.
	ReasonOutdatedCertificate = "OutdatedCertificate"
)

// ReasonExpiring is the one reason of ConditionCertificateExpiring.
const ReasonExpiring = "Expiring"

// Reasons of ConditionCertificateAuthorityRotating: the phases.
const (
	// ReasonPreparing: the new authority goes into every trust bundle, and signs nothing yet.
	ReasonPreparing = "Preparing"
	// ReasonActivating: certificates are issued from the new authority, and the one before is still trusted.
	ReasonActivating = "Activating"
)

// Reasons of ConditionTransportSecure.
const (
	// ReasonMutualTLS: the default, each node proves its own certificate's key.
	ReasonMutualTLS = "MutualTLS"
	// ReasonServerTLS: the master is proven, the nodes share one secret.
	ReasonServerTLS = "ServerTLS"
	// ReasonSharedCertificate: mutual TLS, and yet the nodes are told apart by what they say.
	ReasonSharedCertificate = "SharedCertificate"
	// ReasonPlaintext: anyone on the way can read and change everything.
	ReasonPlaintext = "Plaintext"
)

// Reasons of ConditionAuthenticated: the AUTH column.
const (
	// ReasonAuthenticated: every wanted node is authenticated.
	ReasonAuthenticated = "Authenticated"
	// ReasonPartiallyAuthenticated: some wanted nodes are, some are not.
	ReasonPartiallyAuthenticated = "PartiallyAuthenticated"
	// ReasonConnecting: no wanted node is authenticated yet, none was refused.
	ReasonConnecting = "Connecting"
	// ReasonVersionMismatch: the version or type of the nodes is not accepted.
	ReasonVersionMismatch = "VersionMismatch"
	// ReasonDenied: the certificates of the nodes are not accepted.
	ReasonDenied = "Denied"
	// ReasonLost: the nodes fell silent.
	ReasonLost = "Lost"
	// ReasonSuspended: spec.access is Suspended.
	ReasonSuspended = "Suspended"
	// ReasonMasterUnavailable: no active master. Written by the operator, since no master can.
	ReasonMasterUnavailable = "MasterUnavailable"
)

// Reasons of NodeStatus beside those of ConditionAuthenticated: which check refused a node.
const (
	// ReasonTypeNotAccepted: spec.protocol.acceptedTypes does not list the announced type.
	ReasonTypeNotAccepted = "TypeNotAccepted"
	// ReasonCertificateNotListed: the fingerprint is not, or no longer, in status.certificates.
	ReasonCertificateNotListed = "CertificateNotListed"
	// ReasonCertificateMismatch: auth:start carried another certificate than the TLS session.
	ReasonCertificateMismatch = "CertificateMismatch"
	// ReasonSharedCertificateMismatch: auth:start carried another certificate than the shared one.
	ReasonSharedCertificateMismatch = "SharedCertificateMismatch"
	// ReasonIDMismatch: the announced id does not begin with the name the certificate proves.
	ReasonIDMismatch = "IDMismatch"
	// ReasonTooManySessions: spec.protocol.maxSessions is reached.
	ReasonTooManySessions = "TooManySessions"
	// ReasonReplaced: a newer session of the same id took its place.
	ReasonReplaced = "Replaced"
	// ReasonClosedByNode: the node said conn:close.
	ReasonClosedByNode = "ClosedByNode"
	// ReasonConnectionBroken: the connection ended without conn:close.
	ReasonConnectionBroken = "ConnectionBroken"
	// ReasonSilent: nothing came from the node within the alive timeout.
	ReasonSilent = "Silent"
	// ReasonUnknownUpstream: spec.upstream pins an upstream that the master does not have.
	ReasonUnknownUpstream = "UnknownUpstream"
)
