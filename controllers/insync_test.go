package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	apiac "github.com/refinery-operator/refinery-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// presents reports, as the active master does, that the nodes of a Refinery are authenticated with these certificates.
func (f fixture) presents(r *v1alpha1.Refinery, certificates map[string]string) {
	GinkgoHelper()
	counts := map[string]int32{}
	status := apiac.RefineryStatus()
	for _, id := range []string{"press/a", "press/b"} {
		counts[certificates[id]]++
		status.WithNodes(apiac.NodeStatus().WithID(id).WithState(v1alpha1.NodeAuthenticated).WithCertificate(certificates[id]).WithLastTransitionTime(metav1.Now()))
	}
	authenticated := apiac.AuthenticatedNodes().WithNodes(2).WithWanted(2).WithSummary("2/2")
	for fingerprint, nodes := range counts {
		authenticated.WithCertificates(apiac.PresentedCertificate().WithFingerprint(fingerprint).WithNodes(nodes))
	}
	status.WithConditions(metav1ac.Condition().WithType(v1alpha1.ConditionAuthenticated).WithStatus(metav1.ConditionTrue).
		WithReason(v1alpha1.ReasonAuthenticated).WithMessage("").WithLastTransitionTime(metav1.Now()))
	Expect(api.Status().Apply(f.ctx, apiac.Refinery(r.Name, r.Namespace).WithStatus(status.WithAuthenticated(authenticated)),
		client.FieldOwner(v1alpha1.MasterFieldOwner), client.ForceOwnership)).To(Succeed())
}

var _ = Describe("CertificateInSync", func() {
	It("is False, and names the nodes, from a new certificate until the last node presents it", func(ctx SpecContext) {
		f := newFixture(ctx)
		r := f.refinery("press", `{replicas: 2, certificateSecretRef: {name: press-own}}`)
		f.create(f.master("alpha", `{}`))
		first, second := client0(f.authority("alpha"), r), client0(f.authority("alpha"), r)
		older, newer := v1alpha1.Fingerprint(leafOf(first)), v1alpha1.Fingerprint(leafOf(second))
		secret := f.tlsSecret("press-own", first)
		f.create(secret, r)
		const inSync = "True/InSync: every authenticated node presents the current certificate"
		Eventually(conditionText(f, r, v1alpha1.ConditionCertificateInSync)).Should(Equal(inSync))
		f.presents(r, map[string]string{"press/a": older, "press/b": older})

		change(f, secret, func(s *corev1.Secret) {
			s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = second.Certificate, second.Key
		})
		of := " present another certificate than the current one (" + newer[:12] + "…, Secret press-own): "
		const advice = "; they switch when the kubelet has updated the Secret in their pods, usually within two minutes"
		Eventually(conditionText(f, r, v1alpha1.ConditionCertificateInSync)).Should(Equal(
			"False/OutdatedCertificate: 2 of 2 authenticated nodes" + of + "press/a, press/b" + advice))
		f.presents(r, map[string]string{"press/a": newer, "press/b": older})
		Eventually(conditionText(f, r, v1alpha1.ConditionCertificateInSync)).Should(Equal(
			"False/OutdatedCertificate: 1 of 2 authenticated nodes" + of + "press/b" + advice))
		f.presents(r, map[string]string{"press/a": newer, "press/b": newer})
		Eventually(conditionText(f, r, v1alpha1.ConditionCertificateInSync)).Should(Equal(inSync))
	})
})
