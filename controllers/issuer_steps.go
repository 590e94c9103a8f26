package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// reissueMaster is how old a master's certificate has to be before a Refinery of another authority has it issued
// anew: an issuer that signs by several authorities in turn would otherwise never come to rest.
const reissueMaster = time.Hour

// obtainCertificate has cert-manager issue what the master serves, and looks at what it put into the Secret.
func (r *ClusterMasterReconciler) obtainCertificate(ctx context.Context, s *masterScope, issuer v1alpha1.IssuerReference) error {
	own := func(pair pki.PEMPair, bundle []byte) *corev1ac.SecretApplyConfiguration {
		return resource.MasterCertificateSecret(s.master, pair, bundle)
	}
	o, err := r.obtain(ctx, r.apply, s.master, resource.MasterCertificate(s.master, issuer, renewBefore(s.master, s.master.UID)), own)
	if taken, ok := errors.AsType[*apply.ConflictError](err); ok {
		s.foundWrong(v1alpha1.ReasonNameConflict, taken.Error())
	}
	if err != nil {
		return err
	}
	if o.problem != nil {
		s.foundWrong(o.problem.Reason, o.problem.Message)
	}
	s.agenda.atFuture(s.now.Add(o.recheck), s.now)
	if o.secret == nil {
		return nil
	}
	if p := pki.AsProblem(inSecret(o.secret.Name, r.readObtained(s, o.secret))); p != nil {
		s.foundWrong(p.Reason, p.Message)
	} else if o.problem == nil {
		s.found(v1alpha1.ReasonIssued, obtainedMessage(o, issuer))
	}
	if leaf := s.certificate.leaf; leaf != nil {
		s.agenda.atFuture(leaf.NotAfter.Add(time.Second), s.now)
	}
	return nil
}

// readObtained reads authority and certificate of the master. What is wrong is a *pki.Problem.
func (r *ClusterMasterReconciler) readObtained(s *masterScope, secret *corev1.Secret) error {
	h, err := parseHeld(secret)
	s.certificate.leaf = h.leaf()
	if err != nil {
		return err
	}
	s.noteEnd(v1alpha1.AuthorityKey, secret.Data[v1alpha1.AuthorityKey])
	authority, err := issuersBundle(secret, r.Clock.Now())
	if err != nil {
		return err
	}
	s.judgeBy(authority)
	return authority.VerifyServer(h.chain, resource.MasterDNSNames(s.master), r.Clock.Now())
}

// obtainedMessage says where a good certificate comes from, and why cert-manager failed to issue another, if it did.
func obtainedMessage(o obtained, issuer v1alpha1.IssuerReference) string {
	message := issuedBy(o.secret.Name, issuer)
	if status, words := statusCondition(o.certificate, "Issuing"); status == string(metav1.ConditionFalse) && words != "" {
		message += "; Certificate " + o.certificate.GetName() + ": " + words
	}
	return message
}

// obtainCertificate has cert-manager issue the certificate of the nodes, and looks at what it put into the Secret.
// As with a Secret that the user brings, pods run whatever is wrong with it.
func (r *RefineryReconciler) obtainCertificate(ctx context.Context, s *refineryScope, issuer v1alpha1.IssuerReference) error {
	own := func(pair pki.PEMPair, bundle []byte) *corev1ac.SecretApplyConfiguration {
		return resource.RefineryCertificateSecret(s.refinery, pair, bundle)
	}
	o, err := r.obtain(ctx, r.apply, s.refinery, resource.RefineryCertificate(s.refinery, s.master, issuer, renewBefore(s.master, s.refinery.UID)), own)
	if err != nil {
		return err
	}
	var h held
	problem := o.problem
	s.agenda.atFuture(s.now.Add(o.recheck), s.now)
	if o.secret != nil {
		h, err = parseHeld(o.secret)
		if err == nil && problem == nil {
			err = r.verifyObtained(ctx, s, o, h)
		}
		if p := pki.AsProblem(inSecret(o.secret.Name, err)); problem == nil && p != nil {
			problem = p
		} else if p == nil && err != nil {
			return err
		}
	}
	leaf := h.leaf()
	if problem != nil {
		s.foundWrong(leaf, problem.Reason, problem.Message)
	} else {
		s.found(leaf, v1alpha1.ReasonIssued, obtainedMessage(o, issuer))
	}
	if leaf != nil {
		s.certificate.secret, s.certificate.secretUID = o.secret.Name, h.uid
		s.agenda.atFuture(leaf.NotBefore, s.now)
		s.agenda.atFuture(leaf.NotAfter.Add(time.Second), s.now)
	}
	return nil
}

