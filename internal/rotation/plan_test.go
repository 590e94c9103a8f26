package rotation

import (
	"crypto/x509"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
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
		"another authority":        {next, true, stepwise},
		"the one that is in use":   {first, true, ""},
		"another, without its key": {pki.PEMPair{Certificate: next.Certificate}, false, fmt.Sprintf(keyless, "alpha-tls")},
	} {
		t.Run(name, func(t *testing.T) {
			written := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "plant-ca"},
				Data: map[string][]byte{"tls.crt": test.provided.Certificate, "tls.key": test.provided.Key}}
			plan, err := (&Change{Before: m, After: m, Written: map[string]*corev1.Secret{"plant-ca": written}, Now: statusTime,
				Read: func(string) (*corev1.Secret, error) { return served, nil }}).Plan()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{test.lost, test.note, ""}, []any{plan.Anchors != nil, plan.Note, plan.Unknown}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			authority := parseAuthority(t, test.provided)
			retain(authority, m, served, statusTime)
			if !test.lost {
				return // the operator writes no bundle
			}
			if got, want := fingerprints(plan.Anchors), fingerprints(authority.Certificates); !slices.Equal(got, want) {
				t.Errorf("planned to trust %v, and trusts %v", got, want)
			}
		})
	}
}

func TestPlanTellsWhatIsForced(t *testing.T) {
	for name, test := range map[string]struct {
		before, after map[string]string
		rotating      bool
		want          bool
	}{
		"nothing":                          {},
		"a request":                        {after: map[string]string{v1alpha1.RotateCAAnnotation: "monday"}},
		"a forced request":                 {after: map[string]string{v1alpha1.RotateCAAnnotation: "monday", v1alpha1.ForceCARotationAnnotation: "monday"}, want: true},
		"a phase, with no rotation":        {after: map[string]string{v1alpha1.ForceCARotationAnnotation: "Preparing"}},
		"a phase of the one that goes on":  {after: map[string]string{v1alpha1.ForceCARotationAnnotation: "Preparing"}, rotating: true, want: true},
		"nothing new of one that is":       {map[string]string{v1alpha1.ForceCARotationAnnotation: "Preparing"}, map[string]string{v1alpha1.ForceCARotationAnnotation: "Preparing"}, true, false},
		"something that is no phase of it": {after: map[string]string{v1alpha1.ForceCARotationAnnotation: "yes"}, rotating: true},
	} {
		before, after := &v1alpha1.ClusterMaster{}, &v1alpha1.ClusterMaster{}
		before.Annotations, after.Annotations = test.before, test.after
		if test.rotating {
			before.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionCertificateAuthorityRotating}}
		}
		plan, err := (&Change{Before: before, After: after, Now: statusTime}).Plan()
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.Unknown != ""; got != test.want {
			t.Errorf("%s: got %q", name, plan.Unknown)
		}
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
