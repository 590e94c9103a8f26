package refinery

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

// reissueMaster is how old a master's certificate has to be before a Refinery of another authority has it issued
// anew: an issuer that signs by several authorities in turn would otherwise never come to rest.
const reissueMaster = time.Hour

// authoritiesDiffer is why a Certificate of cert-manager is issued again.
const authoritiesDiffer = "the certificates of the ClusterMaster and its Refineries come from different authorities"

// reconcileCertificate finds, verifies or issues the certificate that the spec asks for. While that is not good, the one
// in use is kept, and renewed if the operator issues it: a Secret that is misspelt costs nobody its session.
func (r *Reconciler) reconcileCertificate(ctx context.Context, s *scope) (*certificates.Finding, error) {
	wanted := s.refinery.CertificateSecretName()
	found, err := r.wantedCertificate(ctx, s)
	if found != nil {
		found.Wanted = wanted
	}
	from := s.standing.Kept(s.refinery, wanted, found, s.now)
	if from == "" {
		return found, err
	}
	kept, keptErr := r.certificateIn(ctx, s, from)
	if kept == nil || keptErr != nil {
		return found, cmp.Or(err, keptErr)
	}
	kept.Wanted = wanted
	if found != nil {
		kept.Instead = &found.Condition
		kept.RecheckAt(found.Recheck, s.now)
	}
	return kept, err
}

// wantedCertificate is the certificate that the spec asks for. What the operator issued otherwise is removed as soon as
// nothing that is listed came from it: deleted earlier, it would be revoked.
func (r *Reconciler) wantedCertificate(ctx context.Context, s *scope) (*certificates.Finding, error) {
	issued := s.refinery.IssuedSecretName()
	plaintext := !s.master.UsesTLS()
	if (plaintext || s.refinery.CertificateSecretName() != issued) && !s.lists(issued) {
		if err := r.removeIssued(ctx, s); err != nil {
			return nil, err
		}
	}
	if plaintext {
		return &certificates.Finding{Unneeded: true,
			Condition: certificates.Ready(v1alpha1.ReasonNotRequired, "transport Plaintext has no certificates")}, nil
	}
	if err := r.checkCertificateReference(ctx, s); err != nil {
		return nil, err
	}
	return r.certificateIn(ctx, s, s.refinery.CertificateSecretName())
}

// certificateIn verifies the certificate in a Secret that a user provides, and keeps the operator's own issued.
func (r *Reconciler) certificateIn(ctx context.Context, s *scope, name string) (*certificates.Finding, error) {
	provided, issuer := s.refinery.IsProvided(name), s.master.Issuer()
	if !provided && issuer != nil {
		return r.obtainCertificate(ctx, s, *issuer)
	}
	if name == s.refinery.IssuedSecretName() {
		if err := r.env.Sources(s.now).RemoveCertificate(ctx, r.apply, s.refinery, name); err != nil {
			return nil, err
		}
		if !provided {
			return r.issueCertificate(ctx, s)
		}
	}
	return r.verifyCertificate(ctx, s, name)
}

// removeIssued removes what the operator, or cert-manager for it, has issued.
func (r *Reconciler) removeIssued(ctx context.Context, s *scope) error {
	name := s.refinery.IssuedSecretName()
	if err := r.env.Sources(s.now).RemoveCertificate(ctx, r.apply, s.refinery, name); err != nil {
		return err
	}
	return r.removeSecret(ctx, s, name)
}

func (r *Reconciler) removeSecret(ctx context.Context, s *scope, name string) error {
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = s.refinery.Namespace, name
	return r.apply.Delete(ctx, s.refinery, secret)
}

