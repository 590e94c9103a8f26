package clustermaster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

// authorityFound is what a pass found of the authority of a ClusterMaster.
type authorityFound struct {
	// authority is nil while it is missing or not valid.
	authority *pki.Authority
	// end is when it ends, or has ended; zero while that is not known.
	end time.Time
	// problem is what is wrong with it.
	problem *pki.Problem
	// unusable reports whether it is one that the ClusterMaster must not use.
	unusable bool
	// lost reports whether this pass made it in place of one whose Secret was deleted.
	lost bool
}

// goodAuthority is the finding for a valid authority.
func goodAuthority(authority *pki.Authority) *authorityFound {
	return &authorityFound{authority: authority, end: authority.Certificates[0].NotAfter}
}

// refused ends the pass if the authority is one that the ClusterMaster must not use.
func (f *authorityFound) refused(recheck time.Duration) error {
	if !f.unusable {
		return nil
	}
	return &reconcile.StalledError{Reason: f.problem.Reason, Message: f.problem.Message, Recheck: recheck}
}

// endOf returns when the authority in the value of a Secret expires, whether or not it is valid otherwise; zero if it
// does not parse.
func endOf(key string, value []byte) time.Time {
	chain, err := pki.ParseCertificates(key, value)
	if err != nil {
		return time.Time{}
	}
	return chain[0].NotAfter
}

// rotateAuthority continues a rotation from one authority that the operator created to another. If one of the two is
// provided, or the former one lost, issueCertificate continues the rotation, together with the certificate that the master serves.
func (r *Reconciler) rotateAuthority(ctx context.Context, s *scope) (*rotation.Rotation, error) {
	if s.master.Issuer() != nil {
		return &rotation.Rotation{}, nil
	}
	authority, err := rotation.Authority(ctx, s.secrets, s.master, s.now)
	if _, provided := s.master.NamedAuthority(); provided || (err == nil && authority.InServed) {
		return nil, nil //nolint:nilerr // reconcileAuthority shows it
	}
	secret, err := s.secrets.Own(ctx, s.master, s.master.AuthoritySecretName())
	if err != nil || secret == nil {
		return nil, err
	}
	return r.rotate(ctx, s, &rotation.OwnStore{Secret: secret,
		Apply: func(ctx context.Context, m *v1alpha1.ClusterMaster, secret *corev1ac.SecretApplyConfiguration) error {
			return s.secrets.Apply(ctx, m, secret)
		}})
}

func (r *Reconciler) rotate(ctx context.Context, s *scope, store rotation.Store) (*rotation.Rotation, error) {
	rotator := rotation.Rotator{Cache: r.env.Client, Live: r.env.Live, Secrets: s.secrets}
	return rotator.Rotate(ctx, s.master, store, s.now)
}

// reconcileAuthority creates an authority if none is provided and none exists, or if the operator's has expired, so
// that nobody relies on it any more. An authority that is not valid for another reason stays until a person deletes it:
// a new one would not be trusted by any running node.
func (r *Reconciler) reconcileAuthority(ctx context.Context, s *scope) (*authorityFound, error) {
	if s.master.Issuer() != nil { // it has one, and shows it with the certificate
		return &authorityFound{}, nil
	}
	_, provided := s.master.NamedAuthority()
	found, err := r.findAuthority(ctx, s)
	switch {
	case errors.Is(err, rotation.ErrNotMade):
		return r.makeAuthority(ctx, s)
	case err != nil, provided:
		return found, err
	case found.authority == nil && found.end.Before(s.now) && !found.end.IsZero():
		log.FromContext(ctx).Info("The authority expired before it was replaced: creating another", "expired", found.end)
		return r.makeAuthority(ctx, s)
	default:
		return found, nil
	}
}

