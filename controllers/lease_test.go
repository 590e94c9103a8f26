package controllers

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

// leaseServer serves the Lease of ClusterMaster alpha, or none, and counts how often it is read.
func leaseServer(l *coordinationv1.Lease, reads *int) *Environment {
	builder := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			*reads++
			return c.Get(ctx, key, o, options...)
		}})
	if l != nil {
		builder.WithObjects(l)
	}
	server := builder.Build()
	return &Environment{Client: server, Live: server}
}

// renewed is a Lease for ten seconds that was renewed some time ago.
func renewed(holder string, ago time.Duration) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha-active"},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: ptr.To[int32](10),
			RenewTime: ptr.To(metav1.NewMicroTime(statusTime.Add(-ago)))},
	}
}

// inspected is what came of looking at a Lease: 0 for next is never.
type inspected struct {
	Reads        int
	Held, Lapsed bool
	Next         time.Duration
}

func TestLeaseIsLookedAtOnceAMinuteOfAnActiveMasterOnly(t *testing.T) {
	tests := map[string]struct {
		lease  *coordinationv1.Lease
		change func(*masterPass)
		want   inspected
	}{
		"held":                      {renewed("alpha-0", time.Second), nil, inspected{1, true, false, time.Minute}},
		"released a moment ago":     {renewed("", time.Second), nil, inspected{1, false, false, time.Minute}},
		"silent to the limit":       {renewed("alpha-0", 34*time.Second), nil, inspected{1, true, false, time.Minute}},
		"lapsed":                    {renewed("alpha-0", 35*time.Second), nil, inspected{1, true, true, 10 * time.Second}},
		"none":                      {nil, nil, inspected{1, false, true, 10 * time.Second}},
		"shorter than its own term": {renewed("alpha-0", 9*time.Second), func(s *masterPass) { s.master.Spec.Protocol.AliveTimeoutSeconds = 2 }, inspected{1, true, false, time.Minute}},
		"no pod":                    {nil, func(s *masterPass) { s.deployment = deployed(0) }, inspected{}},
		"never active":              {nil, func(s *masterPass) { s.master.Status.Active = nil }, inspected{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := masterPassOf(test.change)
			if s.master.Spec.Protocol.AliveTimeoutSeconds == 0 {
				s.master.Spec.Protocol.AliveTimeoutSeconds = 35
			}
			var got inspected
			r := &ClusterMasterReconciler{env: leaseServer(test.lease, &got.Reads)}
			l, err := r.inspectLease(context.Background(), &s.masterScope)
			if err != nil {
				t.Fatal(err)
			}
			if l != nil {
				got.Held, got.Lapsed = l.HasHolder, l.Lapsed(s.now)
			}
			agenda := masterAgenda(&s.masterScope, masterFindings{lease: l})
			got.Next = agenda.After(s.now)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefineryAsksForTheLeaseOnlyInDoubt(t *testing.T) {
	// since has a condition of the ClusterMaster that says for how long there may be no active master.
	since := func(kind, reason string, ago time.Duration) func(*refineryPass) {
		return func(s *refineryPass) {
			c := reconcile.NewCondition(kind, metav1.ConditionFalse, reason, "")
			c.LastTransitionTime = metav1.NewTime(statusTime.Add(-ago))
			s.master.Status.Conditions = []metav1.Condition{c}
		}
	}
	unavailable := func(ago time.Duration) func(*refineryPass) {
		return since(v1alpha1.ConditionAvailable, v1alpha1.ReasonUnavailable, ago)
	}
	tests := map[string]struct {
		lease  *coordinationv1.Lease
		change func(*refineryPass)
		want   inspected
	}{
		"at rest":                    {renewed("alpha-0", 0), nil, inspected{}},
		"no ClusterMaster":           {nil, func(s *refineryPass) { s.master = nil }, inspected{}},
		"no pod for a moment":        {nil, unavailable(30 * time.Second), inspected{Next: 5 * time.Second}},
		"no pod, and the Lease held": {renewed("alpha-0", 2*time.Second), unavailable(35 * time.Second), inspected{1, true, false, 33 * time.Second}},
		"no pod, and it lapsed":      {renewed("alpha-0", time.Minute), unavailable(time.Hour), inspected{1, true, true, 0}},
		"no pod, and none":           {nil, unavailable(time.Hour), inspected{1, false, true, 0}},
		"all stand by":               {renewed("", time.Minute), since(v1alpha1.ConditionReady, v1alpha1.ReasonNoActiveMaster, 0), inspected{1, false, true, 0}},
		"another reason":             {nil, since(v1alpha1.ConditionReady, v1alpha1.ReasonProgressing, time.Hour), inspected{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := refineryPassOf(func(s *refineryPass) { s.master.Namespace = "plant" })
			if test.change != nil {
				test.change(s)
			}
			var got inspected
			r := &RefineryReconciler{env: leaseServer(test.lease, &got.Reads)}
			l, err := r.inspectLease(context.Background(), &s.refineryScope)
			if err != nil {
				t.Fatal(err)
			}
			if l != nil {
				got.Held, got.Lapsed = l.HasHolder, l.Lapsed(s.now)
			}
			agenda := leaseAgenda(&s.refineryScope, l)
			got.Next = agenda.After(s.now)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
