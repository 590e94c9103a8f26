package controllers

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

// validate checks what CEL has no words for.
func (r *ClusterMasterReconciler) validate(_ context.Context, s *masterScope) error {
	if why := refusedShared(s.master); why != "" {
		return &stalledError{v1alpha1.ReasonInvalidReference, why}
	}
	versions := s.master.Spec.Protocol.AcceptedVersions
	if versions == "" {
		return nil
	}
	if _, err := semver.NewConstraint(versions); err != nil {
		return &stalledError{v1alpha1.ReasonInvalidVersions,
			fmt.Sprintf("spec.protocol.acceptedVersions %q is no semver constraint: %v", versions, err)}
	}
	return nil
}

// reconcileAuthority makes an authority where none is named and none was made, or where nobody relies on it any more,
// since it has expired. One that is no good otherwise is left for a person to delete: a new one takes the trust from
// every running node.
func (r *ClusterMasterReconciler) reconcileAuthority(ctx context.Context, s *masterScope) error {
	s.certificate = &certificateFound{}
	if s.master.Issuer() != nil { // it has one, and shows it with the certificate
		return nil
	}
	_, named := s.master.NamedAuthority()
	switch made, err := r.findAuthority(ctx, s); {
	case err != nil:
		return err
	case !made:
		return r.makeAuthority(ctx, s)
	case !named && s.authority == nil && s.authorityEnd.Before(s.now) && !s.authorityEnd.IsZero():
		log.FromContext(ctx).Info("The authority has expired before it was replaced: making another", "expired", s.authorityEnd)
		s.certificate = &certificateFound{}
		return r.makeAuthority(ctx, s)
	case named, s.authority == nil:
		return nil
	default:
		return r.keepAuthority(ctx, s)
	}
}

// findAuthority takes the authority for the pass, or tells what is wrong with it. made is false while the operator's own
// does not exist.
func (r *ClusterMasterReconciler) findAuthority(ctx context.Context, s *masterScope) (made bool, err error) {
	authority, err := r.authority(ctx, r.apply, s.master)
	_, named := s.master.NamedAuthority()
	problem := pki.AsProblem(err)
	switch {
	case err == nil:
		s.judgeBy(authority)
		return true, nil
	case errors.Is(err, errAuthorityNotMade):
		return false, nil
	case problem == nil:
		return true, err
	case named:
		s.foundWrong(problem.Reason, "certificates.authority: "+problem.Message)
	case s.master.Issuer() != nil:
		s.foundWrong(problem.Reason, problem.Message)
	default:
		s.foundWrong(v1alpha1.ReasonAuthorityNotReady,
			problem.Message+"; delete this Secret and a new authority is made, and with it all certificates")
	}
	return true, r.lookAtExpired(ctx, s)
}

// judgeBy takes an authority for the pass, and looks again when its end has come.
func (s *masterScope) judgeBy(authority *pki.Authority) {
	s.authority, s.authorityEnd = authority, authority.Certificates[0].NotAfter
	s.agenda.atFuture(authority.Certificates[0].NotAfter.Add(time.Second), s.now)
}

// makeAuthority makes an authority, in the place of the one that there is.
func (r *ClusterMasterReconciler) makeAuthority(ctx context.Context, s *masterScope) error {
	replaced := &corev1.Secret{}
	replaced.Namespace, replaced.Name = s.master.Namespace, s.master.AuthoritySecretName()
	found, err := r.apply.Read(ctx, s.master, replaced)
	if err == nil && !found {
		err = r.requireUnmounted(ctx, s.master, replaced.Name)
	}
	if err != nil {
		return err
	}
	pair, err := pki.NewAuthority(s.master.Namespace+"/"+s.master.Name, s.master.CertificatePeriods().CADuration, r.Clock.Now())
	if err != nil {
		return err
	}
	authority, err := pki.ParseAuthority(pair.Certificate, pair.Key, r.Clock.Now())
	if err != nil {
		return err
	}
	s.judgeBy(authority)
	s.authority.LeafDuration = s.master.CertificatePeriods().Duration
	if err := r.retain(ctx, r.apply, s.master, s.authority); err != nil {
		return err
	}
	record := resource.AuthorityRecord{Asked: s.master.Annotations[v1alpha1.RotateCAAnnotation]} // it is as new as can be
	desired := resource.MasterAuthoritySecret(s.master, pki.AuthorityFiles{Current: pair}, record)
	if found {
		desired = over(desired, replaced.UID).WithResourceVersion(replaced.ResourceVersion)
	}
	return r.apply.Apply(ctx, s.master, desired)
}

