package master

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
)

// serviceUpstream is one that is a Service of the same name.
func serviceUpstream(name string, weight int32) v1alpha1.Upstream {
	return v1alpha1.Upstream{Name: name, Service: &v1alpha1.UpstreamService{Name: name, Port: 80}, Weight: ptr.To(weight)}
}

func TestUntilEndpointsAreKnownUpstreamsAreAsTheyWereReported(t *testing.T) {
	const address = "ingest.plant.svc:80"
	for name, test := range map[string]struct {
		weight   int32
		reported []v1alpha1.UpstreamStatus
		want     string
	}{
		"ready":                       {1, []v1alpha1.UpstreamStatus{{Name: "ingest", Address: address, Ready: true}}, ""},
		"not ready":                   {1, []v1alpha1.UpstreamStatus{{Name: "ingest", Address: address, Reason: "NoReadyEndpoint", Message: "none"}}, "NoReadyEndpoint"},
		"its weight was 0":            {1, []v1alpha1.UpstreamStatus{{Name: "ingest", Address: address, Reason: "WeightZero"}}, ""},
		"its weight is 0":             {0, []v1alpha1.UpstreamStatus{{Name: "ingest", Address: address, Ready: true}}, "WeightZero"},
		"it was another one":          {1, []v1alpha1.UpstreamStatus{{Name: "ingest", Address: "elsewhere:80", Ready: true}}, "EndpointsUnknown"},
		"there was none of this name": {1, nil, "EndpointsUnknown"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirectory(clocktesting.NewFakeClock(late.Time))
			d.SetMaster(admittest.ClusterMaster(func(m *v1alpha1.ClusterMaster) {
				m.Spec.Upstreams = []v1alpha1.Upstream{serviceUpstream("ingest", test.weight)}
				m.Status.Upstreams = test.reported
			}))
			u := d.Policy().Placement.Upstreams()[0]
			if u.Address != address {
				t.Fatal(u.Address)
			}
			if reason, _ := d.notReady(u); reason != test.want {
				t.Errorf("%q, want %q", reason, test.want)
			}
		})
	}
}

func TestAServiceThatIsNoUpstreamTellsNobody(t *testing.T) {
	d, e := newDirectory(clocktesting.NewFakeClock(late.Time)), &ear{}
	d.SetMaster(admittest.ClusterMaster(func(m *v1alpha1.ClusterMaster) {
		m.Spec.Upstreams = []v1alpha1.Upstream{serviceUpstream("ingest", 1)}
	}))
	d.Listen(e)
	services, endpoints := servicesOf(d.services), slicesOf(d.services)
	for i, change := range []struct {
		what  string
		apply func() error
		tells bool
	}{
		{"Services are known", func() error { return services.Replace([]any{ingest(func(*corev1.Service) {})}, "") }, false},
		{"endpoints are known", func() error { return endpoints.Replace([]any{behind("a", "ingest", ptr.To(false))}, "") }, true},
		{"of another Service", func() error { return endpoints.Add(behind("b", "mill", ptr.To(true))) }, false},
		{"one is ready", func() error { return endpoints.Update(behind("a", "ingest", ptr.To(true))) }, true},
		{"one more", func() error { return endpoints.Add(behind("c", "ingest", ptr.To(true))) }, false},
	} {
		before := e.upstreams
		must(t, change.apply())
		if (e.upstreams > before) != change.tells {
			t.Errorf("%d: %s: told %v, want %v", i, change.what, e.upstreams > before, change.tells)
		}
	}
}

func TestAServiceIsWatchedWhileItIsAnUpstream(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	certificate := p.refinery("press", 1)
	service := ingest(func(s *corev1.Service) { s.Namespace = p.namespace })
	p.must(p.client.Create(p.ctx, service))
	slice := behind("ingest-1", "ingest", ptr.To(true))
	slice.Namespace = p.namespace
	p.must(p.client.Create(p.ctx, slice))
	m := p.start("alpha-0")
	p.eventuallyUpstreams([]v1alpha1.UpstreamStatus{{Name: "default", Address: "alpha." + p.namespace + ".svc:34308", Ready: true}})

	p.patchMaster(func(m *v1alpha1.ClusterMaster) {
		m.Spec.Upstreams = []v1alpha1.Upstream{serviceUpstream("ingest", 1000), {Name: "still", Address: "still:1", Weight: ptr.To[int32](1)}}
	})
	ready := v1alpha1.UpstreamStatus{Name: "ingest", Address: "ingest." + p.namespace + ".svc:80", Ready: true}
	still := v1alpha1.UpstreamStatus{Name: "still", Address: "still:1", Ready: true}
	p.eventuallyUpstreams([]v1alpha1.UpstreamStatus{ready, still})
	a, _ := p.node(m, "press/a", certificate)
	if told := <-a.upstreams; told != ready.Address {
		t.Fatalf("the node was told %s", told)
	}

	before := slice.DeepCopy()
	slice.Endpoints[0].Conditions.Ready = ptr.To(false)
	p.must(p.client.Patch(p.ctx, slice, client.MergeFrom(before)))
	if told := <-a.upstreams; told != still.Address {
		t.Errorf("the node was told %s", told)
	}
	status := v1alpha1.UpstreamStatus{Name: "ingest", Address: ready.Address, Reason: v1alpha1.ReasonNoReadyEndpoint,
		Message: "Service ingest has no ready endpoint for port 80"}
	still.Assigned = 1
	p.eventuallyUpstreams([]v1alpha1.UpstreamStatus{status, still})

	p.patchMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Upstreams = m.Spec.Upstreams[1:] })
	p.eventuallyUpstreams([]v1alpha1.UpstreamStatus{still})
	p.must(p.client.Delete(p.ctx, service))
	p.patchMaster(func(m *v1alpha1.ClusterMaster) {
		m.Spec.Upstreams = append(m.Spec.Upstreams, serviceUpstream("ingest", 1))
	})
	status.Reason, status.Message = v1alpha1.ReasonServiceNotFound, "Service ingest does not exist"
	p.eventuallyUpstreams([]v1alpha1.UpstreamStatus{status, still})
}

func (p *plant) eventuallyUpstreams(want []v1alpha1.UpstreamStatus) {
	p.Helper()
	p.eventuallyMaster("with these upstreams: "+cmp.Diff(nil, want), func(m *v1alpha1.ClusterMaster) bool {
		return cmp.Equal(want, m.Status.Upstreams)
	})
}
