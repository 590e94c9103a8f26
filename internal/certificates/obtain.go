package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// Annotations by which cert-manager tells what a Secret was filled for.
const (
	certificateNameAnnotation = "cert-manager.io/certificate-name"
	issuerNameAnnotation      = "cert-manager.io/issuer-name"
	issuerKindAnnotation      = "cert-manager.io/issuer-kind"
	issuerGroupAnnotation     = "cert-manager.io/issuer-group"
)

// firstIssuerRecheck is how soon after a Certificate was made it is asked what its request waits for.
const firstIssuerRecheck = 5 * time.Second

// Sources are what certificates are got with.
type Sources struct {
	// Client writes what is not in a Secrets.
	Client client.Client
	// Live is what the API server has.
	Live client.Reader
	// CertManager reports whether the cluster has it. Nil: it has not.
	CertManager *CertManager
	// Issuers are those that may be asked.
	Issuers AllowedIssuers
	// Now is the time of the pass.
	Now time.Time
	// MayMake says why a Secret that does not exist may not be made yet, or nil.
	MayMake func(ctx context.Context, owner client.Object, secret string) error
	// Recheck is how often a request that waits for its issuer is looked at, at most.
	Recheck time.Duration
}

// Obtained is what came of a Certificate.
type Obtained struct {
	// Secret is what it names; nil if it does not exist.
	Secret *corev1.Secret
	// Problem is why cert-manager has not filled the Secret as the Certificate says, or nil.
	Problem *pki.Problem
	// Certificate is the object, or nil without cert-manager.
	Certificate *unstructured.Unstructured
	// want is what the Certificate says.
	want *resource.CertificateApplyConfiguration
	// Recheck is how soon to look again, since a request that waits for its issuer tells nobody. 0: there is none.
	Recheck time.Duration
}

// Or returns why cert-manager has not filled the Secret, if it has not, and otherwise err, which is about the content
// of the Secret. An err that is not a *pki.Problem is always returned.
func (o Obtained) Or(err error) error {
	if o.Problem != nil && (err == nil || pki.AsProblem(err) != nil) {
		return o.Problem
	}
	return err
}

// Ready says where a good certificate comes from, what it lacks of what was asked for, and why cert-manager failed to issue
// another, if it did.
func (o Obtained) Ready(leaf *x509.Certificate) metav1.Condition {
	if o.Secret == nil || leaf == nil {
		return metav1.Condition{}
	}
	ready := ReadyIn(o.Secret.Name, false, &o.want.Spec.IssuerRef)
	ready.Message += o.lacking(leaf)
	if o.Certificate == nil {
		return ready
	}
	if status, words := statusCondition(o.Certificate, "Issuing"); status == string(metav1.ConditionFalse) && words != "" {
		ready.Message += "; Certificate " + o.Certificate.GetName() + ": " + words
	}
	return ready
}

// lacking says what an issuer left out of a certificate that is good enough to be used.
func (o Obtained) lacking(leaf *x509.Certificate) (words string) {
	var missing []string
	for _, name := range slices.Concat(o.want.Spec.DNSNames, o.want.Spec.IPAddresses) {
		if leaf.VerifyHostname(name) != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		words = "; it lacks " + strings.Join(missing, ", ")
	}
	if valid, wanted := leaf.NotAfter.Sub(leaf.NotBefore), o.want.Spec.Duration.Duration; valid < wanted-pki.Backdating {
		words += fmt.Sprintf("; it is valid for %v, and not for the %v of spec.certificates.duration", valid.Round(time.Second), wanted)
	}
	return words
}

// OwnSecret builds the Secret as it is when the operator issues.
type OwnSecret func(pair pki.PEMPair, bundle []byte) *corev1ac.SecretApplyConfiguration