// verifyObtained checks what cert-manager issued against the authority of the master. Where the two come from
// different ones, since that of the issuer changed, the older of the two is issued anew.
func (r *RefineryReconciler) verifyObtained(ctx context.Context, s *refineryScope, o obtained, h held) error {
	authority, err := r.masterAuthority(ctx, s)
	if err != nil {
		return err
	}
	if _, err := issuersBundle(o.secret, r.Clock.Now()); err != nil {
		return err
	}
	err = authority.VerifyClient(h.chain, s.refinery.Identity(), r.Clock.Now())
	if err == nil && !authority.IsIn(o.secret.Data[v1alpha1.AuthorityKey]) {
		err = &pki.Problem{Reason: v1alpha1.ReasonWrongAuthority, Message: fmt.Sprintf(
			"ca.crt lacks authorities that stand in ca.crt of Secret %s, so nodes may not trust the master", s.master.CertificateSecretName())}
	}
	if p := pki.AsProblem(err); p == nil || p.Reason != v1alpha1.ReasonWrongAuthority {
		return err
	}
	if reissued, failed := r.reissueOlder(ctx, s, o, h); failed != nil {
		return failed
	} else if reissued != "" {
		return &pki.Problem{Reason: v1alpha1.ReasonWrongAuthority, Message: fmt.Sprintf("%v; Certificate %s is issued anew, by the authority of today", err, reissued)}
	}
	return err
}

// reissueOlder has cert-manager issue the Refinery's certificate anew if it is older than the master's, and the
// master's if it is the older one. It returns the name of the Certificate, or "" if there is nothing to do yet.
func (r *RefineryReconciler) reissueOlder(ctx context.Context, s *refineryScope, o obtained, h held) (string, error) {
	secret, err := r.namedSecret(ctx, s.master.Namespace, s.master.CertificateSecretName())
	if err != nil {
		return "", err
	}
	served, err := parseHeld(secret)
	if err != nil {
		return "", nil //nolint:nilerr // the ClusterMaster says what is wrong with it
	}
	if h.leaf().NotBefore.Before(served.leaf().NotBefore) {
		// The Certificate was read after the Secret: what it says of being issued may be over, and in the Secret since.
		if now, err := r.namedSecret(ctx, s.refinery.Namespace, o.secret.Name); err != nil || now.ResourceVersion != o.secret.ResourceVersion {
			return "", err
		}
		return o.certificate.GetName(), r.reissue(ctx, o.certificate)
	}
	if due := served.leaf().NotBefore.Add(reissueMaster); r.Clock.Now().Before(due) {
		s.agenda.at(due)
		return "", nil
	}
	masters := &unstructured.Unstructured{}
	masters.SetGroupVersionKind(resource.CertificateKind)
	key := client.ObjectKey{Namespace: s.master.Namespace, Name: s.master.CertificateSecretName()}
	if err := r.Live.Get(ctx, key, masters); err != nil {
		return "", client.IgnoreNotFound(err)
	}
	if !metav1.IsControlledBy(masters, s.master) {
		return "", nil
	}
	return key.Name, r.reissue(ctx, masters)
}

// reissue asks for a new certificate in the way that cert-manager knows: its condition Issuing.
func (e *Environment) reissue(ctx context.Context, certificate *unstructured.Unstructured) error {
	if status, _ := statusCondition(certificate, "Issuing"); status == string(metav1.ConditionTrue) {
		return nil
	}
	want := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": []any{map[string]any{
		"type": "Issuing", "status": "True", "reason": "AuthorityChanged",
		"message":            "the certificates of the ClusterMaster and its Refineries come from different authorities",
		"lastTransitionTime": e.now().Format(time.RFC3339),
		"observedGeneration": certificate.GetGeneration(),
	}}}}}
	want.SetGroupVersionKind(resource.CertificateKind)
	want.SetNamespace(certificate.GetNamespace())
	want.SetName(certificate.GetName())
	want.SetUID(certificate.GetUID())
	if err := e.Client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(want),
		client.FieldOwner(v1alpha1.OperatorFieldOwner), client.ForceOwnership); err != nil {
		return fmt.Errorf("have Certificate %s issued anew: %w", certificate.GetName(), err)
	}
	return nil
}
