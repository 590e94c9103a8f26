package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	discoveryv1ac "k8s.io/client-go/applyconfigurations/discovery/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// publish makes an address the endpoint of a ClusterMaster's Service, as the active master does.
func (f fixture) publish(m *v1alpha1.ClusterMaster, address string) {
	GinkgoHelper()
	Eventually(exists(f, &discoveryv1.EndpointSlice{}, m.EndpointSliceName())).Should(Succeed())
	Expect(api.Apply(f.ctx, discoveryv1ac.EndpointSlice(m.EndpointSliceName(), f.namespace).
		WithEndpoints(discoveryv1ac.Endpoint().WithAddresses(address).WithConditions(discoveryv1ac.EndpointConditions().WithReady(true))),
		client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)).To(Succeed())
}

// published are the addresses behind a ClusterMaster's Service.
func published(f fixture, m *v1alpha1.ClusterMaster) func() []string {
	return func() (addresses []string) {
		slice := &discoveryv1.EndpointSlice{}
		must(f.get(slice, m.EndpointSliceName()))
		for _, e := range slice.Endpoints {
			addresses = append(addresses, e.Addresses...)
		}
		return addresses
	}
}

// sliceOf is an EndpointSlice with an address of a Service, that someone manages.
func sliceOf(f fixture, service *corev1.Service, name, manager, address string) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}}}
	slice.Namespace, slice.Name, slice.Labels = f.namespace, name, map[string]string{}
	for key, value := range service.Labels { // as Kubernetes does
		slice.Labels[key] = value
	}
	slice.Labels[discoveryv1.LabelServiceName], slice.Labels[discoveryv1.LabelManagedBy] = service.Name, manager
	return slice
}

// slicesOf polls the EndpointSlices of a ClusterMaster's Service, with their families.
func slicesOf(f fixture, m *v1alpha1.ClusterMaster) func() map[string]discoveryv1.AddressType {
	return func() map[string]discoveryv1.AddressType {
		list, families := &discoveryv1.EndpointSliceList{}, map[string]discoveryv1.AddressType{}
		must(api.List(f.ctx, list, client.InNamespace(f.namespace), client.MatchingLabels{discoveryv1.LabelServiceName: m.Name}))
		for _, slice := range list.Items {
			families[slice.Name] = slice.AddressType
		}
		return families
	}
}

func endpointsObject() *unstructured.Unstructured {
	endpoints := &unstructured.Unstructured{}
	endpoints.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Endpoints"))
	return endpoints
}

