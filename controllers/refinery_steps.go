package controllers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

// certificateFound is what the certificate step found out.
type certificateFound struct {
	// leaf is in use, good or not; nil if there is none that parses.
	leaf      *x509.Certificate
	condition metav1.Condition
	// above are the intermediates that vouch for a leaf which the user brings.
	above []*x509.Certificate
	// next is about to take its place, or nil.
	next *x509.Certificate
	// secret is the name of the Secret that the user brings, secretUID its UID. Empty for the operator's own.
	secret    string
	secretUID types.UID
	// looked reports whether nothing was to be changed: what is listed stays as it is.
	looked bool
}

// first is the certificate of the chain that ends first; nil without any.
func (f *certificateFound) first() *x509.Certificate {
	first := f.leaf
	for _, c := range f.above {
		if c.NotAfter.Before(first.NotAfter) {
			first = c
		}
	}
	return first
}

// found records a certificate that is good.
func (s *refineryScope) found(leaf *x509.Certificate, reason, message string) {
	s.certificate = &certificateFound{leaf: leaf, condition: newCondition(v1alpha1.ConditionCertificateReady, metav1.ConditionTrue, reason, message)}
}

// foundWrong records a certificate that is not.
func (s *refineryScope) foundWrong(leaf *x509.Certificate, reason, message string) {
	s.certificate = &certificateFound{leaf: leaf, condition: newCondition(v1alpha1.ConditionCertificateReady, metav1.ConditionFalse, reason, message)}
}

func (r *RefineryReconciler) requireMaster(_ context.Context, s *refineryScope) error {
	if s.master != nil {
		return nil
	}
	return &waitError{reason: v1alpha1.ReasonMasterNotFound,
		message: fmt.Sprintf("ClusterMaster %s does not exist in this namespace; all goes on by itself when it does", s.refinery.Spec.MasterRef.Name)}
}

func (r *RefineryReconciler) reconcileCertificate(ctx context.Context, s *refineryScope) error {
	issuedName := s.refinery.IssuedSecretName()
	plaintext := s.master.Spec.Security.Transport == v1alpha1.TransportPlaintext
	ref, issuer := s.refinery.Spec.CertificateSecretRef, s.master.Issuer()
	if !plaintext && ref == nil && issuer != nil {
		return r.obtainCertificate(ctx, s, *issuer)
	}
	if err := r.removeCertificate(ctx, r.apply, s.refinery, issuedName); err != nil {
		return err
	}
	switch {
	case plaintext:
		s.found(nil, v1alpha1.ReasonNotRequired, "transport Plaintext has no certificates")
		return r.removeSecret(ctx, s, issuedName)
	case ref == nil:
		return r.issueCertificate(ctx, s)
	case ref.Name != issuedName:
		if err := r.removeSecret(ctx, s, issuedName); err != nil {
			return err
		}
	}
	return r.verifyProvided(ctx, s)
}

// verifyProvided looks at the Secret that the user brings, and never writes to it. Whatever is wrong with
// it, pods run: a node is then shown as denied, or waits for the Secret, and both heal without a restart.
func (r *RefineryReconciler) verifyProvided(ctx context.Context, s *refineryScope) error {
	name := s.refinery.CertificateSecretName()
	h, err := r.verifyNamed(ctx, s, name)
	leaf := h.leaf()
	if p := pki.AsProblem(err); p != nil {
		s.foundWrong(leaf, p.Reason, p.Message)
	} else if err != nil {
		return err
	} else {
		s.found(leaf, v1alpha1.ReasonProvided, providedIn(name))
	}
	if leaf != nil {
		s.certificate.secret, s.certificate.secretUID = name, h.uid
		s.inUse(h)
	}
	return nil
}

// inUse takes the intermediates of what is in use, and looks again when its time begins and ends.
func (s *refineryScope) inUse(h held) {
	s.certificate.above = h.chain[1:]
	s.agenda.atFuture(h.leaf().NotBefore, s.now)
	s.agenda.atFuture(s.certificate.first().NotAfter.Add(time.Second), s.now)
}

// verifyNamed reads and verifies the certificate in a Secret of that name, and writes nothing. What is wrong with it is a
// *pki.Problem.
func (r *RefineryReconciler) verifyNamed(ctx context.Context, s *refineryScope, name string) (held, error) {
	secret, err := r.namedSecret(ctx, s.refinery.Namespace, name)
	if err != nil {
		return held{}, err
	}
	h, err := parseHeld(secret)
	if err != nil {
		return h, inSecret(name, err)
	}
	authority, err := r.masterAuthority(ctx, s)
	if err != nil {
		return h, err
	}
	if err := authority.VerifyClient(h.chain, s.refinery.Identity(), r.Clock.Now()); err != nil {
		return h, inSecret(name, err)
	}
	if above, err := pki.Intermediates(h.chain, authority.Certificates); err == nil { // what does not lead to the authority may end when it likes
		h.chain = append(h.chain[:1:1], above...)
	}
	return h, nil
}

