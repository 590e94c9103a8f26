package controllers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// maxListed is the number of entries of status.certificates.
const maxListed = 8

// held is a certificate as a Secret holds it.
type held struct {
	// chain is there, leaf first, as soon as it parses, also when the rest is no good.
	chain []*x509.Certificate
	pair  pki.PEMPair
	// bundle is the trust bundle beside it.
	bundle []byte
	// uid of the Secret; empty for a Secret that is to be made.
	uid types.UID
	// obtained reports whether cert-manager has filled the Secret, now or before.
	obtained bool
}

func (h held) certificate() certificates.Certificate {
	return certificates.Certificate{Chain: h.chain, Pair: h.pair, Bundle: h.bundle, UID: h.uid}
}

func (h held) leaf() *x509.Certificate {
	if len(h.chain) == 0 {
		return nil
	}
	return h.chain[0]
}

// parseHeld reads certificate and key of a Secret. What is wrong is a *pki.Problem.
func parseHeld(secret *corev1.Secret) (held, error) {
	c, err := certificates.Parse(secret)
	_, obtained := secret.Annotations[issuerNameAnnotation]
	return held{chain: c.Chain, pair: c.Pair, bundle: c.Bundle, uid: c.UID, obtained: obtained}, err
}

// issuedSecret is a Secret with a certificate that the operator issues.
type issuedSecret struct {
	owner client.Object
	name  string
	// authority issues. It is nil while there is nothing to judge by, and so nothing to renew for.
	authority *pki.Authority
	// before is how long before its end the certificate is renewed.
	before time.Duration
	// window is the time over which certificates are issued anew after a change of the authority.
	window time.Duration
	// hold keeps what is outdated: nobody would let in yet what the authority signs.
	hold bool
	// attests makes each bundle that gains a certificate come with a new certificate: whoever presents that has
	// loaded the bundle, since they are in one Secret.
	attests bool
	// verify reports whether a chain may stay in use; what is wrong is a *pki.Problem.
	verify func(chain []*x509.Certificate) error
	// issue makes a new certificate.
	issue func() (pki.PEMPair, error)
}

// verdict is what is to be done about a certificate.
type verdict struct {
	// renew: now.
	renew bool
	// good: the one in use may stay in use meanwhile.
	good bool
	// due is when to renew it, or zero for never.
	due time.Time
	// keepBundle: what goes with it changes together with the certificate, and not before.
	keepBundle bool
}

// read returns the certificate that is in use, and whether a new one is needed: it is missing, does not parse,
// does not verify, or is due. That is decided on what the API server has, never on a cache that may be behind.
func (e *Environment) read(ctx context.Context, a *apply.Applier, s issuedSecret) (found bool, current held, v verdict, err error) {
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = s.owner.GetNamespace(), s.name
	found, err = a.Read(ctx, s.owner, secret)
	if _, taken := errors.AsType[*apply.ConflictError](err); taken { // or made by cert-manager a moment ago
		secret, err = e.issuedFor(ctx, s.owner, s.name)
		found = secret != nil
	}
	if err != nil || !found {
		return false, held{}, verdict{renew: !found}, err
	}
	if current, v = s.judge(secret, e.Clock.Now()); !v.renew {
		return true, current, v, nil
	}
	err = e.Live.Get(ctx, client.ObjectKeyFromObject(secret), secret)
	if apierrors.IsNotFound(err) || (err == nil && !metav1.IsControlledBy(secret, s.owner)) {
		return false, held{}, verdict{renew: true}, nil
	}
	if err != nil {
		return false, held{}, verdict{}, fmt.Errorf("read Secret %s: %w", s.name, err)
	}
	current, v = s.judge(secret, e.Clock.Now())
	return true, current, v, nil
}

func (s issuedSecret) judge(secret *corev1.Secret, now time.Time) (held, verdict) {
	h, err := parseHeld(secret)
	switch {
	case err != nil:
		return h, verdict{renew: true}
	case s.authority == nil:
		return h, verdict{}
	case s.verify(h.chain) != nil:
		return h, verdict{renew: true}
	}
	v := verdict{good: true, due: s.authority.RenewAt(h.leaf(), s.before)}
	switch outdated := s.authority.Key != nil && s.outdated(h); {
	case outdated && s.hold:
		if !s.authority.Signed(h.leaf()) {
			v.due = h.leaf().NotAfter // what takes its place would not be let in
		}
		v.keepBundle = s.attests
	case outdated:
		if anew := s.authority.Since.Add(spread(s.owner.GetUID(), s.window)); v.due.IsZero() || anew.Before(v.due) {
			v.due = anew
		}
		v.keepBundle = s.attests
	}
	v.renew = !v.due.IsZero() && !now.Before(v.due)
	return h, v
}

// outdated reports whether the authority is no longer what it was when the certificate was issued.
func (s issuedSecret) outdated(h held) bool {
	return !s.authority.Signed(h.leaf()) || (s.attests && !s.authority.IsIn(h.bundle))
}

// bundle is what goes with a certificate: h as it was read, or issued just now.
func (s issuedSecret) bundle(h held, v verdict) []byte {
	if v.keepBundle {
		return h.bundle
	}
	return s.authority.BundlePEM()
}

