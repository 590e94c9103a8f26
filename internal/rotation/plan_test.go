package rotation

import (
	"crypto/x509"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/rotation/plan"
)

func parseAuthority(t *testing.T, pair pki.PEMPair) *pki.Authority {
	t.Helper()
	a, err := pki.ParseAuthority(pair.Certificate, pair.Key, statusTime)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestWhatIsPlannedIsWhatTheOperatorDoes compares the plan of a change with what retain makes of it.
func TestWhatIsPlannedIsWhatTheOperatorDoes(t *testing.T) {
	newAuthority := func() pki.PEMPair {
		pair, err := pki.NewAuthority("plant", v1alpha1.DefaultCADuration, statusTime)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	first, second, strange, next := newAuthority(), newAuthority(), newAuthority(), newAuthority()
	bundle := slices.Concat(first.Certificate, second.Certificate, strange.Certificate)
	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha", UID: "1"}}
	m.Spec.Certificates = &v1alpha1.CertificatesSpec{Authority: &v1alpha1.SecretSource{SecretRef: v1alpha1.LocalReference{Name: "plant-ca"}}}
	for _, pair := range []pki.PEMPair{first, second} { // a person put the other one there
		m.Status.Authorities = append(m.Status.Authorities, v1alpha1.Fingerprint(parseAuthority(t, pair).Certificates[0]))
	}
	owner := metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ClusterMaster", Name: "alpha", UID: "1", Controller: ptr.To(true)}
	served := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "alpha-tls", OwnerReferences: []metav1.OwnerReference{owner}},
		Data: map[string][]byte{"ca.crt": bundle}}
	for name, test := range map[string]struct {
		provided pki.PEMPair
		lost     bool
		note     string
	}{
		"another authority":        {next, true, "The authority is replaced step by step: those that are trusted now stay so until nobody needs them (condition CertificateAuthorityRotating)."},
		"the one that is in use":   {first, true, ""},
		"another, without its key": {pki.PEMPair{Certificate: next.Certificate}, false, "The authority is provided without its key, so the operator issues nothing: Secret alpha-tls stays as it is until you replace it; to preview that too, give -f the new Secret."},
	} {
		t.Run(name, func(t *testing.T) {
			written := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "plant-ca"},
				Data: map[string][]byte{"tls.crt": test.provided.Certificate, "tls.key": test.provided.Key}}
			planned, err := (&plan.Change{Before: m, After: m, Written: map[string]*corev1.Secret{"plant-ca": written}, Now: statusTime,
				Read: func(string) (*corev1.Secret, error) { return served, nil }}).Plan()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{test.lost, test.note, ""}, []any{planned.Anchors != nil, planned.Note, planned.Unknown}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			authority := parseAuthority(t, test.provided)
			retain(authority, m, served, statusTime)
			if !test.lost {
				return // the operator writes no bundle
			}
			if got, want := fingerprints(planned.Anchors), fingerprints(authority.Certificates); !slices.Equal(got, want) {
				t.Errorf("planned to trust %v, and trusts %v", got, want)
			}
		})
	}
}

func fingerprints(certificates []*x509.Certificate) []string {
	var all []string
	for _, c := range certificates {
		all = append(all, v1alpha1.Fingerprint(c))
	}
	slices.Sort(all)
	return all
}
