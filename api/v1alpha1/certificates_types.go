package v1alpha1

// DeletionPolicy says what becomes of something when its owner is deleted.
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// Policies of deletion.
const (
	DeletionPolicyRetain DeletionPolicy = "Retain"
	DeletionPolicyDelete DeletionPolicy = "Delete"
)

// CertificatesSpec says where certificates come from, and how long those that the operator issues are valid.
// Durations are written as in 2160h, 90m or 1h30m.
// +kubebuilder:validation:XValidation:rule="!has(self.duration) || duration(self.duration) >= duration('1m')",message="duration must be at least 1m; below 1h a kubelet may be too slow to bring a renewed certificate into its pods in time"
// +kubebuilder:validation:XValidation:rule="!has(self.renewBefore) || duration(self.renewBefore) > duration('0s')",message="renewBefore must be longer than 0s: nodes need time to get the renewed certificate; leave it out for a third of duration"
// +kubebuilder:validation:XValidation:rule="!has(self.duration) || !has(self.renewBefore) || duration(self.renewBefore) < duration(self.duration)",message="renewBefore must be shorter than duration, since a certificate is renewed that long before its end; leave it out for a third of duration"
// +kubebuilder:validation:XValidation:rule="!has(self.duration) || !has(self.caDuration) || duration(self.caDuration) >= duration(self.duration) + duration(self.duration)",message="caDuration must be at least twice duration, so that an authority can be replaced before what it signed ends; raise caDuration (87600h is the default), or lower duration"
// +kubebuilder:validation:XValidation:rule="!has(self.issuerRef) || !has(self.authority)",message="issuerRef has cert-manager issue from its issuer, authority has the operator issue from a Secret; remove one of them"
type CertificatesSpec struct {
	// duration is the validity of the server and client certificates that the operator issues; at least 1m.
	// Below 1h a kubelet may be too slow to bring a renewed certificate into its pods in time.
	// +optional
	// +kubebuilder:default="2160h"
	// +kubebuilder:validation:MaxLength=23
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && self != ''",message="must be hours, minutes and seconds, for example '2160h', '90m' or '1h30m'"
	Duration string `json:"duration,omitempty"`
	// renewBefore is how long before its end a certificate is renewed. Each object is renewed up to a tenth of duration
	// earlier, so that a fleet is not renewed at once. Default: a third of duration.
	// +optional
	// +kubebuilder:validation:MaxLength=23
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && self != ''",message="must be hours, minutes and seconds, for example '720h', '90m' or '1h30m'"
	RenewBefore string `json:"renewBefore,omitempty"`
	// overlap is how long a replaced certificate is still let in. With 0s it is revoked at once, and nodes are refused
	// until they have the new one. During a rotation of the authority, the overlap of certificates that the operator
	// issued begins when the rotation is over.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:MaxLength=23
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && self != ''",message="must be hours, minutes and seconds, for example '1h', '90m' or '0s'"
	Overlap string `json:"overlap,omitempty"`
	// caDuration is the validity of an authority that the operator creates; at least twice duration. The authority is
	// replaced at two thirds of it, and on request by annotation cluster.refinery.dev/rotate-ca.
	// +optional
	// +kubebuilder:default="87600h"
	// +kubebuilder:validation:MaxLength=23
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && self != ''",message="must be hours, minutes and seconds, for example '87600h'"
	CADuration string `json:"caDuration,omitempty"`
	// authority names a Secret with a provided certificate authority, in tls.crt and tls.key. Without the key the operator
	// issues nothing, and every certificate must be provided too. Default: an authority that the operator creates.
	// +optional
	Authority *SecretSource `json:"authority,omitempty"`
	// issuerRef names an issuer of cert-manager that issues all certificates. The operator creates the Certificate
	// objects. The issuer must fill in ca.crt, as issuers of kind CA do. Default: none, the operator issues.
	// +optional
	IssuerRef *IssuerReference `json:"issuerRef,omitempty"`
	// privateKey is the kind of the keys that the operator makes: of its authority, the master's certificate and those of
	// the nodes. A change takes effect with the next certificate: the authority's with its next rotation, the others' with
	// their next renewal, and those of cert-manager at once. Default: ECDSA P-256.
	// +optional
	PrivateKey PrivateKeySpec `json:"privateKey,omitzero"`
	// dnsNames are further DNS names in the certificate that the master serves, for nodes that reach it by another name than
	// that of its Service; the first label may be '*'. The operator issues it anew when they change, or has cert-manager
	// do so. A server certificate that a user provides need not have them. Default: none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^([*][.])?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$')",message="must be a DNS name in lower case, for example 'alpha.example.com' or '*.example.com'"
	// +kubebuilder:validation:items:XValidation:rule="!isIP(self)",message="is an IP address; write it into ipAddresses"
	DNSNames []string `json:"dnsNames,omitempty"`
	// ipAddresses are IP addresses in the certificate that the master serves, for nodes that reach it by one of them. The
	// same holds for them as for dnsNames. Default: none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=39
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) && ip.isCanonical(self)",message="must be an IP address in its shortest form, for example '192.0.2.10' or '2001:db8::10'"
	IPAddresses []string `json:"ipAddresses,omitempty"`
	// deletionPolicy says what becomes of the Secrets <name>-ca and <name>-shared that the operator created when the
	// ClusterMaster is deleted. Retain: they stay, so that nodes trust a ClusterMaster that is created again, and it
	// them. Delete: they are deleted, and with them the trust of all nodes.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
	// shared names a Secret with the certificate that all nodes present with authentication SharedCertificate, in key
	// "certificate". Master and nodes read a copy, Secret <master>-shared. When it changes, the former one is let in for
	// security.overlap. Default: created by the operator.
	// +optional
	Shared *SecretSource `json:"shared,omitempty"`
}

// KeyAlgorithm is a kind of private key.
// +kubebuilder:validation:Enum=ECDSA;RSA;Ed25519
type KeyAlgorithm string

// Kinds of private keys.
const (
	KeyECDSA   KeyAlgorithm = "ECDSA"
	KeyRSA     KeyAlgorithm = "RSA"
	KeyEd25519 KeyAlgorithm = "Ed25519"
)

// PrivateKeySpec is the kind of a private key.
// +kubebuilder:validation:XValidation:rule="self.algorithm != 'ECDSA' || !has(self.size) || self.size in [256, 384]",message="a key with algorithm ECDSA has size 256 or 384; leave size out for 256"
// +kubebuilder:validation:XValidation:rule="self.algorithm != 'RSA' || !has(self.size) || self.size in [2048, 3072, 4096]",message="a key with algorithm RSA has size 2048, 3072 or 4096; leave size out for 3072"
// +kubebuilder:validation:XValidation:rule="self.algorithm != 'Ed25519' || !has(self.size)",message="keys with algorithm Ed25519 have one size; leave size out"
type PrivateKeySpec struct {
	// algorithm is ECDSA, RSA or Ed25519.
	// +optional
	// +kubebuilder:default=ECDSA
	Algorithm KeyAlgorithm `json:"algorithm,omitempty"`
	// size is 256 or 384 bits with ECDSA, and 2048, 3072 or 4096 with RSA. Default: 256 with ECDSA, 3072 with RSA.
	// +optional
	Size int32 `json:"size,omitempty"`
}