// verifyCertificate judges the certificate of the nodes and writes nothing. Pods run even if a certificate that the
// user provides is not valid: a node is then shown as denied, or waits for the Secret, and continues without a restart
// once that is corrected.
func (r *Reconciler) verifyCertificate(ctx context.Context, s *scope, name string) (*certificates.Finding, error) {
	provided, found := s.refinery.IsProvided(name), &certificates.Finding{}
	c, err := r.verify(ctx, s, found, name)
	if err := found.Judge(err, certificates.ReadyIn(name, provided, s.master.Issuer())); err != nil {
		return nil, err
	}
	if found.SecretUID = c.UID; provided {
		found.Secret = name
	}
	if found.Leaf = c.Leaf(); found.Leaf != nil {
		found.Above = c.Chain[1:]
		found.RecheckAt(found.Leaf.NotBefore, s.now)
		found.RecheckAtEnd(s.now)
	}
	return found, nil
}

// verify reads and verifies the certificate in a Secret of that name. What is wrong with it is a *pki.Problem.
func (r *Reconciler) verify(ctx context.Context, s *scope, found *certificates.Finding, name string) (c certificates.Certificate, err error) {
	secret, err := s.secrets.Provided(ctx, s.refinery.Namespace, name)
	if err != nil {
		return c, err
	}
	if c, err = certificates.Parse(secret); err != nil {
		return c, certificates.InSecret(name, err)
	}
	if err := s.revoked(c.Leaf()); err != nil {
		found.Revoked = true
		return c, certificates.InSecret(name, err)
	}
	authority, err := r.masterAuthority(ctx, s)
	if err != nil {
		return c, err
	}
	found.Rotating = authority.Rotating
	if err := authority.VerifyClient(c.Chain, s.refinery.Identity(), s.now); err != nil {
		return c, certificates.InSecret(name, err)
	}
	found.Vouched = true
	if above, err := pki.Intermediates(c.Chain, authority.Certificates); err == nil { // what does not lead to the authority may end when it likes
		c.Chain = append(c.Chain[:1:1], above...)
	}
	return c, nil
}

// inspectCertificate is verifyCertificate for a pass that changes nothing: the Refinery is paused, or something else in
// its spec ends the pass earlier. Certificates expire in the meantime too. status.certificates stays as it is, but for
// what is revoked. It returns nil while there is nothing to verify against.
func (r *Reconciler) inspectCertificate(ctx context.Context, s *scope, ended error) (*certificates.Finding, error) {
	if s.master == nil || !s.master.UsesTLS() {
		return nil, nil
	}
	name := s.refinery.CertificateSecretName()
	found, err := r.verifyCertificate(ctx, s, name)
	if _, early := errors.AsType[*reconcile.WaitError](err); early {
		return nil, nil // the ClusterMaster has just been made
	}
	if found != nil {
		found.ReadOnly, found.Wanted = true, name
		if !s.refinery.IsProvided(name) {
			found.Condition = notIssued(found.Condition, name, ended)
		}
	}
	return found, err
}

// notIssued is condition CertificateReady of a Secret that the operator fills, where the pass ended before that. A person who created
// the Secret would be in its way, and what someone else has in it is not what the operator issued.
func notIssued(c metav1.Condition, secret string, ended error) metav1.Condition {
	taken, ok := errors.AsType[*apply.ConflictError](ended)
	switch {
	case ok && (taken.Name == secret || taken.Kind == controllers.TheName):
		return certificates.NotReady(v1alpha1.ReasonNameConflict, taken.Error())
	case c.Reason == v1alpha1.ReasonSecretNotFound:
		return certificates.NotReady(v1alpha1.ReasonNotIssued, fmt.Sprintf("Secret %s does not exist yet; the operator creates it, and condition Ready says what it waits for", secret))
	default:
		return c
	}
}

// masterAuthority is the authority of the Refinery's master. What is wrong with it is a *pki.Problem.
func (r *Reconciler) masterAuthority(ctx context.Context, s *scope) (*pki.Authority, error) {
	authority, err := rotation.Authority(ctx, s.secrets, s.master, s.now)
	if p := pki.AsProblem(err); p != nil {
		return nil, &pki.Problem{Reason: v1alpha1.ReasonAuthorityNotReady,
			Message: fmt.Sprintf("the certificate authority of ClusterMaster %s: %s", s.master.Name, p.Message)}
	}
	if errors.Is(err, rotation.ErrNotMade) {
		return nil, &reconcile.WaitError{Reason: v1alpha1.ReasonProgressing, Message: fmt.Sprintf("ClusterMaster %s has no certificate authority yet", s.master.Name)}
	}
	return authority, err
}