// masterAuthority is the authority of the Refinery's master. What is wrong with it is a *pki.Problem.
func (r *RefineryReconciler) masterAuthority(ctx context.Context, s *refineryScope) (*pki.Authority, error) {
	authority, err := r.authority(ctx, r.apply, s.master)
	if p := pki.AsProblem(err); p != nil {
		return nil, &pki.Problem{Reason: v1alpha1.ReasonAuthorityNotReady,
			Message: fmt.Sprintf("the certificate authority of ClusterMaster %s: %s", s.master.Name, p.Message)}
	}
	if errors.Is(err, errAuthorityNotMade) {
		return nil, &waitError{v1alpha1.ReasonProgressing, fmt.Sprintf("ClusterMaster %s has no certificate authority yet", s.master.Name), 0}
	}
	s.rotating = err == nil && authority.Rotating
	return authority, err
}

// issueCertificate keeps a certificate in the Refinery's own Secret. If that was deleted, what it held is
// taken off the list first, in a pass of its own: deleting the Secret revokes, whenever the operator stops.
func (r *RefineryReconciler) issueCertificate(ctx context.Context, s *refineryScope) error {
	authority, err := r.masterAuthority(ctx, s)
	if pki.AsProblem(err) == nil && err != nil {
		return err
	}
	unready := pki.AsProblem(err)
	secret := r.issuedSecret(s, authority)
	var next *x509.Certificate
	found, current, v, err := r.read(ctx, r.apply, secret)
	switch {
	case err != nil:
		return err
	case unready != nil:
		s.foundWrong(current.leaf(), unready.Reason, unready.Message)
		return nil
	case !found && len(s.refinery.Status.Certificates) > 0:
		message := fmt.Sprintf("Secret %s is gone: its certificate is revoked, and a new one is being issued", secret.name)
		s.foundWrong(nil, v1alpha1.ReasonSecretNotFound, message)
		return &waitError{v1alpha1.ReasonProgressing, message, time.Second}
	case v.renew && authority.Key == nil:
		s.foundWrong(current.leaf(), v1alpha1.ReasonAuthorityWithoutKey, fmt.Sprintf(
			"the certificate authority of ClusterMaster %s came without its key, so nothing can be issued: name a Secret with a certificate in spec.certificateSecretRef", s.master.Name))
		return nil
	case v.renew:
		if !found {
			if err := r.requireUnmounted(ctx, s.refinery, secret.name); err != nil {
				s.foundWrong(nil, v1alpha1.ReasonNameConflict, err.Error())
				return err
			}
		}
		inUse := current.leaf()
		if current, v, next, err = r.renew(s, secret, current, v); pki.AsProblem(err) != nil {
			s.refuseIssued(inUse, pki.AsProblem(err))
			return nil
		} else if err != nil {
			return err
		}
	default:
		r.dropIssued(client.ObjectKeyFromObject(s.refinery))
	}
	desired := resource.RefineryCertificateSecret(s.refinery, current.pair, secret.bundle(current, v))
	if err := r.apply.Apply(ctx, s.refinery, current.replacedBy(desired)); err != nil {
		return err
	}
	s.found(current.leaf(), v1alpha1.ReasonIssued, issuedByOperator(secret.name))
	s.certificate.next = next
	s.agenda.renewal(v, current.leaf(), s.now)
	return nil
}

// refuseIssued tells why the authority cannot issue. What is in use stays so, and nothing is written.
func (s *refineryScope) refuseIssued(inUse *x509.Certificate, p *pki.Problem) {
	s.foundWrong(inUse, p.Reason, fmt.Sprintf("the certificate authority of ClusterMaster %s cannot issue: %s", s.master.Name, p.Message))
	if inUse != nil {
		s.agenda.atFuture(inUse.NotAfter.Add(time.Second), s.now)
	}
}

func (r *RefineryReconciler) renew(s *refineryScope, secret issuedSecret, current held, v verdict) (held, verdict, *x509.Certificate, error) {
	if v.good {
		return r.renewListed(s, secret, current, v)
	}
	current, v, err := secret.renew(current, r.Clock.Now())
	return current, v, nil, err
}

