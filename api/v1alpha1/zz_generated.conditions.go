// Code generated from conditions.go by make generate. DO NOT EDIT.

package v1alpha1

// ClusterMasterConditions are the condition types of a ClusterMaster.
var ClusterMasterConditions = []string{
	"Ready",
	"Available",
	"CertificateReady",
	"CertificateExpiring",
	"TransportSecure",
	"CertificateAuthorityRotating",
	"SecurityChanging",
	"Reconciling",
	"Stalled",
}

// RefineryConditions are the condition types of a Refinery.
var RefineryConditions = []string{
	"Ready",
	"Available",
	"CertificateReady",
	"CertificateInSync",
	"CertificateExpiring",
	"Authenticated",
	"UpgradePending",
	"Reconciling",
	"Stalled",
}
