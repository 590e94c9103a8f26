package reconcile

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRolloutSaysHowManyPodsRunTheCurrentSpec(t *testing.T) {
	const notTakenUp = "the Deployment controller has not observed the last change yet"
	made := func(generation, observed int64, replicas, updated int32) *appsv1.Deployment {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: generation},
			Status: appsv1.DeploymentStatus{ObservedGeneration: observed, Replicas: replicas, UpdatedReplicas: updated}}
	}
	tests := map[string]struct {
		deployment *appsv1.Deployment
		written    int64
		want       string
	}{
		"no Deployment":                       {nil, 1, ""},
		"done":                                {made(2, 2, 3, 3), 2, ""},
		"not taken up":                        {made(3, 2, 3, 3), 3, notTakenUp},
		"written, and read from an old cache": {made(2, 2, 3, 3), 3, notTakenUp},
		"stuck at the first pod":              {made(3, 3, 4, 1), 3, "a rollout is pending: 1 of 3 pods were created by the current spec, and older ones still there: 3"},
		"the last old pod":                    {made(3, 3, 4, 3), 3, "a rollout is pending: 3 of 3 pods were created by the current spec, and older ones still there: 1"},
		"scaled up, not made yet":             {made(3, 3, 2, 2), 3, ""},
		"written by someone else since":       {made(4, 4, 3, 3), 3, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, RolloutMessage(test.deployment, test.written, 3)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
