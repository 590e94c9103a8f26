package certificates

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// expiringFrom is how long before its end a certificate is warned of, unless its life is short.
const expiringFrom = 14 * 24 * time.Hour

// Expiry is a certificate whose end condition CertificateExpiring may warn of.
type Expiry struct {
	Certificate *x509.Certificate
	// What it is, with the Secret that holds it.
	What string
	// Provided reports whether a person replaces it; all others are renewed by themselves.
	Provided bool
	// RenewBefore is how long before its end it is renewed, if that is not at two thirds of its life.
	RenewBefore time.Duration
	// Advice is what a person has to do.
	Advice string
}

// from is when the warning begins: 14 days before the end, or, in a life of less than twice that, when a third of it is
// left. A certificate that is renewed automatically is reported only after half of the time between the renewal and its end
// has passed.
func (e Expiry) from() time.Time {
	before, life := expiringFrom, e.Certificate.NotAfter.Sub(e.Certificate.NotBefore)
	if !e.Provided || life < 2*expiringFrom {
		before = life / 3
	}
	if e.RenewBefore > 0 {
		before = min(before, e.RenewBefore)
	}
	if !e.Provided {
		before = min(expiringFrom, before/2)
	}
	return e.Certificate.NotAfter.Add(-before)
}

// message counts whole days, so that it changes once a day.
func (e Expiry) message(now time.Time) string {
	end := e.Certificate.NotAfter
	left := "less than a day"
	switch days := e.daysLeft(now); {
	case days == 1:
		left = "1 day"
	case days > 1:
		left = fmt.Sprintf("%d days", days)
	}
	return fmt.Sprintf("%s expires in %s, at %s; %s", e.What, left, end.UTC().Format(time.RFC3339), e.Advice)
}

func (e Expiry) daysLeft(now time.Time) int {
	return int(e.Certificate.NotAfter.Sub(now) / (24 * time.Hour))
}

// Expiring returns condition CertificateExpiring over all expiries, and when to look again; zero for never. The
// condition is absent while none expires soon. Condition CertificateReady reports what has expired already.
func Expiring(now time.Time, all ...Expiry) (condition metav1.Condition, warned bool, recheck time.Time) {
	var messages []string
	again := func(t time.Time) {
		if t.After(now) && (recheck.IsZero() || t.Before(recheck)) {
			recheck = t
		}
	}
	for _, e := range all {
		switch from, end := e.from(), e.Certificate.NotAfter; {
		case now.After(end):
		case now.Before(from):
			again(from)
		default:
			messages = append(messages, e.message(now))
			if days := e.daysLeft(now); days > 0 {
				again(end.Add(-time.Duration(days)*24*time.Hour + time.Second))
			}
			again(end.Add(time.Second))
		}
	}
	return metav1.Condition{Type: v1alpha1.ConditionCertificateExpiring, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonExpiring,
		Message: strings.Join(messages, "; ")}, len(messages) > 0, recheck
}

// NotRenewedByIssuer is the advice where cert-manager renews what a Certificate of this name asks for.
func NotRenewedByIssuer(certificate string) string {
	return fmt.Sprintf("cert-manager has not renewed it: see kubectl describe certificate %s", certificate)
}
