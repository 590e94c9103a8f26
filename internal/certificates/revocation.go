package certificates

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Standing is what the status of a Refinery says of its certificates, after those whose Secrets were deleted are revoked.
type Standing struct {
	Listed  []v1alpha1.ListedCertificate
	Revoked []v1alpha1.RevokedCertificate
	// Unrecorded counts certificates that are revoked and for which status.revoked has no room. They stay in Listed with an
	// end that has passed. While there are any, nothing else may be listed, so that none of them is ever forgotten.
	Unrecorded int
}

// Revoke moves the certificates whose Secret is gone from status.certificates to status.revoked, where each stays until it
// expires or is readmitted. uidOf returns the UID of the Secret that has the name of the one that a certificate was listed
// from, or "" if there is none. An entry that has no UID, as the release before wrote it for what the operator issued, gets it.
func Revoke(r *v1alpha1.Refinery, uidOf func(v1alpha1.ListedCertificate) types.UID, now time.Time) Standing {
	var s Standing
	readmitted := fingerprints(r.Annotations[v1alpha1.ReadmitAnnotation])
	for _, c := range r.Status.Revoked {
		if now.Before(c.NotAfter.Time) && !slices.Contains(readmitted, c.Fingerprint) {
			s.Revoked = append(s.Revoked, c)
		}
	}
	for _, c := range r.Status.Certificates {
		uid := uidOf(c)
		switch {
		case s.Revocation(c.Fingerprint) != nil:
		case uid != "" && (c.SecretUID == "" || c.SecretUID == uid):
			c.SecretUID = uid
			s.Listed = append(s.Listed, c)
		case !now.Before(c.NotAfter.Time), slices.Contains(readmitted, c.Fingerprint): // nothing has to remember it
		case len(s.Revoked) == v1alpha1.MaxRevokedCertificates:
			if c.Until == nil || now.Before(c.Until.Time) {
				c.Until = ptr.To(metav1.NewTime(now))
			}
			c.Use = v1alpha1.CertificatePrevious
			s.Listed, s.Unrecorded = append(s.Listed, c), s.Unrecorded+1
		default:
			s.Revoked = append(s.Revoked, v1alpha1.RevokedCertificate{Fingerprint: c.Fingerprint, NotAfter: c.NotAfter,
				Secret: r.ListedFrom(&c), Since: metav1.NewTime(now)})
		}
	}
	return s
}

// Revocation returns the revocation of a fingerprint, or nil.
func (s Standing) Revocation(fingerprint string) *v1alpha1.RevokedCertificate {
	return v1alpha1.RevocationOf(s.Revoked, fingerprint)
}

// FirstEnd is when the first revoked certificate expires; zero without one.
func (s Standing) FirstEnd() (end time.Time) {
	for _, c := range s.Revoked {
		if end.IsZero() || c.NotAfter.Time.Before(end) {
			end = c.NotAfter.Time
		}
	}
	return end
}
