package resource

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
)

// What the operator adds to a claim, such as labels, may be another thing in another version.
func TestClaimsAreOthersOnlyWhereTheirOwnerAsksForOthers(t *testing.T) {
	build := func(name, statefulSet string) *appsv1ac.StatefulSetApplyConfiguration {
		r := refineryWith(t, `{statefulSet: `+statefulSet+`}`)
		r.Name = name
		d, err := RefineryDeployment(r, testMaster(nil), testImages)
		if err != nil {
			t.Fatal(err)
		}
		set, err := RefineryStatefulSet(r, d)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	const claim = `{volumeClaimTemplates: [{name: data, spec: {accessModes: [ReadWriteOnce]}}]}`
	for name, row := range map[string]struct {
		live, asked string
		want        bool
	}{
		"the same":      {claim, claim, false},
		"another":       {claim, `{volumeClaimTemplates: [{name: data, spec: {accessModes: [ReadWriteOncePod]}}]}`, true},
		"none any more": {claim, `{}`, true},
		"one now":       {`{}`, claim, true},
		"an empty list": {`{}`, `{volumeClaimTemplates: []}`, false},
		"what of them is retained is no claim": {claim,
			`{persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete}, volumeClaimTemplates: [{name: data, spec: {accessModes: [ReadWriteOnce]}}]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			live := &appsv1.Deployment{}
			live.Annotations = build("mill", row.live).Annotations // labelled for another Refinery
			if got := HasOtherClaims(live, build("press", row.asked)); got != row.want {
				t.Errorf("other claims: %v, want %v", got, row.want)
			}
		})
	}
	if HasOtherClaims(&appsv1.Deployment{}, build("press", claim)) {
		t.Error("other claims of what runs none")
	}
}
