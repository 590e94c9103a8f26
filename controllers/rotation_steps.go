package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// rotateAuthority replaces an authority of the operator's making, in up to three writes, days apart or more if
// need be: the state of it is that authority's Secret alone. What the cache says is enough to wait; a write
// is decided on what the API server has.
func (r *ClusterMasterReconciler) rotateAuthority(ctx context.Context, s *masterScope) error {
	if s.master.Issuer() != nil {
		s.rotation = &rotation{}
		return nil
	}
	takesOver, err := r.takesOver(ctx, r.apply, s.master)
	if err != nil {
		return err
	}
	if _, named := s.master.NamedAuthority(); named || takesOver {
		s.handsOver = true // one thing at a time
		return nil
	}
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = s.master.Namespace, s.master.AuthoritySecretName()
	found, err := r.apply.Read(ctx, s.master, secret)
	if err != nil || !found {
		return err
	}
	if s.rotation, err = r.observeRotation(ctx, r.Client, s.master, secret, s.now); err != nil {
		return err
	}
	if s.rotation.next(s.now) != stay {
		err = r.advanceRotation(ctx, s)
	}
	if s.rotation.phase != pki.RotationIdle {
		s.agenda.at(s.now.Add(rotationRecheck))
	}
	s.agenda.atFuture(s.rotation.until, s.now)
	return err
}

// advanceRotation looks again, at the API server, and makes the transition that is to be made, if any.
func (r *ClusterMasterReconciler) advanceRotation(ctx context.Context, s *masterScope) error {
	m, secret := &v1alpha1.ClusterMaster{}, &corev1.Secret{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(s.master), m); err != nil {
		return fmt.Errorf("read ClusterMaster %s: %w", s.master.Name, err)
	}
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: m.AuthoritySecretName()}, secret)
	if apierrors.IsNotFound(err) || (err == nil && !metav1.IsControlledBy(secret, m)) {
		return nil // the next step has to do with that
	}
	if err != nil {
		return fmt.Errorf("read Secret %s: %w", m.AuthoritySecretName(), err)
	}
	if s.rotation, err = r.observeRotation(ctx, r.Live, m, secret, s.now); err != nil {
		return err
	}
	return r.advance(ctx, s, m, secret)
}

// observeRotation reads what a rotation depends on, nearly nothing while there is none.
func (r *ClusterMasterReconciler) observeRotation(ctx context.Context, reader client.Reader, m *v1alpha1.ClusterMaster, secret *corev1.Secret, now time.Time) (*rotation, error) {
	files, record := resource.ReadMasterAuthority(secret)
	asked := m.Annotations[v1alpha1.RotateCAAnnotation]
	found := &rotation{phase: files.Phase(), requested: asked != "" && asked != record.Asked}
	authority, err := files.Parse(r.Clock.Now())
	switch p := pki.AsProblem(err); {
	case p != nil && p.Reason == v1alpha1.ReasonExpired && found.phase == pki.RotationPreparing:
		found.spent = true
		return found, nil
	case err != nil:
		return &rotation{}, nil // one that is no good is shown by the next step, and left as it is
	case found.phase == pki.RotationIdle:
		found.until = authority.RotateAt(m.CertificatePeriods().CADuration)
		found.due = !now.Before(found.until)
		return found, nil
	}
	outgoing, incoming := authority.Certificates[0], authority.Certificates[1] // next.crt, or previous.crt, follows what signs
	if found.phase == pki.RotationActivating {
		outgoing, incoming = incoming, outgoing
	}
	found.spent, found.incoming = !now.Before(outgoing.NotAfter), v1alpha1.Fingerprint(incoming)
	if !record.Requested {
		record.Asked = ""
	}
	found.forced = forcesRotation(m, found.phase, record.Asked)
	found.progress, err = r.count(ctx, reader, m, found.phase, authority)
	found.settle(m, record.Began)
	return found, err
}

// advance makes the transition that is to be made, if any, to the Secret as it was read.
func (r *ClusterMasterReconciler) advance(ctx context.Context, s *masterScope, m *v1alpha1.ClusterMaster, secret *corev1.Secret) error {
	files, record := resource.ReadMasterAuthority(secret)
	before, next := s.rotation, s.rotation.next(s.now)
	switch next {
	case prepare:
		pair, err := pki.NewAuthority(m.Namespace+"/"+m.Name, m.CertificatePeriods().CADuration, r.Clock.Now())
		if err != nil {
			return err
		}
		files = files.Prepare(pair)
		if record.Requested = before.requested; record.Requested {
			record.Asked = m.Annotations[v1alpha1.RotateCAAnnotation]
		}
	case activate:
		files = files.Activate()
	case retire:
		files = files.Retire()
	default:
		return nil
	}
	record.Began = s.now
	desired := over(resource.MasterAuthoritySecret(m, files, record), secret.UID).WithResourceVersion(secret.ResourceVersion)
	if err := r.apply.Apply(ctx, m, desired); err != nil {
		return err
	}
	if before.forced && before.held() {
		s.forced = before.waiting()
	}
	log.FromContext(ctx).Info("Rotated the authority", "from", before.phase, "to", files.Phase(), "forced", s.forced != "")
	secret.Data, secret.Annotations = desired.Data, desired.Annotations
	var err error
	s.rotation, err = r.observeRotation(ctx, r.Live, m, secret, s.now)
	return err
}

// tellOfIgnoredRequest adds to a good CertificateReady that annotation rotate-ca asks for what the operator cannot do,
// unless it did so when the authority was its own.
func (r *ClusterMasterReconciler) tellOfIgnoredRequest(ctx context.Context, s *masterScope) error {
	words := ignoredRequest(s.master)
	if words == "" || s.certificate.condition.Status != metav1.ConditionTrue {
		return nil
	}
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = s.master.Namespace, s.master.AuthoritySecretName()
	found, err := r.apply.Read(ctx, s.master, secret)
	if _, taken := errors.AsType[*apply.ConflictError](err); err != nil && !taken {
		return err
	}
	if _, record := resource.ReadMasterAuthority(secret); !found || record.Asked != s.master.Annotations[v1alpha1.RotateCAAnnotation] {
		s.certificate.condition.Message += "; " + words
	}
	return nil
}

// ignoredRequest says what to do in place of asking the operator for another authority, or "" where it can be asked,
// or is not.
func ignoredRequest(m *v1alpha1.ClusterMaster) string {
	if m.Annotations[v1alpha1.RotateCAAnnotation] == "" {
		return ""
	}
	if issuer := m.Issuer(); issuer != nil {
		return fmt.Sprintf("annotation %s has no effect with certificates.issuerRef: have %s %s sign by another authority, and then Certificate %s issued anew; take the annotation away",
			v1alpha1.RotateCAAnnotation, issuer.Kind, issuer.Name, m.CertificateSecretName())
	}
	if name, named := m.NamedAuthority(); named {
		return fmt.Sprintf("annotation %s has no effect with certificates.authority: put another authority into Secret %s, or name another Secret; take the annotation away",
			v1alpha1.RotateCAAnnotation, name)
	}
	return ""
}