// renew issues a new certificate, to be put in the place of current. What judge would have replaced at once is a
// *pki.Problem: it would be issued again and again.
func (s issuedSecret) renew(current held, now time.Time) (held, verdict, error) {
	pair, err := s.issue()
	if err != nil {
		return held{}, verdict{}, err
	}
	chain, err := pki.ParseCertificates(corev1.TLSCertKey, pair.Certificate)
	if err != nil {
		return held{}, verdict{}, err
	}
	issued := held{chain: chain, pair: pair, bundle: s.authority.BundlePEM(), uid: current.uid, obtained: current.obtained}
	if s.attests && !s.authority.IsIn(issued.bundle) {
		return held{}, verdict{}, &pki.Problem{Reason: v1alpha1.ReasonTooLarge, Message: fmt.Sprintf(
			"the trust bundle of the certificate authority has %d bytes, more than the %d that are read; leave certificates out of it", len(issued.bundle), pki.MaxPEMBytes)}
	}
	due := s.authority.RenewAt(chain[0], s.before)
	if !due.IsZero() && !now.Before(due) {
		return held{}, verdict{}, &pki.Problem{Reason: v1alpha1.ReasonAuthorityConstrained, Message: fmt.Sprintf(
			"what the certificate authority %s signs would be due for renewal the moment it is issued; use one that lives longer, or lower spec.certificates.renewBefore",
			s.authority.Name())}
	}
	return issued, verdict{due: due}, nil
}

// replacedBy makes desired replace the Secret that h was read from. One that cert-manager filled names no issuer
// any more: were it named again, cert-manager would take the operator's certificate for its own.
func (h held) replacedBy(desired *corev1ac.SecretApplyConfiguration) *corev1ac.SecretApplyConfiguration {
	if h.obtained {
		desired.WithAnnotations(map[string]string{issuerNameAnnotation: ""})
	}
	return over(desired, h.uid)
}

// over makes desired replace the Secret that was read, and none that has come or gone meanwhile. What a
// person deleted is not brought back with the content that it had.
func over(desired *corev1ac.SecretApplyConfiguration, read types.UID) *corev1ac.SecretApplyConfiguration {
	if read != "" {
		desired.WithUID(read)
	}
	return desired
}

// renewBefore is how long before its end the certificate of an object is renewed. Objects differ by up to a
// tenth of the certificates' duration, each by always the same, so that a fleet does not renew at once.
func renewBefore(m *v1alpha1.ClusterMaster, object types.UID) time.Duration {
	periods := m.CertificatePeriods()
	return periods.RenewBefore + spread(object, min(periods.Duration/10, (periods.Duration-periods.RenewBefore)/2))
}

// reissueWindow is the time over which the certificates of a fleet are issued anew when their authority changes.
func reissueWindow(m *v1alpha1.ClusterMaster) time.Duration {
	return min(time.Minute, m.CertificatePeriods().Duration/10)
}

// spread is a part of limit that depends on the object alone.
func spread(object types.UID, limit time.Duration) time.Duration {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(object))
	const steps = 1000
	return limit / steps * time.Duration(sum.Sum32()%steps)
}

// overlap is how long replaced certificates stay let in.
type overlap struct {
	time.Duration
	// rotating reports whether the authority is being replaced. Until that is over nobody knows for how long nodes need
	// what they present: some wait for a kubelet, or for a person.
	rotating bool
}

// until is the end of the overlap of c, a Previous certificate, or nil for as long as there is none. Where a person
// brings certificates, and wants no overlap, one that is replaced is revoked.
func (o overlap) until(c v1alpha1.ListedCertificate, now time.Time) *metav1.Time {
	switch {
	case o.rotating && (c.Secret == "" || o.Duration > 0):
		return nil
	case c.Until == nil:
		return ptr.To(metav1.NewTime(now.Add(o.Duration)))
	default:
		return c.Until
	}
}

// listCertificates is status.certificates with what was found in use: what was Current before it stays let
// in as Previous until its overlap ends, unless its Secret was deleted. With no certificate nothing is let in.
func listCertificates(listed []v1alpha1.ListedCertificate, found *certificateFound, o overlap, now time.Time) []v1alpha1.ListedCertificate {
	if found.leaf == nil {
		return nil
	}
	list := []v1alpha1.ListedCertificate{{
		Fingerprint: v1alpha1.Fingerprint(found.leaf),
		NotAfter:    metav1.NewTime(found.leaf.NotAfter.UTC()),
		Use:         v1alpha1.CertificateCurrent,
		Secret:      found.secret,
		SecretUID:   found.secretUID,
	}}
	if found.next != nil {
		list = append(list, v1alpha1.ListedCertificate{
			Fingerprint: v1alpha1.Fingerprint(found.next),
			NotAfter:    metav1.NewTime(found.next.NotAfter.UTC()),
			Use:         v1alpha1.CertificateNext,
		})
	}
	for _, c := range listed {
		deleted := c.Secret != "" && c.Secret == found.secret && c.SecretUID != found.secretUID
		over := c.Until != nil && !now.Before(c.Until.Time)
		if deleted || over || c.Fingerprint == list[0].Fingerprint || len(list) == maxListed {
			continue
		}
		if c.Use == v1alpha1.CertificateNext {
			continue // it was never in use
		}
		c.Use, c.Until = v1alpha1.CertificatePrevious, o.until(c, now)
		if (c.Until == nil || now.Before(c.Until.Time)) && now.Before(c.NotAfter.Time) {
			list = append(list, c)
		}
	}
	return list
}

// currentFingerprint is the Current one of status.certificates, or empty.
func currentFingerprint(listed []v1alpha1.ListedCertificate) string {
	for _, c := range listed {
		if c.Use == v1alpha1.CertificateCurrent {
			return c.Fingerprint
		}
	}
	return ""
}
