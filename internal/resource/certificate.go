package resource

import (
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Kinds of cert-manager. It makes a CertificateRequest for each try to issue a Certificate.
var (
	CertificateKind        = schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}
	CertificateRequestKind = CertificateKind.GroupVersion().WithKind("CertificateRequest")
)

// maxCommonName is the length of a common name at most (RFC 5280, appendix A.1: ub-common-name).
const maxCommonName = 64

// CertificateApplyConfiguration has what the operator sets of a Certificate of cert-manager, whose own types would
// bring all its dependencies along.
type CertificateApplyConfiguration struct {
	metav1.TypeMeta                        `json:",inline"`
	*metav1ac.ObjectMetaApplyConfiguration `json:"metadata,omitempty"`
	Spec                                   CertificateSpec `json:"spec"`
}

// CertificateSpec is the spec of a Certificate.
type CertificateSpec struct {
	SecretName     string                   `json:"secretName"`
	SecretTemplate CertificateTemplate      `json:"secretTemplate"`
	IssuerRef      v1alpha1.IssuerReference `json:"issuerRef"`
	CommonName     string                   `json:"commonName,omitempty"`
	Duration       metav1.Duration          `json:"duration"`
	RenewBefore    metav1.Duration          `json:"renewBefore"`
	DNSNames       []string                 `json:"dnsNames,omitempty"`
	IPAddresses    []string                 `json:"ipAddresses,omitempty"`
	URIs           []string                 `json:"uris,omitempty"`
	Usages         []string                 `json:"usages"`
	PrivateKey     CertificatePrivateKey    `json:"privateKey"`
	// RevisionHistoryLimit is the number of CertificateRequests that are kept.
	RevisionHistoryLimit int32 `json:"revisionHistoryLimit"`
}

// CertificateTemplate is what cert-manager puts on the Secret: the labels by which the operator sees it.
type CertificateTemplate struct {
	Labels map[string]string `json:"labels"`
}

// CertificatePrivateKey says how keys are made.
type CertificatePrivateKey struct {
	v1alpha1.PrivateKeySpec `json:",inline"`
	RotationPolicy          string `json:"rotationPolicy"`
}

// MasterCertificate has cert-manager fill the Secret of what a ClusterMaster serves, and again renewBefore the end.
func MasterCertificate(m *v1alpha1.ClusterMaster, issuer v1alpha1.IssuerReference, clusterDomain string, renewBefore time.Duration) *CertificateApplyConfiguration {
	c := certificate(m.CertificateSecretName(), m, renewBefore, issuer, MasterLabels(m), masterOwner(m))
	maps.Copy(c.Spec.SecretTemplate.Labels, commonLabels(m))
	if name := MasterServerName(m); len(name) <= maxCommonName { // some issuers take it for a DNS name, and judge it as one
		c.Spec.CommonName = name
	}
	c.Spec.DNSNames, c.Spec.IPAddresses = MasterDNSNames(m, clusterDomain), MasterIPAddresses(m)
	c.Spec.Usages = []string{"digital signature", "server auth"}
	return c
}

// RefineryCertificate has cert-manager fill the Secret of the nodes of a Refinery of m, and again renewBefore the end.
func RefineryCertificate(r *v1alpha1.Refinery, m *v1alpha1.ClusterMaster, issuer v1alpha1.IssuerReference, renewBefore time.Duration) *CertificateApplyConfiguration {
	c := certificate(r.IssuedSecretName(), m, renewBefore, issuer, RefineryLabels(r), refineryOwner(r))
	maps.Copy(c.Spec.SecretTemplate.Labels, commonLabels(r))
	c.Spec.CommonName, c.Spec.URIs = r.Name, []string{r.Identity().String()}
	c.Spec.Usages = []string{"digital signature", "client auth"}
	return c
}

func certificate(name string, m *v1alpha1.ClusterMaster, renewBefore time.Duration, issuer v1alpha1.IssuerReference,
	labels map[string]string, owner *metav1ac.OwnerReferenceApplyConfiguration,
) *CertificateApplyConfiguration {
	return &CertificateApplyConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: CertificateKind.GroupVersion().String(), Kind: CertificateKind.Kind},
		ObjectMetaApplyConfiguration: metav1ac.ObjectMeta().WithName(name).WithNamespace(m.Namespace).
			WithLabels(labels).WithOwnerReferences(owner),
		Spec: CertificateSpec{
			SecretName:           name,
			SecretTemplate:       CertificateTemplate{Labels: maps.Clone(labels)},
			IssuerRef:            issuer,
			Duration:             metav1.Duration{Duration: m.CertificatePeriods().Duration},
			RenewBefore:          metav1.Duration{Duration: renewBefore.Truncate(time.Second)},
			PrivateKey:           CertificatePrivateKey{PrivateKeySpec: m.PrivateKey(), RotationPolicy: "Always"},
			RevisionHistoryLimit: 1,
		},
	}
}

// IsApplyConfiguration marks it as one.
func (*CertificateApplyConfiguration) IsApplyConfiguration() {}

// GetName returns the name.
func (c *CertificateApplyConfiguration) GetName() *string { return c.Name }

// GetNamespace returns the namespace.
func (c *CertificateApplyConfiguration) GetNamespace() *string { return c.Namespace }

// GetKind returns the kind.
func (c *CertificateApplyConfiguration) GetKind() *string { return &c.Kind }

// GetAPIVersion returns group and version.
func (c *CertificateApplyConfiguration) GetAPIVersion() *string { return &c.APIVersion }