// keepAuthority puts back labels and owner of the Secret, should someone have taken them.
func (r *ClusterMasterReconciler) keepAuthority(ctx context.Context, s *masterScope) error {
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = s.master.Namespace, s.master.AuthoritySecretName()
	if found, err := r.apply.Read(ctx, s.master, secret); err != nil || !found {
		return err
	}
	files, record := resource.ReadMasterAuthority(secret)
	return r.apply.Apply(ctx, s.master, over(resource.MasterAuthoritySecret(s.master, files, record), secret.UID).
		WithResourceVersion(secret.ResourceVersion))
}

// reconcileCertificate keeps the certificate that the master serves. With an authority that came without
// its key, the user brings it under the name that the operator would have used.
func (r *ClusterMasterReconciler) reconcileCertificate(ctx context.Context, s *masterScope) error {
	name := s.master.CertificateSecretName()
	if issuer := s.master.Issuer(); issuer != nil {
		return r.obtainCertificate(ctx, s, *issuer)
	}
	if err := r.removeCertificate(ctx, r.apply, s.master, name); err != nil {
		return err
	}
	if s.authority == nil {
		_, err := r.readServed(ctx, s)
		if pki.AsProblem(err) != nil {
			return nil // the authority has to be put right first
		}
		return err
	}
	if s.authority.Key == nil {
		s.rotation = &rotation.Rotation{}
		return r.verifyBrought(ctx, s)
	}
	secret := r.issuedSecret(s)
	found, current, v, err := r.read(ctx, r.apply, secret)
	if err == nil && !found {
		err = r.requireUnmounted(ctx, s.master, secret.name)
	}
	if taken, ok := errors.AsType[*apply.ConflictError](err); ok {
		s.foundWrong(v1alpha1.ReasonNameConflict, taken.Error())
	}
	if err != nil {
		return err
	}
	var issued held
	var fresh verdict
	if v.renew || !s.authority.Signed(current.leaf()) { // before another takes its place: it has to be able to
		if issued, fresh, err = secret.renew(current, r.Clock.Now()); pki.AsProblem(err) != nil {
			s.refuseIssued(current.leaf(), pki.AsProblem(err))
			return nil
		} else if err != nil {
			return err
		}
	}
	served, err := r.served(ctx, r.apply, s.master)
	if err != nil {
		return err
	}
	inServed := rotation.InServedStore(s.master, served)
	if inServed {
		if err := r.rotateServed(ctx, s, &secret, current, &v); err != nil {
			return err
		}
	}
	if v.renew {
		current, v = issued, fresh
	}
	desired := resource.MasterCertificateSecret(s.master, current.pair, secret.bundle(current, v))
	if name, provided := s.master.NamedAuthority(); provided {
		resource.WithProvidedAuthority(desired, name)
	}
	if inServed && s.rotation.Phase != pki.RotationIdle {
		resource.WithPhaseBegan(desired, s.rotation.Began)
	}
	if err := r.apply.Apply(ctx, s.master, current.replacedBy(desired)); err != nil {
		return err
	}
	s.certificate.leaf, s.trusted = current.leaf(), secret.authority
	s.found(v1alpha1.ReasonIssued, issuedByOperator(secret.name))
	s.agenda.renewal(v, current.leaf(), s.now)
	return nil
}

// refuseIssued tells why the authority cannot issue. What is in use stays so, and nothing is written.
func (s *masterScope) refuseIssued(inUse *x509.Certificate, p *pki.Problem) {
	s.certificate.leaf = inUse
	s.foundWrong(p.Reason, "the certificate authority cannot issue: "+p.Message)
	if inUse != nil {
		s.agenda.atFuture(inUse.NotAfter.Add(time.Second), s.now)
	}
}

func (r *ClusterMasterReconciler) issuedSecret(s *masterScope) issuedSecret {
	names := resource.MasterDNSNames(s.master)
	return issuedSecret{
		owner:     s.master,
		name:      s.master.CertificateSecretName(),
		authority: s.authority,
		before:    renewBefore(s.master, s.master.UID),
		verify: func(chain []*x509.Certificate) error {
			return s.authority.VerifyServer(chain, names, r.Clock.Now())
		},
		issue: func() (pki.PEMPair, error) {
			return s.authority.IssueServer(s.master.Name, names, r.Clock.Now())
		},
	}
}

