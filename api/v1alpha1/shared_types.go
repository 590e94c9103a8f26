package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// LocalReference names an object in the namespace of the object that holds the reference.
type LocalReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of an object in this namespace: lower case letters, digits, '-' and '.', for example 'plant-ca'"
	Name string `json:"name"`
}

// SecretSource says where a certificate comes from when the operator does not make it.
type SecretSource struct {
	// secretRef names a Secret in the same namespace. The operator reads it and never writes to it.
	// +required
	SecretRef LocalReference `json:"secretRef"`
}

// IssuerReference names an issuer of cert-manager.
type IssuerReference struct {
	// name of the issuer.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// kind of the issuer: Issuer, in the same namespace, ClusterIssuer, or one of another group.
	// +optional
	// +kubebuilder:default=Issuer
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`
	// group of the issuer.
	// +optional
	// +kubebuilder:default=cert-manager.io
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
}

// CertificateUse says what a listed certificate may be used for.
// +kubebuilder:validation:Enum=Current;Next;Previous
type CertificateUse string

const (
	// CertificateCurrent is the certificate that new sessions are expected to present.
	CertificateCurrent CertificateUse = "Current"
	// CertificateNext is about to become Current: it is listed before it is in any Secret, so that no node presents
	// it too early.
	CertificateNext CertificateUse = "Next"
	// CertificatePrevious is a replaced certificate that is still let in until its overlap ends.
	CertificatePrevious CertificateUse = "Previous"
)

// ListedCertificate is a certificate that the master lets in, by fingerprint.
type ListedCertificate struct {
	// fingerprint is the SHA-256 of the certificate's DER form, 64 lower-case hexadecimal digits.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Fingerprint string `json:"fingerprint"`
	// notAfter is the end of the certificate's validity.
	// +required
	NotAfter metav1.Time `json:"notAfter"`
	// use is Current, Next for the one that is about to take its place, or Previous while a replaced certificate is still accepted.
	// +required
	Use CertificateUse `json:"use"`
	// until is the end of the overlap in which a Previous certificate is still accepted. There is none while the
	// certificate authority is being replaced: it is accepted until that is over, and for the overlap from then on.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
	// secret is the name of the Secret that it was read from, if someone else than the operator provides it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Secret string `json:"secret,omitempty"`
	// secretUID is the UID of that Secret. Another one under the same name means that it was deleted, which
	// revokes its certificates: they get no overlap.
	// +optional
	SecretUID types.UID `json:"secretUID,omitempty"`
}

// ServedCertificate is the certificate a ClusterMaster serves over TLS.
type ServedCertificate struct {
	// fingerprint is the SHA-256 of the certificate's DER form, 64 lower-case hexadecimal digits.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Fingerprint string `json:"fingerprint"`
	// notAfter is the end of the certificate's validity.
	// +required
	NotAfter metav1.Time `json:"notAfter"`
}