// issueCertificate keeps a certificate in the Refinery's own Secret. If the Secret was deleted, a pass of its own first
// revokes in status what was listed from it: a Secret that is made before would look like the one that was deleted.
func (r *Reconciler) issueCertificate(ctx context.Context, s *scope) (*certificates.Finding, error) {
	authority, err := r.masterAuthority(ctx, s)
	unready := pki.AsProblem(err)
	if unready == nil && err != nil {
		return nil, err
	}
	issued := r.issued(s, authority)
	exists, current, v, err := r.env.Sources(s.now).Read(ctx, s.secrets, issued)
	found := &certificates.Finding{Leaf: current.Leaf(), SecretUID: current.UID, Rotating: authority != nil && authority.Rotating}
	switch {
	case err != nil:
		return nil, err
	case unready != nil:
		found.Condition = certificates.NotReady(unready.Reason, unready.Message)
		return found, nil
	case !exists && s.lists(issued.Name):
		if err := cmp.Or(r.revokeListed(ctx, s, issued.Name), s.requireRoomToRevoke()); err != nil {
			return nil, err
		}
		message := fmt.Sprintf("Secret %s is gone: its certificate is revoked, and a new one is being issued", issued.Name)
		found.Condition = certificates.NotReady(v1alpha1.ReasonSecretNotFound, message)
		return found, &reconcile.WaitError{Reason: v1alpha1.ReasonProgressing, Message: message, Recheck: time.Second}
	case v.Renew && authority.Key == nil:
		found.Condition = certificates.NotReady(v1alpha1.ReasonAuthorityWithoutKey, fmt.Sprintf(
			"the certificate authority of ClusterMaster %s is provided without its key, so the operator cannot issue: name a Secret with a certificate in spec.certificateSecretRef", s.master.Name))
		return found, nil
	case v.Renew:
		if !exists {
			if err := r.env.RequireUnmounted(ctx, s.refinery, issued.Name); err != nil {
				found.Condition = certificates.NotReady(v1alpha1.ReasonNameConflict, err.Error())
				return found, err
			}
		}
		if current, v, found.Next, err = r.renew(s, issued, current, v); pki.AsProblem(err) != nil {
			found.CannotIssue("the certificate authority of ClusterMaster "+s.master.Name, pki.AsProblem(err), s.now)
			return found, nil
		} else if err != nil {
			return nil, err
		}
	default:
		r.dropIssued(client.ObjectKeyFromObject(s.refinery))
	}
	desired := resource.RefineryCertificateSecret(s.refinery, current.Pair, issued.Bundle(current, v))
	if err := s.secrets.Apply(ctx, s.refinery, current.ReplacedBy(desired)); err != nil {
		return nil, err
	}
	if current.UID == "" { // it has just been made
		if made, err := s.secrets.Own(ctx, s.refinery, issued.Name); err == nil && made != nil {
			current.UID = made.UID
		}
	}
	found.Leaf, found.SecretUID, found.Condition = current.Leaf(), current.UID, issued.Ready(current.Leaf())
	found.RecheckAt(v.RecheckAt(found.Leaf), s.now)
	return found, nil
}

func (r *Reconciler) renew(s *scope, issued certificates.Issued, current certificates.Certificate, v certificates.Verdict) (
	certificates.Certificate, certificates.Verdict, *x509.Certificate, error,
) {
	if v.Good {
		return r.renewListed(s, issued, current, v)
	}
	current, v, err := issued.Renew(current, s.now)
	return current, v, nil, err
}