// Obtain has cert-manager issue the certificate that want describes for owner, and reads the Secret of that name. The
// operator never changes what cert-manager put into the Secret. It only adds owner as the owner, so that both are
// deleted together. If a Certificate or Secret of that name belongs to someone else, the error is an
// *apply.ConflictError, and nothing is written. Nothing is written either if the issuer is not allowed: a Certificate that was
// made before stays as it is, so that what is in use is renewed.
func (s *Sources) Obtain(ctx context.Context, a *apply.Applier, owner client.Object, want *resource.CertificateApplyConfiguration, own OwnSecret) (Obtained, error) {
	o := Obtained{want: want}
	var err error
	if o.Secret, err = s.issuedFor(ctx, owner, *want.Name); err != nil {
		return o, err
	}
	if o.Problem = s.Issuers.check(want.Spec.IssuerRef); o.Problem != nil {
		return o, nil
	}
	if installed, err := s.CertManager.Installed(); err != nil {
		return o, err
	} else if !installed {
		o.Problem = notInstalled(want.Spec.IssuerRef)
		return o, nil
	}
	if o.Secret == nil {
		if err := s.MayMake(ctx, owner, *want.Name); err != nil {
			return o, err
		}
	}
	if err := clearIssuerAnnotation(ctx, a, owner, o.Secret, own); err != nil {
		return o, err
	}
	if err := a.Apply(ctx, owner, want); isKindMissing(err) {
		s.CertManager.lookAgain()
		o.Problem = notInstalled(want.Spec.IssuerRef)
		return o, nil
	} else if err != nil {
		return o, err
	}
	o.Certificate = &unstructured.Unstructured{}
	o.Certificate.SetGroupVersionKind(resource.CertificateKind)
	if err := s.Live.Get(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: *want.Name}, o.Certificate); err != nil {
		return o, fmt.Errorf("read Certificate %s: %w", *want.Name, err)
	}
	if o.Secret == nil || !filledFor(o.Secret, want) {
		words, err := s.hindrance(ctx, o.Certificate)
		if err != nil {
			return o, err
		}
		message := fmt.Sprintf("%s %s has not issued Secret %s yet: %s", want.Spec.IssuerRef.Kind, want.Spec.IssuerRef.Name, *want.Name, words)
		if o.Secret != nil {
			message += "; what the Secret holds stays in use until then"
		}
		o.Problem = &pki.Problem{Reason: v1alpha1.ReasonIssuerNotReady, Message: message}
		o.Recheck = min(s.Recheck, max(firstIssuerRecheck, s.Now.Sub(o.Certificate.GetCreationTimestamp().Time)/4))
	}
	return o, nil
}

func notInstalled(issuer v1alpha1.IssuerReference) *pki.Problem {
	return &pki.Problem{Reason: v1alpha1.ReasonIssuerNotInstalled, Message: fmt.Sprintf(
		"spec.certificates.issuerRef of the ClusterMaster names %s %s, and this cluster has no kind Certificate of cert-manager.io/v1: "+
			"install cert-manager or remove issuerRef; reconciliation then resumes", issuer.Kind, issuer.Name)}
}

// FilledByCertManager reports whether cert-manager wrote the content of a Secret.
func FilledByCertManager(secret client.Object) bool {
	_, filled := secret.GetAnnotations()[certificateNameAnnotation]
	return filled
}

// filledFor reports whether cert-manager filled a Secret for a Certificate, from its issuer.
func filledFor(secret *corev1.Secret, c *resource.CertificateApplyConfiguration) bool {
	issuer, annotations := c.Spec.IssuerRef, secret.Annotations
	return annotations[certificateNameAnnotation] == *c.Name && annotations[issuerNameAnnotation] == issuer.Name &&
		annotations[issuerKindAnnotation] == issuer.Kind && annotations[issuerGroupAnnotation] == issuer.Group
}

// issuedFor reads the Secret that is for owner's certificate, or nil. One that cert-manager made for owner's
// Certificate gets owner as its owner.
func (s *Sources) issuedFor(ctx context.Context, owner client.Object, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := s.Live.Get(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	controller := metav1.GetControllerOf(secret)
	switch {
	case metav1.IsControlledBy(secret, owner):
	case controller != nil && controller.Kind == resource.CertificateKind.Kind && controller.Name == name:
		// cert-manager runs with --enable-certificate-owner-ref: it goes with the Certificate, which is owner's.
	case controller == nil && secret.Annotations[certificateNameAnnotation] == name && secret.Labels[resource.LabelManagedBy] == resource.ManagedBy:
		return secret, s.adopt(ctx, owner, secret)
	default:
		return nil, apply.Conflict("Secret", secret)
	}
	return secret, nil
}

// clearIssuerAnnotation adds an empty issuer annotation to a Secret that the operator filled. Without the annotation,
// cert-manager would assume that its issuer issued the certificate, and would not replace it before it is due.
func clearIssuerAnnotation(ctx context.Context, a *apply.Applier, owner client.Object, secret *corev1.Secret, own OwnSecret) error {
	if secret == nil {
		return nil
	}
	if _, told := secret.Annotations[issuerNameAnnotation]; told {
		return nil
	}
	pair := pki.PEMPair{Certificate: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]}
	desired := own(pair, secret.Data[v1alpha1.AuthorityKey]).WithAnnotations(map[string]string{issuerNameAnnotation: ""})
	return a.Apply(ctx, owner, Over(desired, secret.UID))
}