// findAuthority returns the authority, or what is wrong with it. The error is rotation.ErrNotMade while the operator's own
// does not exist.
func (r *Reconciler) findAuthority(ctx context.Context, s *scope) (*authorityFound, error) {
	if why, err := r.env.RefusedAuthority(ctx, s.master); err != nil || why != "" {
		return &authorityFound{problem: &pki.Problem{Reason: v1alpha1.ReasonInvalidReference, Message: why}, unusable: why != ""}, err
	}
	authority, err := rotation.Authority(ctx, s.secrets, s.master, s.now)
	problem := pki.AsProblem(err)
	switch _, provided := s.master.NamedAuthority(); {
	case err == nil:
		return goodAuthority(authority), nil
	case problem == nil:
		return &authorityFound{}, err
	case provided:
		problem = &pki.Problem{Reason: problem.Reason, Message: "certificates.authority: " + problem.Message}
	case s.master.Issuer() == nil:
		problem = &pki.Problem{Reason: v1alpha1.ReasonAuthorityNotReady,
			Message: problem.Message + "; delete this Secret, then the operator creates another authority, which takes the place of this one while nodes keep their sessions"}
	}
	end, err := authorityEnd(ctx, s)
	return &authorityFound{problem: problem, end: end}, err
}

// authorityEnd returns when an authority that is not valid expires or has expired, for the metrics.
func authorityEnd(ctx context.Context, s *scope) (time.Time, error) {
	name, key := s.master.AuthoritySecretName(), corev1.TLSCertKey
	if provided, ok := s.master.NamedAuthority(); ok {
		name = provided
	} else if s.master.Issuer() != nil {
		name, key = s.master.CertificateSecretName(), v1alpha1.AuthorityKey
	}
	secret, err := s.secrets.Provided(ctx, s.master.Namespace, name)
	if pki.AsProblem(err) != nil {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return endOf(key, secret.Data[key]), nil
}

// makeAuthority creates an authority. It replaces the one that exists, if any.
func (r *Reconciler) makeAuthority(ctx context.Context, s *scope) (*authorityFound, error) {
	replaced, err := s.secrets.Own(ctx, s.master, s.master.AuthoritySecretName())
	if err == nil && replaced == nil {
		err = r.env.RequireUnmounted(ctx, s.master, s.master.AuthoritySecretName())
	}
	if err != nil {
		return &authorityFound{}, err
	}
	pair, err := pki.NewAuthorityWithKey(s.master.Namespace+"/"+s.master.Name, s.master.PrivateKey(), s.master.CertificatePeriods().CADuration, s.now)
	if err != nil {
		return &authorityFound{}, err
	}
	authority, err := pki.ParseAuthority(pair.Certificate, pair.Key, s.now)
	if err != nil {
		return &authorityFound{}, err
	}
	authority.LeafDuration, authority.LeafKey = s.master.CertificatePeriods().Duration, s.master.PrivateKey()
	found := goodAuthority(authority)
	if err := rotation.RetainServed(ctx, s.secrets, s.master, authority, s.now); err != nil {
		return found, err
	}
	served, err := rotation.Served(ctx, s.secrets, s.master)
	if err != nil {
		return found, err
	}
	found.lost = replaced == nil && authority.InServed && !resource.HasProvidedAuthority(served)
	record := resource.AuthorityRecord{Asked: s.master.Annotations[v1alpha1.RotateCAAnnotation]} // it is as new as can be
	desired := resource.MasterAuthoritySecret(s.master, pki.AuthorityFiles{Current: pair}, record)
	if replaced != nil {
		desired = desired.WithUID(replaced.UID).WithResourceVersion(replaced.ResourceVersion)
	}
	return found, s.secrets.Apply(ctx, s.master, desired)
}

// keepAuthority restores the labels of the Secret, and the owner that it has by spec.certificates.deletionPolicy, whether or
// not the authority is in use or valid: it goes, or stays, with the ClusterMaster in any case.
func (r *Reconciler) keepAuthority(ctx context.Context, s *scope) error {
	name := s.master.AuthoritySecretName()
	if _, provided := s.master.NamedAuthority(); provided || s.master.Issuer() != nil {
		cached, err := s.secrets.Cached(ctx, s.master.Namespace, name)
		if err != nil || cached == nil || !apply.Owns(s.master, cached) {
			return err // there is none from before
		}
	}
	secret, err := s.secrets.Own(ctx, s.master, name)
	if err != nil || secret == nil {
		return err
	}
	files, record := resource.ReadMasterAuthority(secret)
	if len(files.Current.Certificate) == 0 || len(files.Current.Key) == 0 {
		return nil // nothing is left of it
	}
	return s.secrets.Apply(ctx, s.master, resource.MasterAuthoritySecret(s.master, files, record).WithUID(secret.UID).
		WithResourceVersion(secret.ResourceVersion))
}

// servedFound is what a pass found of the certificate that the master serves.
type servedFound struct {
	certificate *certificates.Finding
	// authority and rotation are set where they come with the certificate.
	authority *authorityFound
	rotation  *rotation.Rotation
	// trusted is what was put into the trust bundle, or nil.
	trusted *pki.Authority
}

// nameTaken makes a finding with reason NameConflict of a *ConflictError: a Secret or Certificate of the needed name
// belongs to someone else. It returns err too, which ends the pass.
func nameTaken(err error) (servedFound, error) {
	taken, ok := errors.AsType[*apply.ConflictError](err)
	if !ok {
		return servedFound{}, err
	}
	return servedFound{certificate: &certificates.Finding{Condition: certificates.NotReady(v1alpha1.ReasonNameConflict, taken.Error())}}, err
}

// reconcileCertificate keeps the certificate that the master serves. With an authority that came without
// its key, the user provides it under the name that the operator would have used. authority is nil if it is not valid.
func (r *Reconciler) reconcileCertificate(ctx context.Context, s *scope, authority *pki.Authority) (servedFound, error) {
	if issuer := s.master.Issuer(); issuer != nil {
		return r.obtainCertificate(ctx, s, *issuer)
	}
	if err := r.env.Sources(s.now).RemoveCertificate(ctx, r.apply, s.master, s.master.CertificateSecretName()); err != nil {
		return servedFound{}, err
	}
	switch {
	case authority == nil: // which has to be put right first
		c, err := readServed(ctx, s)
		if pki.AsProblem(err) != nil {
			err = nil
		}
		return servedFound{certificate: &certificates.Finding{Leaf: c.Leaf()}}, err
	case authority.Key == nil:
		found, err := r.verifyProvided(ctx, s, authority)
		return servedFound{certificate: found, rotation: &rotation.Rotation{}}, err
	default:
		return r.issueCertificate(ctx, s, authority)
	}
}

// issueCertificate issues and renews the certificate that the master serves. If the old or the new authority is provided, or
// the old one lost, it also continues the rotation: the master serves its current certificate until everybody trusts the new
// authority, and then a reissued one.
func (r *Reconciler) issueCertificate(ctx context.Context, s *scope, authority *pki.Authority) (found servedFound, err error) {
	issued := r.issued(s, authority)
	exists, current, v, err := r.env.Sources(s.now).Read(ctx, s.secrets, issued)
	if err == nil && !exists {
		err = r.env.RequireUnmounted(ctx, s.master, issued.Name)
	}
	if err != nil {
		return nameTaken(err)
	}
	if v.Renew || !authority.Signed(current.Leaf()) { // before another takes its place: it has to be able to
		trial := *authority
		trial.LeafKey = v1alpha1.PrivateKeySpec{} // which takes no time to make
		if _, _, err = r.issued(s, &trial).Renew(current, s.now); pki.AsProblem(err) != nil {
			found.certificate = &certificates.Finding{Leaf: current.Leaf()}
			found.certificate.CannotIssue("the certificate authority", pki.AsProblem(err), s.now)
			return found, nil
		} else if err != nil {
			return found, err
		}
	}
	if authority.InServed {
		store := &rotation.ServedStore{Authority: authority, Served: current, Good: v.Good}
		if found.rotation, err = r.rotate(ctx, s, store); err != nil {
			return found, err
		}
		issued.Authority = store.Authority
		found.authority = goodAuthority(store.Authority)
		if found.rotation.Phase == pki.RotationPreparing {
			v = certificates.Verdict{Good: true, Due: current.Leaf().NotAfter}
		}
		v.Renew = v.Renew || !store.Good
	}
	if v.Renew {
		if current, v, err = issued.Renew(current, s.now); err != nil {
			return found, err
		}
	}
	desired := resource.MasterCertificateSecret(s.master, current.Pair, issued.Bundle(current, v))
	if name, provided := s.master.NamedAuthority(); provided {
		resource.WithProvidedAuthority(desired, name)
	}
	if found.rotation != nil && found.rotation.Phase != pki.RotationIdle {
		resource.WithPhaseBegan(desired, found.rotation.Began)
	}
	r.publishTrust(ctx, s, issued.Bundle(current, v)) // a new authority is known before it signs
	if err := s.secrets.Apply(ctx, s.master, current.ReplacedBy(desired)); err != nil {
		return found, err
	}
	found.trusted = issued.Authority
	found.certificate = &certificates.Finding{Leaf: current.Leaf(), Condition: issued.Ready(current.Leaf())}
	found.certificate.RecheckAt(v.RecheckAt(current.Leaf()), s.now)
	return found, nil
}

func (r *Reconciler) issued(s *scope, authority *pki.Authority) certificates.Issued {
	names := resource.MasterNames(s.master, r.env.ClusterDomain)
	return certificates.Issued{
		Owner:       s.master,
		Name:        s.master.CertificateSecretName(),
		Authority:   authority,
		RenewBefore: certificates.RenewBefore(s.master, s.master.UID),
		Verify: func(chain []*x509.Certificate) error {
			return authority.VerifyServer(chain, []string{resource.MasterServerName(s.master)}, s.now)
		},
		Complete: func(leaf *x509.Certificate) bool { return pki.IsFor(leaf, names) },
		Issue: func() (pki.PEMPair, error) {
			return authority.IssueServer(s.master.Name, names, s.now)
		},
	}
}

// verifyProvided judges the certificate that a user provides because the authority was provided without its key.
func (r *Reconciler) verifyProvided(ctx context.Context, s *scope, authority *pki.Authority) (*certificates.Finding, error) {
	name := s.master.CertificateSecretName()
	c, err := readServed(ctx, s)
	found := &certificates.Finding{Leaf: c.Leaf()}
	switch p := pki.AsProblem(err); {
	case p != nil && p.Reason == v1alpha1.ReasonSecretNotFound:
		found.Condition = certificates.NotReady(v1alpha1.ReasonAuthorityWithoutKey, fmt.Sprintf(
			"certificates.authority is provided without its key, so the operator cannot issue: create Secret %s with tls.crt, a certificate that the "+
				"authority signed for the DNS SAN %s, its key as tls.key, and the authority as ca.crt",
			name, resource.MasterServerName(s.master)))
		return found, nil
	case err == nil:
		err = judgeProvided(s, authority, c)
	}
	err = found.Judge(certificates.InSecret(name, err), certificates.ReadyIn(name, true, nil))
	if found.Condition.Status == metav1.ConditionTrue {
		found.RecheckAtEnd(s.now)
		if bundle, err := pki.ParseCertificates(v1alpha1.AuthorityKey, c.Bundle); err == nil {
			r.publishTrust(ctx, s, pki.EncodeCertificates(bundle)) // and no other text that a user put beside them
		}
	}
	return found, err
}

// publishTrust publishes the trust bundle that goes with what the master serves. If it cannot, that ends the pass once everything
// else is done: nodes do not depend on it.
func (r *Reconciler) publishTrust(ctx context.Context, s *scope, bundle []byte) {
	s.unpublished = r.apply.Apply(ctx, s.master, resource.MasterTrust(s.master, bundle))
}

// judgeProvided says what is wrong with a certificate that a user provides for the master, and with the trust bundle beside
// it. Nodes verify one name of the master, so no other is asked for.
func judgeProvided(s *scope, authority *pki.Authority, c certificates.Certificate) error {
	if _, err := pki.ParseCertificates(v1alpha1.AuthorityKey, c.Bundle); err != nil {
		return err
	}
	if !authority.IsIn(c.Bundle) {
		return &pki.Problem{Reason: v1alpha1.ReasonSecretKeyMissing,
			Message: "ca.crt lacks certificates of certificates.authority, by which nodes are verified; put in all of its tls.crt"}
	}
	return authority.VerifyServer(c.Chain, []string{resource.MasterServerName(s.master)}, s.now)
}

// readServed reads the certificate that the master serves. If it is missing or does not parse, the error is a
// *pki.Problem.
func readServed(ctx context.Context, s *scope) (certificates.Certificate, error) {
	secret, err := s.secrets.Provided(ctx, s.master.Namespace, s.master.CertificateSecretName())
	if err != nil {
		return certificates.Certificate{}, err
	}
	return certificates.Parse(secret)
}

// inspectCertificate reports whether the authority and the certificate that the master serves are valid. It writes nothing.
// A paused ClusterMaster needs it too, because certificates expire meanwhile.
func (r *Reconciler) inspectCertificate(ctx context.Context, s *scope) (*authorityFound, *certificates.Finding, error) {
	found := &certificates.Finding{ReadOnly: true}
	authority, err := r.findAuthority(ctx, s)
	if errors.Is(err, rotation.ErrNotMade) {
		return &authorityFound{}, found, nil
	} else if err != nil {
		return authority, found, err
	}
	c, err := readServed(ctx, s)
	name, good := s.master.CertificateSecretName(), metav1.Condition{}
	if a := authority.authority; a != nil { // otherwise its problem is shown
		provided := a.Key == nil && s.master.Issuer() == nil
		good = certificates.ReadyIn(name, provided, s.master.Issuer())
		switch {
		case err != nil:
		case provided:
			err = judgeProvided(s, a, c)
		default:
			err = a.VerifyServer(c.Chain, []string{resource.MasterServerName(s.master)}, s.now)
		}
	}
	found.Leaf = c.Leaf()
	found.RecheckAtEnd(s.now)
	return authority, found, found.Judge(certificates.InSecret(name, err), good)
}

// obtainCertificate has cert-manager issue what the master serves, and looks at what it put into the Secret.
func (r *Reconciler) obtainCertificate(ctx context.Context, s *scope, issuer v1alpha1.IssuerReference) (servedFound, error) {
	own := func(pair pki.PEMPair, bundle []byte) *corev1ac.SecretApplyConfiguration {
		return resource.MasterCertificateSecret(s.master, pair, bundle)
	}
	want := resource.MasterCertificate(s.master, issuer, r.env.ClusterDomain, certificates.RenewBefore(s.master, s.master.UID))
	o, err := r.env.Sources(s.now).Obtain(ctx, r.apply, s.master, want, own)
	if err != nil {
		return nameTaken(err)
	}
	found := servedFound{certificate: &certificates.Finding{}}
	found.certificate.RecheckAt(s.now.Add(o.Recheck), s.now)
	if o.Secret != nil {
		found.certificate.Leaf, found.authority, err = r.readObtained(s, o.Secret)
		if err == nil {
			r.publishTrust(ctx, s, found.authority.authority.BundlePEM())
		}
		err = certificates.InSecret(o.Secret.Name, err)
	}
	found.certificate.RecheckAtEnd(s.now)
	return found, found.certificate.Judge(o.Or(err), o.Ready(found.certificate.Leaf))
}

// readObtained reads authority and certificate of the master. What is wrong is a *pki.Problem.
func (r *Reconciler) readObtained(s *scope, secret *corev1.Secret) (leaf *x509.Certificate, authority *authorityFound, err error) {
	c, err := certificates.Parse(secret)
	if err != nil {
		return c.Leaf(), nil, err
	}
	bundle, err := certificates.IssuersBundle(secret, s.now)
	if err != nil {
		return c.Leaf(), &authorityFound{end: endOf(v1alpha1.AuthorityKey, c.Bundle)}, err
	}
	return c.Leaf(), goodAuthority(bundle), bundle.VerifyServer(c.Chain, []string{resource.MasterServerName(s.master)}, s.now)
}

// addIgnoredRequest adds to the message of a valid certificate that annotation rotate-ca has no effect, unless the
// operator already carried out that request with an authority that it created.
func (r *Reconciler) addIgnoredRequest(ctx context.Context, s *scope, found *certificates.Finding) (*certificates.Finding, error) {
	words := rotation.IgnoredRequest(s.master)
	if words == "" || found.Condition.Status != metav1.ConditionTrue {
		return found, nil
	}
	secret, err := s.secrets.Own(ctx, s.master, s.master.AuthoritySecretName())
	if _, taken := errors.AsType[*apply.ConflictError](err); err != nil && !taken && pki.AsProblem(err) == nil {
		return found, err
	}
	if secret != nil {
		if _, record := resource.ReadMasterAuthority(secret); record.Asked == s.master.Annotations[v1alpha1.RotateCAAnnotation] {
			return found, nil
		}
	}
	added := *found
	added.Condition.Message += "; " + words
	return &added, nil
}