// renewListed puts a new certificate in the place of a good one in two passes: the first has it listed in status,
// as next, and the second, which sees it listed, puts it into the Secret. So no node presents it too early,
// wherever the operator stops.
func (r *Reconciler) renewListed(s *scope, issued certificates.Issued, current certificates.Certificate, v certificates.Verdict) (
	certificates.Certificate, certificates.Verdict, *x509.Certificate, error,
) {
	key := client.ObjectKeyFromObject(s.refinery)
	r.mu.Lock()
	next, ok := r.issuedNext[key]
	r.mu.Unlock()
	if !ok || next.UID != current.UID || issued.Verify(next.Chain) != nil || !issued.Authority.Signed(next.Leaf()) {
		var err error
		if next, _, err = issued.Renew(current, s.now); err != nil {
			return certificates.Certificate{}, certificates.Verdict{}, nil, err
		}
		r.mu.Lock()
		r.issuedNext[key] = next
		r.mu.Unlock()
	}
	fingerprint := v1alpha1.Fingerprint(next.Leaf())
	if slices.ContainsFunc(s.standing.Listed, func(c v1alpha1.ListedCertificate) bool { return c.Fingerprint == fingerprint }) {
		return next, certificates.Verdict{Due: issued.Authority.RenewAt(next.Leaf(), issued.RenewBefore)}, nil, nil
	}
	v.KeepBundle = true
	return current, v, next.Leaf(), nil
}

func (r *Reconciler) dropIssued(key client.ObjectKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.issuedNext, key)
}

func (r *Reconciler) issued(s *scope, authority *pki.Authority) certificates.Issued {
	return certificates.Issued{
		Owner:             s.refinery,
		Name:              s.refinery.IssuedSecretName(),
		Authority:         authority,
		RenewBefore:       certificates.RenewBefore(s.master, s.refinery.UID),
		ReissueWindow:     certificates.ReissueWindow(s.master),
		PostponeReissue:   authority != nil && (!rotation.HasLoaded(s.master, authority) || !rotation.IsServed(s.master, authority)),
		ReissueWithBundle: true,
		Verify: func(chain []*x509.Certificate) error {
			if err := s.revoked(chain[0]); err != nil {
				return err
			}
			return authority.VerifyClient(chain, s.refinery.Identity(), s.now)
		},
		Issue: func() (pki.PEMPair, error) {
			return authority.IssueClient(s.refinery.Name, s.refinery.Identity(), s.now)
		},
	}
}

// obtainCertificate has cert-manager issue the certificate of the nodes, and looks at what it put into the Secret.
// As with a Secret that the user provides, pods run whatever is wrong with it.
func (r *Reconciler) obtainCertificate(ctx context.Context, s *scope, issuer v1alpha1.IssuerReference) (*certificates.Finding, error) {
	own := func(pair pki.PEMPair, bundle []byte) *corev1ac.SecretApplyConfiguration {
		return resource.RefineryCertificateSecret(s.refinery, pair, bundle)
	}
	o, err := r.env.Sources(s.now).Obtain(ctx, r.apply, s.refinery,
		resource.RefineryCertificate(s.refinery, s.master, issuer, certificates.RenewBefore(s.master, s.refinery.UID)), own)
	if err != nil {
		return nil, err
	}
	found := &certificates.Finding{}
	var c certificates.Certificate
	found.RecheckAt(s.now.Add(o.Recheck), s.now)
	if o.Secret != nil {
		c, err = certificates.Parse(o.Secret)
		switch {
		case err != nil:
		case o.Problem == nil:
			err = r.verifyObtained(ctx, s, found, o, c)
		case s.revoked(c.Leaf()) != nil:
			found.Revoked = true
		default: // cert-manager may go on renewing it, and nodes present what it renewed
			found.Vouched, err = r.vouches(ctx, s, c)
		}
		err = certificates.InSecret(o.Secret.Name, err)
	}
	if err := found.Judge(o.Or(err), o.Ready(c.Leaf())); err != nil {
		return nil, err
	}
	if found.Leaf = c.Leaf(); found.Leaf != nil {
		found.Secret, found.SecretUID = o.Secret.Name, c.UID
		found.RecheckAt(found.Leaf.NotBefore, s.now)
		found.RecheckAtEnd(s.now)
	}
	return found, nil
}