var _ = Describe("The Service of a ClusterMaster", func() {
	It("selects no pods, and its endpoints are the active master's alone", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{}`)
		f.create(m)
		f.publish(m, "10.1.0.7")
		service, slice := &corev1.Service{}, &discoveryv1.EndpointSlice{}
		Expect(f.get(service, "alpha")).To(Succeed())
		Expect(service.Spec.Selector).To(BeEmpty())
		Expect(f.get(slice, m.EndpointSliceName())).To(Succeed())
		Expect(metav1.IsControlledBy(slice, m)).To(BeTrue())
		for _, entry := range slice.ManagedFields {
			if entry.Manager == v1alpha1.OperatorFieldOwner {
				Expect(string(entry.FieldsV1.GetRawBytes())).To(And(ContainSubstring("f:ports"), Not(ContainSubstring(`"f:endpoints":`))))
			}
		}

		By("repairing everything else of it")
		change(f, slice, func(s *discoveryv1.EndpointSlice) { s.Ports[0].Port = ptr.To[int32](9) })
		Eventually(func() int32 { must(f.get(slice, slice.Name)); return *slice.Ports[0].Port }).Should(BeEquivalentTo(v1alpha1.DefaultPort))
		Expect(published(f, m)()).To(Equal([]string{"10.1.0.7"}))

		By("looking on while they change")
		f.publish(m, "10.1.0.8")
		wake(f, m)
		Consistently(published(f, m)).Should(Equal([]string{"10.1.0.8"}))
		change(f, slice, func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil })
		Consistently(published(f, m)).Should(BeEmpty())

		By("creating it again")
		Expect(api.Delete(ctx, slice)).To(Succeed())
		Eventually(exists(f, slice, slice.Name)).Should(Succeed())
	})

	It("gets endpoints of its own family", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{paused: true}`)
		f.create(m)
		Expect(api.Apply(ctx, resource.MasterEndpointSlice(m, 0, discoveryv1.AddressTypeIPv6), client.FieldOwner(v1alpha1.OperatorFieldOwner))).To(Succeed())
		change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.Paused = false })
		Eventually(func() discoveryv1.AddressType {
			slice := &discoveryv1.EndpointSlice{}
			_ = f.get(slice, m.EndpointSliceName())
			return slice.AddressType
		}).Should(Equal(discoveryv1.AddressTypeIPv4))
	})

	It("has every field that the spec chooses, and its load balancer's addresses are in status", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{service: {type: LoadBalancer, port: 443, nodePort: 30443, externalTrafficPolicy: Local, loadBalancerClass: example.com/vip,
			loadBalancerSourceRanges: [192.0.2.0/24], ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6, IPv4], annotations: {a: b}}}`)
		f.create(m)
		service := &corev1.Service{}
		Eventually(exists(f, service, "alpha")).Should(Succeed())
		Expect(service.Annotations).To(HaveKeyWithValue("a", "b"))
		spec := service.Spec
		Expect(spec.Type).To(Equal(corev1.ServiceTypeLoadBalancer))
		Expect(spec.Ports).To(Equal([]corev1.ServicePort{{Name: "cluster", Protocol: corev1.ProtocolTCP, Port: 443, NodePort: 30443,
			TargetPort: intstr.FromInt32(v1alpha1.DefaultPort)}}))
		Expect(spec.ExternalTrafficPolicy).To(Equal(corev1.ServiceExternalTrafficPolicyLocal))
		Expect(spec.LoadBalancerClass).To(HaveValue(Equal("example.com/vip")))
		Expect(spec.LoadBalancerSourceRanges).To(Equal([]string{"192.0.2.0/24"}))
		Expect(spec.IPFamilyPolicy).To(HaveValue(Equal(corev1.IPFamilyPolicyRequireDualStack)))
		Expect(spec.IPFamilies).To(Equal([]corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}))
		Eventually(slicesOf(f, m)).Should(Equal(map[string]discoveryv1.AddressType{"alpha-active": "IPv6", "alpha-active-second": "IPv4"}))

		service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: "vip.example.com"}, {IP: "2001:db8::7"}}
		Expect(api.Status().Update(ctx, service)).To(Succeed())
		Eventually(func() []string { must(f.get(m, "alpha")); return m.Status.ExternalEndpoints }).
			Should(Equal([]string{"[2001:db8::7]:443", "vip.example.com:443"}))

		By("giving up what is not asked for any more")
		change(f, m, func(m *v1alpha1.ClusterMaster) {
			m.Spec.Service = v1alpha1.MasterService{Type: corev1.ServiceTypeClusterIP, Port: 443, IPFamilyPolicy: corev1.IPFamilyPolicySingleStack,
				IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol}}
		})
		Eventually(slicesOf(f, m)).Should(Equal(map[string]discoveryv1.AddressType{"alpha-active": "IPv6"}))
		Expect(f.get(service, "alpha")).To(Succeed())
		Expect(service.Spec.Ports[0].NodePort).To(BeZero())
		Expect(service.Spec.LoadBalancerClass).To(BeNil())
		Expect(service.Spec.IPFamilies).To(Equal([]corev1.IPFamily{corev1.IPv6Protocol}))
		Eventually(func() []string { must(f.get(m, "alpha")); return m.Status.ExternalEndpoints }).Should(BeEmpty())
	})

	It("loses the selector that it had in a former release, and the endpoints made of it, once the active master is its endpoint", func(ctx SpecContext) {
		f := newFixture(ctx)
		m := f.master("alpha", `{paused: true}`)
		f.create(m)
		former := resource.MasterService(m)
		former.Spec.WithSelector(resource.MasterSelector(m))
		Expect(api.Apply(ctx, former, client.FieldOwner(v1alpha1.OperatorFieldOwner))).To(Succeed())
		service := &corev1.Service{}
		Expect(f.get(service, "alpha")).To(Succeed())
		endpoints := endpointsObject()
		endpoints.SetNamespace(f.namespace)
		endpoints.SetName("alpha")
		endpoints.SetLabels(service.Labels)
		f.create(sliceOf(f, service, "alpha-abcde", "endpointslice-controller.k8s.io", "10.1.0.5"),
			sliceOf(f, service, "alpha-user", "someone", "10.1.0.6"), endpoints)
		change(f, m, func(m *v1alpha1.ClusterMaster) { m.Spec.Paused = false })
		Eventually(exists(f, &discoveryv1.EndpointSlice{}, m.EndpointSliceName())).Should(Succeed())
		settled()
		Expect(f.get(service, "alpha")).To(Succeed())
		Expect(service.Spec.Selector).To(Equal(resource.MasterSelector(m)))
		Expect(f.get(&discoveryv1.EndpointSlice{}, "alpha-abcde")).To(Succeed())

		f.publish(m, "10.1.0.7")
		Eventually(func() map[string]string { must(f.get(service, "alpha")); return service.Spec.Selector }).Should(BeEmpty())
		Eventually(gone(f, &discoveryv1.EndpointSlice{}, "alpha-abcde")).Should(BeTrue())
		Eventually(func() bool {
			return apierrors.IsNotFound(api.Get(ctx, client.ObjectKeyFromObject(endpoints), endpointsObject()))
		}).Should(BeTrue())

		By("deleting one that Kubernetes made a moment later")
		f.create(sliceOf(f, service, "alpha-fghij", "endpointslicemirroring-controller.k8s.io", "10.1.0.5"))
		Eventually(gone(f, &discoveryv1.EndpointSlice{}, "alpha-fghij")).Should(BeTrue())
		Expect(f.get(&discoveryv1.EndpointSlice{}, "alpha-user")).To(Succeed())
		Expect(published(f, m)()).To(Equal([]string{"10.1.0.7"}))
	})
})
