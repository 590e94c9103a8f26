package controllers_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("An object of the operator that someone else writes too", func() {
	It("is put back where a person changed the number of a port", func(ctx SpecContext) {
		f, _, r := deployed(ctx)
		service := &corev1.Service{}
		must(f.get(service, "press"))
		before := service.DeepCopy()
		change(f, service, func(s *corev1.Service) {
			s.Spec.Ports[0].Port, s.Spec.Ports[0].TargetPort = 9090, intstr.FromInt32(9090)
		})
		Eventually(func() []corev1.ServicePort { must(f.get(service, "press")); return service.Spec.Ports }).Should(Equal(before.Spec.Ports))
		Expect(service.UID).To(Equal(before.UID))
		Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(BeEmpty())
		settled()
	})

	It("is left alone after the second time also where the operator would make new keys each time", func(ctx SpecContext) {
		f, m, _ := deployed(ctx)
		pair := otherAuthorityPair()
		contend := func() {
			secret := f.secret("alpha-tls")
			Eventually(func() error {
				must(f.get(secret, "alpha-tls"))
				secret.Data = tlsData(pair, nil)
				return api.Update(f.ctx, secret, client.FieldOwner("external-secrets"))
			}).Should(Succeed())
		}
		contend()
		Eventually(func() []byte { return f.secret("alpha-tls").Data[corev1.TLSCertKey] }).ShouldNot(Equal(pair.Certificate))
		contend()
		Eventually(condition(f, m, v1alpha1.ConditionStalled)).Should(Equal("True/Contested"))
		Expect(message(f, m, v1alpha1.ConditionStalled)()).To(HavePrefix("Secret alpha-tls is the operator's, and external-secrets keeps overwriting it"))
		settled()
	})

	It("is left alone after the second time, with a condition that names them, and looked at again later", func(ctx SpecContext) {
		f, _, r := deployed(ctx)
		contend := func() {
			service := &corev1.Service{}
			Eventually(func() error {
				must(f.get(service, "press"))
				service.Spec.Selector["app.kubernetes.io/name"] = "helm"
				return api.Update(f.ctx, service, client.FieldOwner("helm-controller"))
			}).Should(Succeed())
		}
		selects := func() string {
			service := &corev1.Service{}
			must(f.get(service, "press"))
			return service.Spec.Selector["app.kubernetes.io/name"]
		}
		contend()
		Eventually(selects).Should(Equal("refinery"))
		contend()
		Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(Equal("True/Contested"))
		Expect(message(f, r, v1alpha1.ConditionStalled)()).To(HavePrefix("Service press is the operator's, and helm-controller keeps overwriting it"))
		Eventually(f.events(r)).Should(ContainElement(HavePrefix("Warning/Contested: ")))
		contend()
		settled()
		wrote := operatorWrites.total()
		wake(f, r)
		Consistently(func() []string { return operatorWrites.since(wrote) }).Should(BeEmpty())
		Expect(selects()).To(Equal("helm"))

		operatorClock.Step(6 * time.Minute)
		wake(f, r)
		Eventually(selects).Should(Equal("refinery"))
		Eventually(condition(f, r, v1alpha1.ConditionStalled)).Should(BeEmpty())
	})
})
