package certificates

import (
	"crypto/x509"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// Finding is what a pass found of the certificate of an object.
type Finding struct {
	// Wanted is the name of the Secret that the spec asks for.
	Wanted string
	// Unneeded reports whether spec.security needs no certificate here.
	Unneeded bool
	// Leaf is in use, good or not; nil if there is none that parses.
	Leaf *x509.Certificate
	// Vouched reports whether the master would let Leaf in, were it listed, whatever else is wrong in its Secret.
	Vouched bool
	// Revoked reports whether Leaf is revoked, so that it is never listed.
	Revoked bool
	// Above are the intermediates that vouch for a leaf that is provided.
	Above []*x509.Certificate
	// Next is about to take its place, or nil.
	Next *x509.Certificate
	// Secret is the name of the Secret that holds Leaf, empty for the operator's own. SecretUID is its UID, empty while that
	// is not known.
	Secret    string
	SecretUID types.UID
	// ReadOnly reports whether nothing was to be changed: what is listed stays as it is.
	ReadOnly bool
	// Rotating reports whether the authority by which it was judged is being replaced.
	Rotating bool
	// Condition is CertificateReady; its Type is empty where this pass has nothing to say of it.
	Condition metav1.Condition
	// Instead is condition CertificateReady of what the spec asks for, while it is not good and this certificate, of another
	// Secret, stays in use. Nil otherwise.
	Instead *metav1.Condition
	// Recheck is when to look again although nothing was seen to change; zero for never.
	Recheck time.Time
}

// Good reports whether the certificate is what it should be.
func (f *Finding) Good() bool { return f.Condition.Status == metav1.ConditionTrue }

// Judge sets the condition. Without an error it is good. A *pki.Problem makes it False, with the problem's reason and
// message. Any other error is returned.
func (f *Finding) Judge(err error, good metav1.Condition) error {
	if p := pki.AsProblem(err); p != nil {
		f.Condition = NotReady(p.Reason, p.Message)
		return nil
	}
	if err == nil {
		f.Condition = good
	}
	return err
}

// RecheckAt has the certificate looked at again at t, unless t has passed or an earlier time is set.
func (f *Finding) RecheckAt(t, now time.Time) {
	if t.After(now) && (f.Recheck.IsZero() || t.Before(f.Recheck)) {
		f.Recheck = t
	}
}

// RecheckAtEnd has the certificate looked at again a second after it, or an intermediate, expires.
func (f *Finding) RecheckAtEnd(now time.Time) {
	if f.Leaf != nil {
		f.RecheckAt(f.First().NotAfter.Add(time.Second), now)
	}
}

// CannotIssue records that an authority cannot issue the replacement of the certificate, which stays in use.
func (f *Finding) CannotIssue(authority string, p *pki.Problem, now time.Time) {
	f.Condition = NotReady(p.Reason, fmt.Sprintf("%s cannot issue: %s", authority, p.Message))
	f.RecheckAtEnd(now)
}

// First returns the certificate of the chain that expires first; nil without a chain.
func (f *Finding) First() *x509.Certificate {
	first := f.Leaf
	for _, c := range f.Above {
		if c.NotAfter.Before(first.NotAfter) {
			first = c
		}
	}
	return first
}

// Ready returns condition CertificateReady of a valid certificate.
func Ready(reason, message string) metav1.Condition {
	return metav1.Condition{Type: v1alpha1.ConditionCertificateReady, Status: metav1.ConditionTrue, Reason: reason, Message: message}
}

// NotReady returns condition CertificateReady of a certificate that is missing or not valid.
func NotReady(reason, message string) metav1.Condition {
	return metav1.Condition{Type: v1alpha1.ConditionCertificateReady, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// ReadyIn returns condition CertificateReady of the valid certificate in a Secret. It says who the certificate is from:
// a user who provided it, cert-manager if issuer is set, or the operator.
func ReadyIn(secret string, provided bool, issuer *v1alpha1.IssuerReference) metav1.Condition {
	switch {
	case provided:
		return Ready(v1alpha1.ReasonProvided, fmt.Sprintf("Secret %s holds a valid certificate, provided by a user", secret))
	case issuer != nil:
		return Ready(v1alpha1.ReasonIssued, fmt.Sprintf("Secret %s holds a certificate issued by %s %s", secret, issuer.Kind, issuer.Name))
	default:
		return Ready(v1alpha1.ReasonIssued, fmt.Sprintf("Secret %s holds a certificate issued by the operator", secret))
	}
}
