package controllers

import (
	"context"
	"fmt"
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

// obtained is what came of a Certificate.
type obtained struct {
	// secret is what it names; nil if it does not exist.
	secret *corev1.Secret
	// problem is why cert-manager has not filled the Secret as the Certificate says, or nil.
	problem *pki.Problem
	// certificate is the object, or nil without cert-manager.
	certificate *unstructured.Unstructured
	// recheck is how soon to look again, since a request that waits for its issuer tells nobody. 0: there is none.
	recheck time.Duration
}

// ownSecret builds the Secret as it is when the operator issues.
type ownSecret func(pair pki.PEMPair, bundle []byte) *corev1ac.SecretApplyConfiguration

// obtain has cert-manager issue what want says for owner, and reads the Secret of that name. What cert-manager put
// into that Secret the operator never writes to: it only makes itself known as its owner, so that it goes with the CR.
// A Certificate or Secret that is someone else's is an *apply.ConflictError, and nothing is written.
func (e *Environment) obtain(ctx context.Context, a *apply.Applier, owner client.Object, want *resource.CertificateApplyConfiguration, own ownSecret) (obtained, error) {
	var o obtained
	var err error
	if o.secret, err = e.issuedFor(ctx, owner, *want.Name); err != nil {
		return o, err
	}
	if installed, err := e.CertManager.Installed(); err != nil {
		return o, err
	} else if !installed {
		o.problem = notInstalled(want.Spec.IssuerRef)
		return o, nil
	}
	if o.secret == nil {
		if err := e.requireUnmounted(ctx, owner, *want.Name); err != nil {
			return o, err
		}
	}
	if err := handOver(ctx, a, owner, o.secret, own); err != nil {
		return o, err
	}
	if err := a.Apply(ctx, owner, want); isKindMissing(err) {
		e.CertManager.lookAgain()
		o.problem = notInstalled(want.Spec.IssuerRef)
		return o, nil
	} else if err != nil {
		return o, err
	}
	o.certificate = &unstructured.Unstructured{}
	o.certificate.SetGroupVersionKind(resource.CertificateKind)
	if err := e.Live.Get(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: *want.Name}, o.certificate); err != nil {
		return o, fmt.Errorf("read Certificate %s: %w", *want.Name, err)
	}
	if o.secret == nil || !filledFor(o.secret, want) {
		words, err := e.hindrance(ctx, o.certificate)
		if err != nil {
			return o, err
		}
		message := fmt.Sprintf("%s %s has not issued Secret %s yet: %s", want.Spec.IssuerRef.Kind, want.Spec.IssuerRef.Name, *want.Name, words)
		if o.secret != nil {
			message += "; what the Secret holds stays in use until then"
		}
		o.problem = &pki.Problem{Reason: v1alpha1.ReasonIssuerNotReady, Message: message}
		o.recheck = min(e.Recheck, max(firstIssuerRecheck, e.Clock.Since(o.certificate.GetCreationTimestamp().Time)/4))
	}
	return o, nil
}

func notInstalled(issuer v1alpha1.IssuerReference) *pki.Problem {
	return &pki.Problem{Reason: v1alpha1.ReasonIssuerNotInstalled, Message: fmt.Sprintf(
		"spec.certificates.issuerRef of the ClusterMaster names %s %s, and this cluster has no kind Certificate of cert-manager.io/v1: "+
			"install cert-manager, or take issuerRef away; all goes on by itself then", issuer.Kind, issuer.Name)}
}

// filledFor reports whether cert-manager filled a Secret for a Certificate, from its issuer.
func filledFor(secret *corev1.Secret, c *resource.CertificateApplyConfiguration) bool {
	issuer, annotations := c.Spec.IssuerRef, secret.Annotations
	return annotations[certificateNameAnnotation] == *c.Name && annotations[issuerNameAnnotation] == issuer.Name &&
		annotations[issuerKindAnnotation] == issuer.Kind && annotations[issuerGroupAnnotation] == issuer.Group
}

// issuedFor reads the Secret that is for owner's certificate, or nil. One that cert-manager made for owner's
// Certificate gets owner as its owner.
func (e *Environment) issuedFor(ctx context.Context, owner client.Object, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := e.Live.Get(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: name}, secret)
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
		return secret, e.adopt(ctx, owner, secret)
	default:
		return nil, apply.Conflict("Secret", secret)
	}
	return secret, nil
}

