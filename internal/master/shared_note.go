package master

import (
	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

// sharedNote is what condition Authenticated of a Refinery says of its ids where nodes prove nothing of what they announce; ""
// where they do, and where there is nothing to say.
func sharedNote(p *admit.Policy, m *admit.Membership, r *v1alpha1.Refinery) (note string) {
	if p == nil || p.Mode().Authentication != v1alpha1.AuthenticationSharedCertificate {
		return ""
	}
	if overlaps := m.Overlaps(r); overlaps != "" {
		note = "; " + overlaps
	}
	if p.Mode().ChecksCertificates() {
		return note
	}
	if r.Spec.Access == v1alpha1.AccessSuspended {
		note += "; whoever holds the shared certificate can still come in under an id of another Refinery: change the shared certificate to end that"
	} else if len(r.Spec.Banned) > 0 {
		note += "; spec.banned does not bind whoever holds the shared certificate, since it can announce another id: change the shared certificate to end that"
	}
	return note
}
