package kit

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/internal/conformance"
)

func TestWhatMayBeRunAgainIsACaseThatFailedLate(t *testing.T) {
	passed := conformance.Result{Name: "passed", Outcome: conformance.Pass}
	skipped := conformance.Result{Name: "skipped", Outcome: conformance.Skip}
	failed := conformance.Result{Name: "failed", Outcome: conformance.Fail}
	late := conformance.Result{Name: "late", Outcome: conformance.Fail, Late: 0.6}
	for name, test := range map[string]struct {
		report conformance.Report
		want   [3][]string // failed, late, skipped
	}{
		"passed and skipped":     {conformance.Report{Cases: []conformance.Result{passed, skipped}}, [3][]string{nil, nil, {"skipped"}}},
		"failed":                 {conformance.Report{Cases: []conformance.Result{passed, failed, late}}, [3][]string{{"failed", "late"}, {"late"}, nil}},
		"stopped before its end": {conformance.Report{Cases: []conformance.Result{late}, Unrun: []conformance.Result{skipped}}, [3][]string{{"late", "skipped"}, nil, nil}},
		"an error, and no case":  {conformance.Report{Error: "nobody came"}, [3][]string{{"nobody came"}, nil, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			var got [3][]string
			got[0], got[1], got[2] = outcomes(test.report)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
