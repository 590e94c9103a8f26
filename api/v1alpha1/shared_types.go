package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// LocalReference names an object in the same namespace.
type LocalReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of an object in this namespace: lower case letters, digits, '-' and '.', for example 'plant-ca'"
	Name string `json:"name"`
}

// DisruptionBudget bounds how many pods are evicted at once, as when Kubernetes nodes are drained. None is made where someone else's
// PodDisruptionBudget selects the pods already: Kubernetes evicts no pod that two select.
// +kubebuilder:validation:XValidation:rule="!has(self.disabled) || !self.disabled || !has(self.maxUnavailable)",message="maxUnavailable is of a PodDisruptionBudget that disabled takes away; remove one of them"
type DisruptionBudget struct {
	// disabled makes no PodDisruptionBudget, for pods that one of your own is to select.
	// +optional
	Disabled bool `json:"disabled,omitempty"`
	// maxUnavailable is how many pods, or what percentage of them, may be missing for an eviction. At least 1, so that no
	// drain waits for ever. Default: 1.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 && self <= 10000 : self.matches('^([1-9][0-9]?|100)%$')",message="must be a number of pods from 1 to 10000, or a percentage from '1%' to '100%': with none no Kubernetes node with such a pod could ever be drained"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// MetadataValue is the value of a label.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",message="must be letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, or empty"
type MetadataValue string

// CommonMetadata is put on every object that the operator owns for a ClusterMaster or Refinery, and not on pods: what these have is in
// spec.template. What the operator itself sets goes before.
type CommonMetadata struct {
	// labels of every owned object, such as those that a policy of the cluster asks for.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !(k in ['app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/component', 'app.kubernetes.io/managed-by', 'app.kubernetes.io/part-of']) && !k.startsWith('cluster.refinery.dev/'))",message="the labels name, instance, component, managed-by and part-of of app.kubernetes.io, and those of cluster.refinery.dev, are the operator's; remove them"
	Labels map[string]MetadataValue `json:"labels,omitempty"`
	// annotations of every owned object. Secrets get only those that the operator's flag --secret-annotations names, since
	// annotations have other programs copy Secrets elsewhere.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('cluster.refinery.dev/') && !k.startsWith('cert-manager.io/') && !k.startsWith('kubectl.kubernetes.io/') && !k.startsWith('deployment.kubernetes.io/'))",message="annotations of cluster.refinery.dev, cert-manager.io, kubectl.kubernetes.io and deployment.kubernetes.io are for programs to write; remove them"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// VolumeName is the name of a volume that is not the operator's.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && !self.startsWith('refinery-')",message="must be lower-case letters, digits and '-', and must not begin with 'refinery-': such volumes belong to the operator"
type VolumeName string

// Variable is an environment variable of a container that the operator makes.
type Variable struct {
	// name of the variable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",message="must be letters, digits and '_', and not begin with a digit"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(?i:KUBECONFIG|KUBERNETES_.*|.*_PROXY|GODEBUG|SSL_.*|POD_.*|NODE_NAME)$')",message="must not be KUBECONFIG, GODEBUG, NODE_NAME, begin with KUBERNETES_, SSL_ or POD_, or end with _PROXY: these change whom the process trusts and where it connects, or are the operator's"
	Name string `json:"name"`
	// value of the variable.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"`
}

// SecretSource names the Secret of something that a user provides.
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
	// kind of the issuer: Issuer (in the same namespace), ClusterIssuer, or a kind of another group.
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

// CertificateUse says why a certificate is listed.
// +kubebuilder:validation:Enum=Current;Next;Previous
type CertificateUse string

const (
	// CertificateCurrent is the certificate in use: new sessions should present it. It is in its Secret, unless that was
	// overwritten by something that is not good.
	CertificateCurrent CertificateUse = "Current"
	// CertificateNext is about to become Current. It is listed before it is in any Secret, so that no node presents a
	// certificate that the master does not know yet.
	CertificateNext CertificateUse = "Next"
	// CertificatePrevious was replaced, and is still let in until its overlap ends.
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
	// use is Current, Next for the certificate that is about to become Current, or Previous for a replaced one that is still
	// let in.
	// +required
	Use CertificateUse `json:"use"`
	// until is when the overlap of a Previous certificate ends. It is absent during a rotation of the authority: the overlap
	// begins when that is over.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
	// secret is the name of the Secret that it was read from, if a user provided it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Secret string `json:"secret,omitempty"`
	// secretUID is the UID of that Secret, or of the operator's own. If there is no Secret of this UID any more, it was
	// deleted, which revokes its certificates.
	// +optional
	SecretUID types.UID `json:"secretUID,omitempty"`
}

// RevokedCertificate is a certificate that is refused until it expires, by fingerprint.
type RevokedCertificate struct {
	// fingerprint is the SHA-256 of the certificate's DER form, 64 lower-case hexadecimal digits.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Fingerprint string `json:"fingerprint"`
	// notAfter is the end of the certificate's validity.
	// +required
	NotAfter metav1.Time `json:"notAfter"`
	// secret is the name of the Secret whose deletion revoked it.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Secret string `json:"secret"`
	// since is when the operator saw that the Secret was deleted.
	// +required
	Since metav1.Time `json:"since"`
}

// ServedCertificate is the certificate that a ClusterMaster serves over TLS.
type ServedCertificate struct {
	// fingerprint is the SHA-256 of the certificate's DER form, 64 lower-case hexadecimal digits.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Fingerprint string `json:"fingerprint"`
	// notAfter is the end of the certificate's validity.
	// +required
	NotAfter metav1.Time `json:"notAfter"`
}
