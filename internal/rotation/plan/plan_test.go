package plan

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

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
		plan, err := (&Change{Before: before, After: after}).Plan()
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.Unknown != ""; got != test.want {
			t.Errorf("%s: got %q", name, plan.Unknown)
		}
	}
}

func TestForceIsForOneRotationOrOnePhase(t *testing.T) {
	for name, test := range map[string]struct {
		force, asked string
		want         bool
	}{
		"no annotation":              {"", "", false},
		"none, and it became due":    {"", "monday", false},
		"the request":                {"monday", "monday", true},
		"another request":            {"monday", "tuesday", false},
		"a request, it became due":   {"monday", "", false},
		"this phase":                 {"Preparing", "monday", true},
		"another phase":              {"Activating", "monday", false},
		"this phase, it became due":  {"Preparing", "", true},
		"something that is not true": {"yes", "monday", false},
	} {
		m := &v1alpha1.ClusterMaster{}
		if test.force != "" {
			m.Annotations = map[string]string{v1alpha1.ForceCARotationAnnotation: test.force}
		}
		if got := Forces(m, pki.RotationPreparing, test.asked); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