func (r *ClusterMasterReconciler) verifyBrought(ctx context.Context, s *masterScope) error {
	name := s.master.CertificateSecretName()
	h, err := r.readServed(ctx, s)
	if p := pki.AsProblem(err); p != nil && p.Reason == v1alpha1.ReasonSecretNotFound {
		s.foundWrong(v1alpha1.ReasonAuthorityWithoutKey, fmt.Sprintf(
			"certificates.authority came without its key, so nothing can be issued: make Secret %s with tls.crt, a certificate that the "+
				"authority signed for the DNS SANs %s, its key as tls.key, and the authority as ca.crt",
			name, strings.Join(resource.MasterDNSNames(s.master), ", ")))
		return nil
	}
	if err == nil && !s.authority.IsIn(h.bundle) {
		err = &pki.Problem{Reason: v1alpha1.ReasonSecretKeyMissing,
			Message: "ca.crt is missing or lacks the certificates of certificates.authority, by which nodes are verified; put in all of its tls.crt"}
	}
	if err == nil {
		err = s.authority.VerifyServer(h.chain, resource.MasterDNSNames(s.master), r.Clock.Now())
	}
	if p := pki.AsProblem(inSecret(name, err)); p != nil {
		s.foundWrong(p.Reason, p.Message)
		return nil
	} else if err != nil {
		return err
	}
	s.found(v1alpha1.ReasonProvided, providedIn(name))
	s.agenda.atFuture(h.leaf().NotAfter.Add(time.Second), s.now)
	return nil
}

// reconcileShared keeps the bearer secret of SharedCertificate authentication, and removes the operator's
// own where it is not used.
func (r *ClusterMasterReconciler) reconcileShared(ctx context.Context, s *masterScope) error {
	own := &corev1.Secret{}
	own.Namespace, own.Name = s.master.Namespace, s.master.OwnSharedSecretName()
	shared := s.master.Spec.Security.Authentication == v1alpha1.AuthenticationSharedCertificate
	named := s.master.Spec.Certificates != nil && s.master.Spec.Certificates.Shared != nil
	switch {
	case shared && named:
		if err := r.verifyShared(ctx, s); err != nil || s.master.SharedSecretName() == own.Name {
			return err
		}
		return r.apply.Delete(ctx, s.master, own)
	case shared:
		return r.keepShared(ctx, s, own)
	default:
		return r.apply.Delete(ctx, s.master, own)
	}
}

func (r *ClusterMasterReconciler) keepShared(ctx context.Context, s *masterScope, own *corev1.Secret) error {
	found, err := r.apply.Read(ctx, s.master, own)
	if err == nil && !found {
		err = r.requireUnmounted(ctx, s.master, own.Name)
	}
	if err != nil {
		return err
	}
	certificate := own.Data[v1alpha1.SharedCertificateKey]
	if len(bytes.TrimSpace(certificate)) == 0 {
		certificate = []byte(rand.Text() + rand.Text()) // 260 random bits
	}
	return r.apply.Apply(ctx, s.master, over(resource.MasterSharedSecret(s.master, certificate), own.UID))
}

func (r *ClusterMasterReconciler) verifyShared(ctx context.Context, s *masterScope) error {
	secret, err := r.namedSecret(ctx, s.master.Namespace, s.master.SharedSecretName())
	if p := pki.AsProblem(err); p != nil {
		s.foundWrong(p.Reason, "certificates.shared: "+p.Message)
		return nil
	}
	if err != nil {
		return err
	}
	switch value := secret.Data[v1alpha1.SharedCertificateKey]; {
	case len(bytes.TrimSpace(value)) == 0:
		s.foundWrong(v1alpha1.ReasonSecretKeyMissing, fmt.Sprintf(
			"certificates.shared: Secret %s: key %s is missing or empty", secret.Name, v1alpha1.SharedCertificateKey))
	case len(value) > pki.MaxPEMBytes:
		s.foundWrong(v1alpha1.ReasonTooLarge, fmt.Sprintf(
			"certificates.shared: Secret %s: %s has %d bytes, more than the %d that a node may send",
			secret.Name, v1alpha1.SharedCertificateKey, len(value), pki.MaxPEMBytes))
	}
	return nil
}

func (r *ClusterMasterReconciler) reconcileAccess(ctx context.Context, s *masterScope) error {
	for _, desired := range []apply.Configuration{
		resource.MasterServiceAccount(s.master),
		resource.MasterRole(s.master),
		resource.MasterRoleBinding(s.master),
	} {
		if err := r.apply.Apply(ctx, s.master, desired); err != nil {
			return err
		}
	}
	return nil
}

func (r *ClusterMasterReconciler) reconcileService(ctx context.Context, s *masterScope) error {
	return r.apply.Apply(ctx, s.master, resource.MasterService(s.master))
}

func (r *ClusterMasterReconciler) reconcileDeployment(ctx context.Context, s *masterScope) error {
	desired, err := resource.MasterDeployment(s.master, r.Images)
	if err != nil {
		return err
	}
	if err := r.apply.Apply(ctx, s.master, desired); err != nil {
		return err
	}
	s.written = r.apply.Written(s.master, "Deployment", s.master.Name)
	return nil
}
