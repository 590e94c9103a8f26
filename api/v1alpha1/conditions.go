package v1alpha1

// The comments of this file and of reasons.go are documentation: `make generate` writes them into docs/conditions.md, one
// table for a block and one row for a constant. The comment of a condition type ends with the kinds that have it; the
// operator writes the conditions of these kinds.

// Condition types. True is good, except for Reconciling, Stalled, CertificateExpiring, CertificateAuthorityRotating,
// SecurityChanging and UpgradePending: these are present only while they are True.
const (
	// ConditionReady is True when the object does its whole job: a ClusterMaster has an active master with a valid
	// certificate, and every wanted node of a Refinery is authenticated. Both kinds.
	ConditionReady = "Ready"
	// ConditionAvailable is True when enough pods are available: one of a ClusterMaster, all wanted ones of a Refinery.
	// Both kinds.
	ConditionAvailable = "Available"
	// ConditionCertificateReady is True when the certificate that the spec asks for exists and is valid. While it is False,
	// a certificate that was in use before stays so; the message says which. Both kinds.
	ConditionCertificateReady = "CertificateReady"
	// ConditionCertificateInSync is True when every authenticated node presents the Current certificate of
	// status.certificates. Absent where nodes have no certificates of their own. Refinery.
	ConditionCertificateInSync = "CertificateInSync"
	// ConditionCertificateExpiring is True when a certificate ends soon and was not replaced: either a person has to
	// replace it, or its renewal is late. Both kinds.
	ConditionCertificateExpiring = "CertificateExpiring"
	// ConditionTransportSecure is True with mutual TLS and issued certificates, the default. ClusterMaster.
	ConditionTransportSecure = "TransportSecure"
	// ConditionAuthenticated is True when every wanted node has an authenticated session. Its reason is the AUTH column of
	// kubectl get refineries. Refinery.
	ConditionAuthenticated = "Authenticated"
	// ConditionCertificateAuthorityRotating is True while the authority is being replaced. Its reason is the phase. Its
	// message says how many nodes have completed it, and what it waits for. ClusterMaster.
	ConditionCertificateAuthorityRotating = "CertificateAuthorityRotating"
	// ConditionSecurityChanging is True while nodes may still connect as spec.security said before. Its message says which
	// Refineries have yet to move, and until when they can. ClusterMaster.
	ConditionSecurityChanging = "SecurityChanging"
	// ConditionUpgradePending is True while running pods are not as this version of the operator makes them. Its message says what
	// is waited for. Refinery.
	ConditionUpgradePending = "UpgradePending"
	// ConditionReconciling is True when the object is not Ready yet and may become so without a person. Its reason is that of
	// Ready. Both kinds.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when nothing gets better until a person changes something. Its reason is that of Ready. Both
	// kinds.
	ConditionStalled = "Stalled"
)
