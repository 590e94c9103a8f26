package reconcile

import (
	"context"
	"errors"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/go-cmp/cmp"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// leaseServer serves one Lease, or an error.
type leaseServer struct {
	client.Reader
	lease coordinationv1.Lease
	err   error
}

func (s *leaseServer) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	s.lease.DeepCopyInto(o.(*coordinationv1.Lease))
	return s.err
}

func TestALeaseIsJudgedByWhenItWasSeenToChange(t *testing.T) {
	const patience = 30 // seconds
	away := errors.New("away")
	none := apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, "alpha-active")
	// look is one look at the Lease, some seconds after the first. renewed is the time that its holder wrote, in seconds.
	type look struct {
		at, renewed int
		holder      string
		err         error
	}
	for name, test := range map[string]struct {
		looks        []look
		held, lapsed bool
		end, next    int // seconds after the last look
	}{
		"seen for the first time":         {looks: []look{{at: 0, holder: "alpha-0"}}, held: true, end: 30, next: 10},
		"renewed":                         {looks: []look{{holder: "alpha-0"}, {at: 10, renewed: 10, holder: "alpha-0"}}, held: true, end: 30, next: 10},
		"silent":                          {looks: []look{{holder: "alpha-0"}, {at: 10, holder: "alpha-0"}}, held: true, end: 20, next: 10},
		"silent, to the limit":            {looks: []look{{holder: "a"}, {at: 20, holder: "a"}, {at: 29, holder: "a"}}, held: true, end: 1, next: 1},
		"lapsed":                          {looks: []look{{holder: "a"}, {at: 20, holder: "a"}, {at: 30, holder: "a"}}, held: true, lapsed: true, next: 10},
		"taken over":                      {looks: []look{{holder: "a"}, {at: 20, holder: "a"}, {at: 30, holder: "b"}}, held: true, end: 30, next: 10},
		"by a clock that is a day behind": {looks: []look{{renewed: -86400, holder: "a"}}, held: true, end: 30, next: 10},
		"by a clock that was set back":    {looks: []look{{holder: "a"}, {at: 20, holder: "a"}, {at: 30, renewed: -5, holder: "a"}}, held: true, end: 30, next: 10},
		"by a clock that is a day ahead":  {looks: []look{{renewed: 86400, holder: "a"}, {at: 20, renewed: 86400, holder: "a"}, {at: 30, renewed: 86400, holder: "a"}}, held: true, lapsed: true, next: 10},
		"given back":                      {looks: []look{{holder: "a"}, {at: 10, renewed: 10}}, end: 30, next: 10},
		"none":                            {looks: []look{{err: none}}, end: 30, next: 10},
		"none for long":                   {looks: []look{{err: none}, {at: 20, err: none}, {at: 30, err: none}}, lapsed: true, next: 10},
		"silent, and the API server away": {looks: []look{{holder: "a"}, {at: 10, err: away}, {at: 20, holder: "a"}}, held: true, end: 30, next: 10},
		"silent, and not looked at for some time": {looks: []look{{holder: "a"}, {at: 21, holder: "a"}, {at: 30, holder: "a"}}, held: true, end: 21, next: 10},
	} {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha"}}
			m.Spec.Protocol.AliveTimeoutSeconds = patience
			begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			server := &leaseServer{}
			leases := NewLeases(server)
			var got *Lease
			now := begin
			for _, l := range test.looks {
				now = begin.Add(time.Duration(l.at) * time.Second)
				server.err = l.err
				server.lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &l.holder, LeaseDurationSeconds: ptr.To[int32](10),
					RenewTime: ptr.To(metav1.NewMicroTime(begin.Add(time.Duration(l.renewed) * time.Second)))}
				if apierrors.IsNotFound(l.err) {
					server.lease.Spec = coordinationv1.LeaseSpec{}
				}
				lease, err := leases.Read(t.Context(), m, now)
				if (err != nil) != errors.Is(l.err, away) {
					t.Fatal(err)
				}
				got = lease
			}
			type judged struct {
				Held, Lapsed bool
				End, Next    int
			}
			is := judged{got.HasHolder, got.Lapsed(now), int(got.End.Sub(now).Seconds()), int(got.RecheckAt(now).Sub(now).Seconds())}
			if diff := cmp.Diff(judged{test.held, test.lapsed, test.end, test.next}, is); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestALeaseIsLookedAtMoreOftenWhereTheAliveTimeoutIsShort(t *testing.T) {
	m := &v1alpha1.ClusterMaster{}
	m.Spec.Protocol.AliveTimeoutSeconds = 6
	l, err := NewLeases(&leaseServer{}).Read(t.Context(), m, time.Now())
	if err != nil || l.Recheck != 2*time.Second {
		t.Errorf("looked at again after %v, %v", l.Recheck, err)
	}
}

func TestALeaseLapsesWhileThePassesOfItsClusterMasterFailAndBackOff(t *testing.T) {
	m := &v1alpha1.ClusterMaster{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "alpha"}}
	m.Spec.Protocol.AliveTimeoutSeconds = 30
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	server := &leaseServer{}
	server.lease.Spec.HolderIdentity = ptr.To("alpha-0")
	leases := NewLeases(server)
	var told []int
	watch := func(from, to int) {
		for second := from; second < to; second++ {
			leases.lookAtOverdue(t.Context(), clocktesting.NewFakePassiveClock(begin.Add(time.Duration(second)*time.Second)), func(key client.ObjectKey) {
				if key != client.ObjectKeyFromObject(m) {
					t.Errorf("told of %s", key)
				}
				told = append(told, second)
			})
		}
	}
	pass := func(second int) bool {
		now := begin.Add(time.Duration(second) * time.Second)
		l, err := leases.Read(t.Context(), m, now)
		if err != nil {
			t.Fatal(err)
		}
		return l.Lapsed(now)
	}
	pass(0)
	watch(1, 90)
	if !pass(90) || len(told) != 1 || told[0] < 30 || told[0] >= 45 {
		t.Errorf("not lapsed, or not told once and soon: %v", told)
	}
	server.lease.Spec.HolderIdentity = ptr.To("alpha-1")
	server.err = errors.New("away")
	watch(91, 110)
	server.err = nil
	watch(110, 120)
	if pass(120) || len(told) != 1 {
		t.Errorf("lapsed although it was not to be seen for a time; told %v", told)
	}
	leases.Forget(client.ObjectKeyFromObject(m))
	watch(120, 200)
	if len(told) != 1 {
		t.Errorf("told %v of one that is gone", told)
	}
}
