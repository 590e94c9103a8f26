package refinery

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers/passtest"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

func TestRefineryAsksForTheLeaseOnlyInDoubt(t *testing.T) {
	// since has a condition of the ClusterMaster that says for how long there may be no active master.
	since := func(kind, reason string, ago time.Duration) func(*pass) {
		return func(s *pass) {
			c := reconcile.NewCondition(kind, metav1.ConditionFalse, reason, "")
			c.LastTransitionTime = metav1.NewTime(passtest.Now.Add(-ago))
			s.master.Status.Conditions = []metav1.Condition{c}
		}
	}
	unavailable := func(ago time.Duration) func(*pass) {
		return since(v1alpha1.ConditionAvailable, v1alpha1.ReasonUnavailable, ago)
	}
	tests := map[string]struct {
		lease  *coordinationv1.Lease
		change func(*pass)
		want   passtest.Inspected
	}{
		"at rest":                    {passtest.Lease("alpha-0", 0), nil, passtest.Inspected{}},
		"no ClusterMaster":           {nil, func(s *pass) { s.master = nil }, passtest.Inspected{}},
		"no pod for a moment":        {nil, unavailable(30 * time.Second), passtest.Inspected{Next: 5 * time.Second}},
		"no pod, and the Lease held": {passtest.Lease("alpha-0", 2*time.Second), unavailable(35 * time.Second), passtest.Inspected{Reads: 1, Held: true, Next: 33 * time.Second}},
		"no pod, and it lapsed":      {passtest.Lease("alpha-0", time.Minute), unavailable(time.Hour), passtest.Inspected{Reads: 1, Held: true, Lapsed: true}},
		"no pod, and none":           {nil, unavailable(time.Hour), passtest.Inspected{Reads: 1, Lapsed: true}},
		"all stand by":               {passtest.Lease("", time.Minute), since(v1alpha1.ConditionReady, v1alpha1.ReasonNoActiveMaster, 0), passtest.Inspected{Reads: 1, Lapsed: true}},
		"another reason":             {nil, since(v1alpha1.ConditionReady, v1alpha1.ReasonProgressing, time.Hour), passtest.Inspected{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := passOf(func(s *pass) { s.master.Namespace = "plant" })
			if test.change != nil {
				test.change(s)
			}
			var got passtest.Inspected
			r := &Reconciler{env: passtest.LeaseServer(test.lease, &got.Reads)}
			l, err := r.inspectLease(context.Background(), &s.scope)
			if err != nil {
				t.Fatal(err)
			}
			got.Fill(l, agendaOf(&s.scope, l))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
