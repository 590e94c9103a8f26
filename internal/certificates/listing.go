package certificates

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// MaxListed is the number of entries of status.certificates.
const MaxListed = 8

// Overlap is how long replaced certificates stay let in.
type Overlap struct {
	time.Duration
	// Rotating reports whether the authority is being replaced. Until that is over nobody knows for how long nodes need
	// what they present: some wait for a kubelet, or for a person.
	Rotating bool
}

// until is the end of the overlap of c, a Previous certificate, or nil for as long as there is none. Where a person
// provides certificates, and wants no overlap, one that is replaced is revoked.
func (o Overlap) until(c v1alpha1.ListedCertificate, now time.Time) *metav1.Time {
	switch {
	case o.Rotating && (c.Secret == "" || o.Duration > 0):
		return nil
	case c.Until == nil:
		return ptr.To(metav1.NewTime(now.Add(o.Duration)))
	default:
		return c.Until
	}
}

// List returns status.certificates for what was found. The certificate that was Current before stays listed as Previous
// until its overlap ends, unless its Secret was deleted. Without a certificate the list is empty, so that nothing is
// let in.
func List(listed []v1alpha1.ListedCertificate, found *Finding, o Overlap, now time.Time) []v1alpha1.ListedCertificate {
	if found.Leaf == nil {
		return nil
	}
	list := []v1alpha1.ListedCertificate{{
		Fingerprint: v1alpha1.Fingerprint(found.Leaf),
		NotAfter:    metav1.NewTime(found.Leaf.NotAfter.UTC()),
		Use:         v1alpha1.CertificateCurrent,
		Secret:      found.Secret,
		SecretUID:   found.SecretUID,
	}}
	if found.Next != nil {
		list = append(list, v1alpha1.ListedCertificate{
			Fingerprint: v1alpha1.Fingerprint(found.Next),
			NotAfter:    metav1.NewTime(found.Next.NotAfter.UTC()),
			Use:         v1alpha1.CertificateNext,
		})
	}
	for _, c := range listed {
		deleted := c.Secret != "" && c.Secret == found.Secret && c.SecretUID != found.SecretUID
		over := c.Until != nil && !now.Before(c.Until.Time)
		if deleted || over || c.Fingerprint == list[0].Fingerprint || len(list) == MaxListed {
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

// CurrentFingerprint is the Current one of status.certificates, or empty.
func CurrentFingerprint(listed []v1alpha1.ListedCertificate) string {
	for _, c := range listed {
		if c.Use == v1alpha1.CertificateCurrent {
			return c.Fingerprint
		}
	}
	return ""
}