// renewListed puts a new certificate in the place of a good one in two passes: the first has it listed in status,
// as next, and the second, which sees it listed, puts it into the Secret. So no node presents it too early,
// wherever the operator stops.
func (r *RefineryReconciler) renewListed(s *refineryScope, secret issuedSecret, current held, v verdict) (held, verdict, *x509.Certificate, error) {
	key := client.ObjectKeyFromObject(s.refinery)
	r.mu.Lock()
	issued, ok := r.issued[key]
	r.mu.Unlock()
	if !ok || issued.uid != current.uid || secret.verify(issued.chain) != nil || !secret.authority.Signed(issued.leaf()) {
		var err error
		if issued, _, err = secret.renew(current, r.Clock.Now()); err != nil {
			return held{}, verdict{}, nil, err
		}
		r.mu.Lock()
		r.issued[key] = issued
		r.mu.Unlock()
	}
	fingerprint := v1alpha1.Fingerprint(issued.leaf())
	if slices.ContainsFunc(s.refinery.Status.Certificates, func(c v1alpha1.ListedCertificate) bool { return c.Fingerprint == fingerprint }) {
		return issued, verdict{due: secret.authority.RenewAt(issued.leaf(), secret.before)}, nil, nil
	}
	v.keepBundle = true
	return current, v, issued.leaf(), nil
}

func (r *RefineryReconciler) issuedSecret(s *refineryScope, authority *pki.Authority) issuedSecret {
	return issuedSecret{
		owner:     s.refinery,
		name:      s.refinery.CertificateSecretName(),
		authority: authority,
		before:    renewBefore(s.master, s.refinery.UID),
		window:    reissueWindow(s.master),
		hold:      authority != nil && (!rotation.HasLoaded(s.master, authority) || !isServed(s.master, authority)),
		attests:   true,
		verify: func(chain []*x509.Certificate) error {
			return authority.VerifyClient(chain, s.refinery.Identity(), r.Clock.Now())
		},
		issue: func() (pki.PEMPair, error) {
			return authority.IssueClient(s.refinery.Name, s.refinery.Identity(), r.Clock.Now())
		},
	}
}

// isServed reports whether an authority stands in the trust bundle of its master, as far as that was ever written: it
// does not where it cannot issue what the master serves.
func isServed(m *v1alpha1.ClusterMaster, authority *pki.Authority) bool {
	trusted := m.Status.Authorities
	return len(trusted) == 0 || slices.Contains(trusted, v1alpha1.Fingerprint(authority.Certificates[0]))
}

func (r *RefineryReconciler) reconcileServiceAccount(ctx context.Context, s *refineryScope) error {
	if s.refinery.Spec.Placement == v1alpha1.PlacementExternal {
		account := &corev1.ServiceAccount{}
		account.Namespace, account.Name = s.refinery.Namespace, resource.RefineryServiceAccountName(s.refinery)
		return r.apply.Delete(ctx, s.refinery, account)
	}
	return r.apply.Apply(ctx, s.refinery, resource.RefineryServiceAccount(s.refinery))
}

// awaitListing ends the pass until the status that was read lists the certificate.
func (r *RefineryReconciler) awaitListing(_ context.Context, s *refineryScope) error {
	leaf := s.certificate.leaf
	if leaf == nil || currentFingerprint(s.refinery.Status.Certificates) == v1alpha1.Fingerprint(leaf) {
		return nil
	}
	return &waitError{v1alpha1.ReasonProgressing, "the certificate is being listed in status", time.Second}
}

func (r *RefineryReconciler) reconcileService(ctx context.Context, s *refineryScope) error {
	if s.refinery.Spec.Placement == v1alpha1.PlacementExternal || len(s.refinery.Spec.Ports) == 0 {
		service := &corev1.Service{}
		service.Namespace, service.Name = s.refinery.Namespace, s.refinery.Name
		return r.apply.Delete(ctx, s.refinery, service)
	}
	return r.apply.Apply(ctx, s.refinery, resource.RefineryService(s.refinery))
}

func (r *RefineryReconciler) reconcileDeployment(ctx context.Context, s *refineryScope) error {
	if s.refinery.Spec.Placement == v1alpha1.PlacementExternal {
		deployment := &appsv1.Deployment{}
		deployment.Namespace, deployment.Name = s.refinery.Namespace, s.refinery.Name
		return r.apply.Delete(ctx, s.refinery, deployment)
	}
	desired, err := resource.RefineryDeployment(s.refinery, s.master, r.Images)
	if err != nil {
		return err
	}
	if err := r.checkTemplate(ctx, s, desired); err != nil {
		return err
	}
	if err := r.apply.Apply(ctx, s.refinery, desired); err != nil {
		return err
	}
	s.written = r.apply.Written(s.refinery, "Deployment", s.refinery.Name)
	return nil
}

func (r *RefineryReconciler) removeSecret(ctx context.Context, s *refineryScope, name string) error {
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = s.refinery.Namespace, name
	return r.apply.Delete(ctx, s.refinery, secret)
}

// renewal puts on the agenda when a certificate is due, or, if it never is, its end.
func (a *agenda) renewal(v verdict, leaf *x509.Certificate, now time.Time) {
	if !v.due.IsZero() {
		a.at(v.due)
		return
	}
	a.atFuture(leaf.NotAfter.Add(time.Second), now)
}
