package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/secretfiles"
)

// Issued is a Secret with a certificate that the operator issues.
type Issued struct {
	Owner client.Object
	Name  string
	// Authority issues. It is nil while there is nothing to judge by, and so nothing to renew for.
	Authority *pki.Authority
	// RenewBefore is how long before its end the certificate is renewed.
	RenewBefore time.Duration
	// ReissueWindow is the time over which certificates are reissued after a change of the authority.
	ReissueWindow time.Duration
	// PostponeReissue keeps what is outdated: nobody would let in yet what the authority signs.
	PostponeReissue bool
	// ReissueWithBundle makes each bundle that gains a certificate come with a new certificate: whoever presents that has
	// loaded the bundle, since they are in one Secret.
	ReissueWithBundle bool
	// Verify reports whether a chain may stay in use; what is wrong is a *pki.Problem.
	Verify func(chain []*x509.Certificate) error
	// Complete reports whether a certificate has all that the spec asks for. One that is not complete stays in use until it
	// is replaced, which is at once. Nil: all are.
	Complete func(leaf *x509.Certificate) bool
	// Issue makes a new certificate.
	Issue func() (pki.PEMPair, error)
}

// Read returns the certificate that is in use, and whether a new one is needed: it is missing, does not parse,
// does not verify, or is due. That is decided on what the API server has, never on a cache that may be behind.
func (s *Sources) Read(ctx context.Context, secrets *Secrets, i Issued) (found bool, current Certificate, v Verdict, err error) {
	secret, err := secrets.Own(ctx, i.Owner, i.Name)
	if isTaken(err) { // or made by cert-manager a moment ago
		secret, err = s.issuedFor(ctx, i.Owner, i.Name)
	}
	if err != nil || secret == nil {
		return false, Certificate{}, Verdict{Renew: err == nil}, err
	}
	if current, v = i.judge(secret, s.Now); !v.Renew {
		return true, current, v, nil
	}
	live := &corev1.Secret{}
	err = s.Live.Get(ctx, client.ObjectKeyFromObject(secret), live)
	if apierrors.IsNotFound(err) || (err == nil && !metav1.IsControlledBy(live, i.Owner)) {
		return false, Certificate{}, Verdict{Renew: true}, nil
	}
	if err != nil {
		return false, Certificate{}, Verdict{}, fmt.Errorf("read Secret %s: %w", i.Name, err)
	}
	current, v = i.judge(live, s.Now)
	return true, current, v, nil
}

// judge decides what to do about a certificate, the most serious problem first.
func (i Issued) judge(secret *corev1.Secret, now time.Time) (Certificate, Verdict) {
	c, err := Parse(secret)
	switch {
	case err != nil:
		return c, Verdict{Renew: true}
	case i.Authority == nil:
		return c, Verdict{}
	case i.Verify(c.Chain) != nil:
		return c, Verdict{Renew: true}
	}
	v := Verdict{Good: true, Due: i.Authority.RenewAt(c.Leaf(), i.RenewBefore)}
	switch outdated := i.Authority.Key != nil && i.outdated(c); {
	case outdated && i.PostponeReissue:
		if !i.Authority.Signed(c.Leaf()) {
			v.Due = c.Leaf().NotAfter // what takes its place would not be let in
		}
		v.KeepBundle = i.ReissueWithBundle
	case outdated:
		if anew := i.Authority.Since.Add(spread(i.Owner.GetUID(), i.ReissueWindow)); v.Due.IsZero() || anew.Before(v.Due) {
			v.Due = anew
		}
		v.KeepBundle = i.ReissueWithBundle
	}
	v.Renew = !v.Due.IsZero() && !now.Before(v.Due) ||
		i.Authority.Key != nil && i.Complete != nil && !i.Complete(c.Leaf())
	return c, v
}

// outdated reports whether the authority is no longer what it was when the certificate was issued.
func (i Issued) outdated(c Certificate) bool {
	return !i.Authority.Signed(c.Leaf()) || (i.ReissueWithBundle && !i.Authority.IsIn(c.Bundle))
}

// Bundle returns the trust bundle to store beside certificate c.
func (i Issued) Bundle(c Certificate, v Verdict) []byte {
	if v.KeepBundle {
		return c.Bundle
	}
	return i.Authority.BundlePEM()
}

// Ready returns condition CertificateReady of a valid certificate that the operator issued. It says whether the authority ends
// before the certificate should.
func (i Issued) Ready(leaf *x509.Certificate) metav1.Condition {
	ready := ReadyIn(i.Name, false, nil)
	end := i.Authority.Certificates[0].NotAfter
	if leaf.NotAfter.Equal(end) && end.Before(leaf.NotBefore.Add(pki.Backdating+i.Authority.LeafDuration)) {
		ready.Message += fmt.Sprintf("; it ends with the certificate authority %s, on %s, and not after the %v of spec.certificates.duration",
			i.Authority.Name(), end.UTC().Format(time.RFC3339), i.Authority.LeafDuration)
	}
	return ready
}

// Renew issues a certificate that is to replace current. If judge would replace the new one at once too, the error is a
// *pki.Problem: otherwise it would be issued again and again.
func (i Issued) Renew(current Certificate, now time.Time) (Certificate, Verdict, error) {
	pair, err := i.Issue()
	if err != nil {
		return Certificate{}, Verdict{}, err
	}
	chain, err := pki.ParseCertificates(corev1.TLSCertKey, pair.Certificate)
	if err != nil {
		return Certificate{}, Verdict{}, err
	}
	issued := Certificate{Chain: chain, Pair: pair, Bundle: i.Authority.BundlePEM(), UID: current.UID, FromCertManager: current.FromCertManager}
	if i.ReissueWithBundle && !i.Authority.IsIn(issued.Bundle) {
		return Certificate{}, Verdict{}, &pki.Problem{Reason: v1alpha1.ReasonTooLarge, Message: fmt.Sprintf(
			"the trust bundle of the certificate authority has %d bytes, more than the %d that are read; leave certificates out of it", len(issued.Bundle), secretfiles.MaxBytes)}
	}
	due := i.Authority.RenewAt(chain[0], i.RenewBefore)
	if !due.IsZero() && !now.Before(due) {
		return Certificate{}, Verdict{}, &pki.Problem{Reason: v1alpha1.ReasonAuthorityConstrained, Message: fmt.Sprintf(
			"what the certificate authority %s signs would be due for renewal the moment it is issued; use one that lives longer, or lower spec.certificates.renewBefore",
			i.Authority.Name())}
	}
	return issued, Verdict{Due: due}, nil
}
