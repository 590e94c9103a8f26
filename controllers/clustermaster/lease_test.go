package clustermaster

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/controllers/passtest"
)

func TestLeaseIsLookedAtOnceAMinuteOfAnActiveMasterOnly(t *testing.T) {
	tests := map[string]struct {
		lease  *coordinationv1.Lease
		change func(*pass)
		want   passtest.Inspected
	}{
		"held":                      {passtest.Lease("alpha-0", time.Second), nil, passtest.Inspected{Reads: 1, Held: true, Next: time.Minute}},
		"released a moment ago":     {passtest.Lease("", time.Second), nil, passtest.Inspected{Reads: 1, Next: time.Minute}},
		"silent to the limit":       {passtest.Lease("alpha-0", 34*time.Second), nil, passtest.Inspected{Reads: 1, Held: true, Next: time.Minute}},
		"lapsed":                    {passtest.Lease("alpha-0", 35*time.Second), nil, passtest.Inspected{Reads: 1, Held: true, Lapsed: true, Next: 10 * time.Second}},
		"none":                      {nil, nil, passtest.Inspected{Reads: 1, Lapsed: true, Next: 10 * time.Second}},
		"shorter than its own term": {passtest.Lease("alpha-0", 9*time.Second), func(s *pass) { s.master.Spec.Protocol.AliveTimeoutSeconds = 2 }, passtest.Inspected{Reads: 1, Held: true, Next: time.Minute}},
		"no pod":                    {nil, func(s *pass) { s.deployment = passtest.Deployed(0) }, passtest.Inspected{}},
		"never active":              {nil, func(s *pass) { s.master.Status.Active = nil }, passtest.Inspected{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := passOf(test.change)
			if s.master.Spec.Protocol.AliveTimeoutSeconds == 0 {
				s.master.Spec.Protocol.AliveTimeoutSeconds = 35
			}
			var got passtest.Inspected
			r := &Reconciler{env: passtest.LeaseServer(test.lease, &got.Reads)}
			l, err := r.inspectLease(context.Background(), &s.scope)
			if err != nil {
				t.Fatal(err)
			}
			got.Fill(l, agendaOf(&s.scope, findings{lease: l}))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