// adopt makes owner the owner of a Secret that cert-manager created, so that the garbage collector deletes both
// together.
func (s *Sources) adopt(ctx context.Context, owner client.Object, secret *corev1.Secret) error {
	desired, err := resource.OwnedSecret(owner, secret.Name, secret.UID)
	if err != nil {
		return err
	}
	if err := s.Client.Apply(ctx, desired, client.FieldOwner(v1alpha1.OperatorFieldOwner), client.ForceOwnership); err != nil {
		return fmt.Errorf("become the owner of Secret %s: %w", secret.Name, err)
	}
	return nil
}

// hindrance returns, in cert-manager's words, why a Certificate is not issued: its condition Ready, a failed attempt,
// and what its CertificateRequest waits for, which the Certificate does not show.
func (s *Sources) hindrance(ctx context.Context, certificate *unstructured.Unstructured) (string, error) {
	_, words := statusCondition(certificate, "Ready")
	if words == "" {
		words = "cert-manager has not processed the Certificate: is its controller running?"
	}
	if status, message := statusCondition(certificate, "Issuing"); status == string(metav1.ConditionFalse) && message != "" {
		words += "; " + message
	}
	revision, _, _ := unstructured.NestedInt64(certificate.Object, "status", "revision")
	request := &unstructured.Unstructured{}
	request.SetGroupVersionKind(resource.CertificateRequestKind)
	key := client.ObjectKey{Namespace: certificate.GetNamespace(), Name: fmt.Sprintf("%s-%d", certificate.GetName(), revision+1)}
	if err := s.Live.Get(ctx, key, request); isKindMissing(err) {
		return words, nil
	} else if err != nil {
		return "", fmt.Errorf("read CertificateRequest %s: %w", key.Name, err)
	}
	if _, message := statusCondition(request, "Ready"); message != "" && metav1.IsControlledBy(request, certificate) {
		words += "; CertificateRequest " + key.Name + ": " + message
	}
	return words, nil
}

// statusCondition returns status and message of a condition of a cert-manager object.
func statusCondition(object *unstructured.Unstructured, kind string) (status, message string) {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, entry := range conditions {
		condition, _ := entry.(map[string]any)
		if condition["type"] == kind {
			status, _ = condition["status"].(string)
			message, _ = condition["message"].(string)
			return status, message
		}
	}
	return "", ""
}

// RemoveCertificate deletes the Certificate of owner, so that cert-manager does not write to its Secret any more. The
// Secret stays.
func (s *Sources) RemoveCertificate(ctx context.Context, a *apply.Applier, owner client.Object, name string) error {
	exists, err := s.CertManager.holds(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: name})
	if err != nil || !exists {
		return err
	}
	certificate := &unstructured.Unstructured{}
	certificate.SetGroupVersionKind(resource.CertificateKind)
	certificate.SetNamespace(owner.GetNamespace())
	certificate.SetName(name)
	if err := a.Delete(ctx, owner, certificate); err != nil && !isKindMissing(err) {
		return err
	}
	a.Disclaim(owner, "Secret", name) // cert-manager was to write it
	return nil
}

// IssuersBundle is the trust bundle of a Secret that cert-manager filled. What is wrong is a *pki.Problem.
func IssuersBundle(secret *corev1.Secret, now time.Time) (*pki.Authority, error) {
	bundle := secret.Data[v1alpha1.AuthorityKey]
	if len(bundle) == 0 {
		return nil, &pki.Problem{Reason: v1alpha1.ReasonSecretKeyMissing,
			Message: "key ca.crt is missing or empty: the issuer has to fill it in, as those of kind CA do"}
	}
	return pki.ParseBundle(v1alpha1.AuthorityKey, bundle, now)
}

// Reissue asks for a new certificate in the way that cert-manager knows: its condition Issuing. why is for people.
func (s *Sources) Reissue(ctx context.Context, certificate *unstructured.Unstructured, why string) error {
	if status, _ := statusCondition(certificate, "Issuing"); status == string(metav1.ConditionTrue) {
		return nil
	}
	want := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": []any{map[string]any{
		"type": "Issuing", "status": "True", "reason": "Reissue",
		"message":            why,
		"lastTransitionTime": s.Now.UTC().Format(time.RFC3339),
		"observedGeneration": certificate.GetGeneration(),
	}}}}}
	want.SetGroupVersionKind(resource.CertificateKind)
	want.SetNamespace(certificate.GetNamespace())
	want.SetName(certificate.GetName())
	want.SetUID(certificate.GetUID())
	if err := s.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(want),
		client.FieldOwner(v1alpha1.OperatorFieldOwner), client.ForceOwnership); err != nil {
		return fmt.Errorf("reissue Certificate %s: %w", certificate.GetName(), err)
	}
	return nil
}