// handOver has a Secret that the operator filled say that no issuer of cert-manager did: cert-manager would take a
// certificate of unknown origin for its issuer's, and leave it until it is due.
func handOver(ctx context.Context, a *apply.Applier, owner client.Object, secret *corev1.Secret, own ownSecret) error {
	if secret == nil {
		return nil
	}
	if _, told := secret.Annotations[issuerNameAnnotation]; told {
		return nil
	}
	pair := pki.PEMPair{Certificate: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]}
	desired := own(pair, secret.Data[v1alpha1.AuthorityKey]).WithAnnotations(map[string]string{issuerNameAnnotation: ""})
	return a.Apply(ctx, owner, over(desired, secret.UID))
}

// adopt has the garbage collector delete a Secret that cert-manager made with the object that it was made for.
func (e *Environment) adopt(ctx context.Context, owner client.Object, secret *corev1.Secret) error {
	desired, err := resource.OwnedSecret(owner, secret.Name, secret.UID)
	if err != nil {
		return err
	}
	if err := e.Client.Apply(ctx, desired, client.FieldOwner(v1alpha1.OperatorFieldOwner), client.ForceOwnership); err != nil {
		return fmt.Errorf("become the owner of Secret %s: %w", secret.Name, err)
	}
	return nil
}

// hindrance is what cert-manager says about a Certificate that is not issued: condition Ready, a failed try, and what
// the request waits for, which the Certificate itself does not tell.
func (e *Environment) hindrance(ctx context.Context, certificate *unstructured.Unstructured) (string, error) {
	_, words := statusCondition(certificate, "Ready")
	if words == "" {
		words = "it has not taken up the Certificate: is its controller running?"
	}
	if status, message := statusCondition(certificate, "Issuing"); status == string(metav1.ConditionFalse) && message != "" {
		words += "; " + message
	}
	revision, _, _ := unstructured.NestedInt64(certificate.Object, "status", "revision")
	request := &unstructured.Unstructured{}
	request.SetGroupVersionKind(resource.CertificateRequestKind)
	key := client.ObjectKey{Namespace: certificate.GetNamespace(), Name: fmt.Sprintf("%s-%d", certificate.GetName(), revision+1)}
	if err := e.Live.Get(ctx, key, request); isKindMissing(err) {
		return words, nil
	} else if err != nil {
		return "", fmt.Errorf("read CertificateRequest %s: %w", key.Name, err)
	}
	if _, message := statusCondition(request, "Ready"); message != "" && metav1.IsControlledBy(request, certificate) {
		words += "; CertificateRequest " + key.Name + ": " + message
	}
	return words, nil
}

// statusCondition is status and message of a condition of an object of cert-manager.
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

// removeCertificate has cert-manager leave alone a Secret that it issued for owner. The Secret stays.
func (e *Environment) removeCertificate(ctx context.Context, a *apply.Applier, owner client.Object, name string) error {
	held, err := e.CertManager.holds(ctx, client.ObjectKey{Namespace: owner.GetNamespace(), Name: name})
	if err != nil || !held {
		return err
	}
	certificate := &unstructured.Unstructured{}
	certificate.SetGroupVersionKind(resource.CertificateKind)
	certificate.SetNamespace(owner.GetNamespace())
	certificate.SetName(name)
	if err := a.Delete(ctx, owner, certificate); !isKindMissing(err) {
		return err
	}
	return nil
}

// issuersAuthority is the trust bundle that the issuer put beside the certificate of the master: what its pods go
// by. What is wrong with it is a *pki.Problem.
func (e *Environment) issuersAuthority(ctx context.Context, m *v1alpha1.ClusterMaster) (*pki.Authority, error) {
	secret, err := e.namedSecret(ctx, m.Namespace, m.CertificateSecretName())
	if p := pki.AsProblem(err); p != nil {
		return nil, &pki.Problem{Reason: p.Reason, Message: fmt.Sprintf("%s %s has not issued Secret %s yet",
			m.Issuer().Kind, m.Issuer().Name, m.CertificateSecretName())}
	}
	if err != nil {
		return nil, err
	}
	authority, err := issuersBundle(secret, e.Clock.Now())
	return authority, inSecret(secret.Name, err)
}

// issuersBundle is the trust bundle of a Secret that cert-manager filled.
func issuersBundle(secret *corev1.Secret, now time.Time) (*pki.Authority, error) {
	bundle := secret.Data[v1alpha1.AuthorityKey]
	if len(bundle) == 0 {
		return nil, &pki.Problem{Reason: v1alpha1.ReasonSecretKeyMissing,
			Message: "key ca.crt is missing or empty: the issuer has to fill it in, as those of kind CA do"}
	}
	return pki.ParseBundle(v1alpha1.AuthorityKey, bundle, now)
}
