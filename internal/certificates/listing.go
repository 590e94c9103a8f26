package certificates

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// Overlap is how long replaced certificates stay let in.
type Overlap struct {
	time.Duration
	// Rotating reports whether the authority is being replaced. Until that is over nobody knows for how long nodes need
	// what they present: some wait for a kubelet, or for a person.
	Rotating bool
}

// until is the end of the overlap of c, a Previous certificate, or nil for as long as there is none. Where a person
// provides certificates, and wants no overlap, one that is replaced is given up at once.
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

// List returns status.certificates for what was found. What is in use stays in use until its replacement is good. A
// certificate that was replaced stays listed as Previous until its overlap ends. Of what is revoked already nothing is
// listed: see Revoke.
func List(listed []v1alpha1.ListedCertificate, found *Finding, o Overlap, now time.Time) (list []v1alpha1.ListedCertificate) {
	if found.Unneeded {
		return nil
	}
	current := ""
	if inUse := inUse(listed, now); found.Replaces(listed, now) {
		list = append(list, entry(found, v1alpha1.CertificateCurrent))
		current = list[0].Fingerprint
	} else if inUse != nil {
		list = append(list, *inUse)
		current = inUse.Fingerprint
	}
	if found.Next != nil {
		list = append(list, v1alpha1.ListedCertificate{
			Fingerprint: v1alpha1.Fingerprint(found.Next),
			NotAfter:    metav1.NewTime(found.Next.NotAfter.UTC()),
			Use:         v1alpha1.CertificateNext,
			SecretUID:   found.SecretUID,
		})
	}
	for _, c := range listed {
		over := c.Until != nil && !now.Before(c.Until.Time)
		if over || c.Fingerprint == current || len(list) == v1alpha1.MaxListedCertificates {
			continue
		}
		if c.Use == v1alpha1.CertificateNext && (found.Leaf == nil || c.Fingerprint != v1alpha1.Fingerprint(found.Leaf)) {
			continue // it was never in its Secret
		}
		c.Use, c.Until = v1alpha1.CertificatePrevious, o.until(c, now)
		if (c.Until == nil || now.Before(c.Until.Time)) && now.Before(c.NotAfter.Time) {
			list = append(list, c)
		}
	}
	return list
}

func entry(found *Finding, use v1alpha1.CertificateUse) v1alpha1.ListedCertificate {
	return v1alpha1.ListedCertificate{
		Fingerprint: v1alpha1.Fingerprint(found.Leaf),
		NotAfter:    metav1.NewTime(found.Leaf.NotAfter.UTC()),
		Use:         use,
		Secret:      found.Secret,
		SecretUID:   found.SecretUID,
	}
}

// inUse is the Current one of those that are listed, or nil if there is none, or it has expired.
func inUse(listed []v1alpha1.ListedCertificate, now time.Time) *v1alpha1.ListedCertificate {
	if c := v1alpha1.CurrentCertificate(listed); c != nil && now.Before(c.NotAfter.Time) {
		return c
	}
	return nil
}

// Replaces reports whether what was found is to be listed as Current: it is good, or good for the master, to which nodes may
// present it by now, or it is the Current one already, or
// nothing else is in use. Then the master says what is wrong with it to each node that presents it.
func (f *Finding) Replaces(listed []v1alpha1.ListedCertificate, now time.Time) bool {
	if f.Leaf == nil || f.Revoked {
		return false
	}
	c := inUse(listed, now)
	return c == nil || f.Good() || f.Vouched || c.Fingerprint == v1alpha1.Fingerprint(f.Leaf)
}

// Kept names the Secret whose certificate stays in use although the spec asks for that in Secret wanted: found, which is nil
// if nothing could be found there, is not good. It is "" if there is none.
func (s Standing) Kept(r *v1alpha1.Refinery, wanted string, found *Finding, now time.Time) string {
	c := inUse(s.Listed, now)
	if c == nil || r.ListedFrom(c) == wanted || (found != nil && (found.Good() || found.Unneeded)) {
		return ""
	}
	return r.ListedFrom(c)
}

// Shown is condition CertificateReady as status shows it: of what the spec asks for, and what stays in use until that is
// good. listed is what List returned.
func (f *Finding) Shown(r *v1alpha1.Refinery, listed []v1alpha1.ListedCertificate) metav1.Condition {
	shown := f.Condition
	if f.Instead != nil {
		shown = *f.Instead
	}
	c := v1alpha1.CurrentCertificate(listed)
	if c == nil || shown.Status != metav1.ConditionFalse {
		return shown
	}
	if from := r.ListedFrom(c); from != f.Wanted {
		shown.Message += fmt.Sprintf("; until then the certificate in Secret %s stays in use", from)
	} else if f.Leaf == nil || c.Fingerprint != v1alpha1.Fingerprint(f.Leaf) {
		shown.Message += fmt.Sprintf("; until then certificate %.12s…, which the Secret held before, is let in, and expires at %s",
			c.Fingerprint, c.NotAfter.UTC().Format(time.RFC3339))
	}
	return shown
}

// CurrentFingerprint is the Current one of status.certificates, or empty.
func CurrentFingerprint(listed []v1alpha1.ListedCertificate) string {
	if c := v1alpha1.CurrentCertificate(listed); c != nil {
		return c.Fingerprint
	}
	return ""
}