// vouches reports whether the master lets in nodes with a certificate, if it is listed.
func (r *Reconciler) vouches(ctx context.Context, s *scope, c certificates.Certificate) (bool, error) {
	authority, err := r.masterAuthority(ctx, s)
	if err != nil {
		return false, err
	}
	return authority.VerifyClient(c.Chain, s.refinery.Identity(), s.now) == nil, nil
}

// verifyObtained checks what cert-manager issued against the authority of the master. If the two come from different
// authorities, because the issuer's authority changed, the older one is reissued.
func (r *Reconciler) verifyObtained(ctx context.Context, s *scope, found *certificates.Finding, o certificates.Obtained, c certificates.Certificate) error {
	if err := s.revoked(c.Leaf()); err != nil {
		found.Revoked = true
		return cmp.Or(r.env.Sources(s.now).Reissue(ctx, o.Certificate, "the certificate in the Secret is revoked"), err)
	}
	authority, err := r.masterAuthority(ctx, s)
	if err != nil {
		return err
	}
	found.Rotating = authority.Rotating
	err = authority.VerifyClient(c.Chain, s.refinery.Identity(), s.now)
	found.Vouched = err == nil
	if _, err := certificates.IssuersBundle(o.Secret, s.now); err != nil {
		return err
	}
	if err == nil && !authority.IsIn(c.Bundle) {
		err = &pki.Problem{Reason: v1alpha1.ReasonWrongAuthority, Message: fmt.Sprintf(
			"ca.crt lacks authorities that are in ca.crt of Secret %s, so nodes may not trust the master", s.master.CertificateSecretName())}
	}
	if p := pki.AsProblem(err); p == nil || p.Reason != v1alpha1.ReasonWrongAuthority {
		return err
	}
	if reissued, failed := r.reissueOlder(ctx, s, found, o, c); failed != nil {
		return failed
	} else if reissued != "" {
		return &pki.Problem{Reason: v1alpha1.ReasonWrongAuthority, Message: fmt.Sprintf("%v; cert-manager is reissuing Certificate %s from the current authority", err, reissued)}
	}
	return err
}

// reissueOlder has cert-manager reissue the Refinery's certificate or the master's, whichever is older. It returns the
// name of the Certificate, or "" if there is nothing to do yet.
func (r *Reconciler) reissueOlder(ctx context.Context, s *scope, found *certificates.Finding, o certificates.Obtained, c certificates.Certificate) (string, error) {
	secret, err := s.secrets.Provided(ctx, s.master.Namespace, s.master.CertificateSecretName())
	if err != nil {
		return "", err
	}
	served, err := certificates.Parse(secret)
	if err != nil {
		return "", nil //nolint:nilerr // the ClusterMaster says what is wrong with it
	}
	if c.Leaf().NotBefore.Before(served.Leaf().NotBefore) {
		// The Certificate was read after the Secret: what it says of being issued may be over, and in the Secret since.
		now := &corev1.Secret{}
		if err := r.env.Live.Get(ctx, client.ObjectKeyFromObject(o.Secret), now); client.IgnoreNotFound(err) != nil {
			return "", fmt.Errorf("read Secret %s: %w", o.Secret.Name, err)
		}
		if now.ResourceVersion != o.Secret.ResourceVersion {
			return "", nil
		}
		return o.Certificate.GetName(), r.env.Sources(s.now).Reissue(ctx, o.Certificate, authoritiesDiffer)
	}
	if due := served.Leaf().NotBefore.Add(reissueMaster); s.now.Before(due) {
		found.RecheckAt(due, s.now)
		return "", nil
	}
	masters := &unstructured.Unstructured{}
	masters.SetGroupVersionKind(resource.CertificateKind)
	key := client.ObjectKey{Namespace: s.master.Namespace, Name: s.master.CertificateSecretName()}
	if err := r.env.Live.Get(ctx, key, masters); err != nil {
		return "", client.IgnoreNotFound(err)
	}
	if !metav1.IsControlledBy(masters, s.master) {
		return "", nil
	}
	return key.Name, r.env.Sources(s.now).Reissue(ctx, masters, authoritiesDiffer)
}
