package master

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// createEndpointSlice creates the EndpointSlice of the Service, as the operator does.
func (p *plant) createEndpointSlice(family discoveryv1.AddressType) {
	p.Helper()
	p.must(p.client.Apply(p.ctx, resource.MasterEndpointSlice(p.master(), 0, family), client.FieldOwner(v1alpha1.OperatorFieldOwner)))
}

// at gives a master the addresses of a pod. Without, it leaves the Service alone.
func at(podIPs ...string) func(*Options, *rest.Config) {
	return func(o *Options, _ *rest.Config) { o.PodIPs, o.NodeName = podIPs, "node-of-"+o.PodName }
}

func (p *plant) endpointSlice() *discoveryv1.EndpointSlice {
	p.Helper()
	var slice discoveryv1.EndpointSlice
	p.must(p.client.Get(p.ctx, client.ObjectKey{Namespace: p.namespace, Name: p.master().EndpointSliceName()}, &slice))
	return &slice
}

// eventuallyEndpoint waits until the Service has one endpoint, with this address.
func (p *plant) eventuallyEndpoint(address string) *discoveryv1.EndpointSlice {
	p.Helper()
	var slice *discoveryv1.EndpointSlice
	p.until("the one endpoint "+address, func() bool {
		slice = p.endpointSlice()
		return len(slice.Endpoints) == 1 && cmp.Equal(slice.Endpoints[0].Addresses, []string{address})
	})
	return slice
}

func TestTheActiveMasterIsTheOneEndpointOfTheService(t *testing.T) {
	for family, address := range map[discoveryv1.AddressType]string{discoveryv1.AddressTypeIPv4: "10.1.0.7", discoveryv1.AddressTypeIPv6: "fd00::7"} {
		t.Run(string(family), func(t *testing.T) {
			p := newPlant(t, v1alpha1.ClusterMasterSpec{})
			p.createEndpointSlice(family)
			m := p.start("alpha-0", at("10.1.0.7", "fd00::7"))
			slice := p.eventuallyEndpoint(address)
			want := []discoveryv1.Endpoint{{Addresses: []string{address}, NodeName: ptr.To("node-of-alpha-0"),
				Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true)},
				TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.namespace, Name: "alpha-0"}}}
			if diff := cmp.Diff(want, slice.Endpoints); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
			if !listens(m.address) {
				t.Error("it is the endpoint before it listens")
			}
			for _, entry := range slice.ManagedFields {
				if fields := string(entry.FieldsV1.GetRawBytes()); entry.Manager == v1alpha1.MasterFieldOwner && fields != `{"f:endpoints":{}}` {
					t.Errorf("the master owns %s", fields)
				}
			}
			p.until("looked again", func() bool { return m.clock.Since(slice.CreationTimestamp.Time) > 10*m.endpointInterval })
			if now := p.endpointSlice(); now.ResourceVersion != slice.ResourceVersion {
				t.Errorf("it was written again:\n%s", cmp.Diff(slice, now))
			}
		})
	}
}

func TestAServiceOfTwoFamiliesHasAnEndpointOfEachThatThePodHas(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.createEndpointSlice(discoveryv1.AddressTypeIPv6)
	p.must(p.client.Apply(p.ctx, resource.MasterEndpointSlice(p.master(), 1, discoveryv1.AddressTypeIPv4), client.FieldOwner(v1alpha1.OperatorFieldOwner)))
	second := func() (addresses []string) {
		var slice discoveryv1.EndpointSlice
		p.must(p.client.Get(p.ctx, client.ObjectKey{Namespace: p.namespace, Name: p.master().EndpointSliceNames()[1]}, &slice))
		for _, e := range slice.Endpoints {
			addresses = append(addresses, e.Addresses...)
		}
		return addresses
	}
	first := p.start("alpha-0", at("10.1.0.7", "fd00::7"))
	p.eventuallyEndpoint("fd00::7")
	p.until("the second family", func() bool { return cmp.Equal(second(), []string{"10.1.0.7"}) })
	p.start("alpha-1", at("fd00::8"))
	first.stop()
	p.eventuallyEndpoint("fd00::8")
	p.until("nothing behind the family that the next pod has no address of", func() bool { return second() == nil })
}

func TestTheNextMasterReplacesTheEndpoint(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.createEndpointSlice(discoveryv1.AddressTypeIPv4)
	first := p.start("alpha-0", at("10.1.0.7"))
	p.eventuallyEndpoint("10.1.0.7")
	p.start("alpha-1", at("10.1.0.8"))
	first.stop()
	p.eventuallyEndpoint("10.1.0.8")
}

func TestAnEndpointThatIsTakenOutComesBack(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.start("alpha-0", at("10.1.0.7")) // while there is no EndpointSlice
	p.eventuallyMaster("active", func(m *v1alpha1.ClusterMaster) bool { return m.Status.Active != nil })
	p.createEndpointSlice(discoveryv1.AddressTypeIPv4)
	for name, change := range map[string]func(*discoveryv1.EndpointSlice){
		"emptied": func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil },
		"replaced": func(s *discoveryv1.EndpointSlice) {
			s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.9"}}}
		},
		"not ready": func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Conditions.Ready = ptr.To(false) },
	} {
		slice := p.eventuallyEndpoint("10.1.0.7")
		before := slice.DeepCopy()
		change(slice)
		p.must(p.client.Patch(p.ctx, slice, client.MergeFrom(before)))
		p.until(name+" and repaired", func() bool { return cmp.Equal(p.endpointSlice().Endpoints, before.Endpoints) })
	}
	p.must(p.client.Delete(p.ctx, p.endpointSlice()))
	p.createEndpointSlice(discoveryv1.AddressTypeIPv4)
	p.eventuallyEndpoint("10.1.0.7")
}

// deposed is a term that was over before the one of its successor, which is the endpoint.
func (p *plant) deposed(c client.WithWatch) *activeTerm {
	p.Helper()
	m, err := NewMaster(Options{Namespace: p.namespace, Name: "alpha", PodName: "alpha-9", PodIPs: []string{"10.1.0.9"}}, p.config, p.logger("alpha-9"))
	p.must(err)
	if c != nil {
		m.client = c
	}
	return &activeTerm{master: m, term: tenure{Pod: "alpha-9", Epoch: 0}, log: m.log}
}

func TestADeposedMasterDoesNotWriteOverItsSuccessor(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.createEndpointSlice(discoveryv1.AddressTypeIPv4)
	p.start("alpha-0", at("10.1.0.7"))
	p.eventuallyEndpoint("10.1.0.7")
	if _, err := p.deposed(nil).ensureEndpoint(p.ctx); err == nil || !strings.Contains(err.Error(), "a newer master is active, with epoch 1") {
		t.Errorf("the former master: %v", err)
	}
	p.eventuallyEndpoint("10.1.0.7")
}

func TestAMasterThatIsDeposedBetweenLookingAndWritingDoesNotWrite(t *testing.T) {
	p := newPlant(t, v1alpha1.ClusterMasterSpec{})
	p.createEndpointSlice(discoveryv1.AddressTypeIPv4)
	overtaken := interceptor.NewClient(p.client, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, object runtime.ApplyConfiguration, options ...client.ApplyOption) error {
			p.start("alpha-0", at("10.1.0.7"))
			p.eventuallyEndpoint("10.1.0.7")
			return c.Apply(ctx, object, options...)
		}})
	if _, err := p.deposed(overtaken).ensureEndpoint(p.ctx); !apierrors.IsConflict(err) {
		t.Errorf("the former master: %v", err)
	}
	p.eventuallyEndpoint("10.1.0.7")
}
