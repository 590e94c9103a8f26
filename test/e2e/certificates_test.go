package e2e

import (
	"bytes"
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

var _ = Describe("A certificate that the user provides", func() {
	It("is denied while another authority signed it, and let in with no pod restarted once it is replaced", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		trusted := authorityOf(ctx, master)
		wrong := strangeAuthority(trusted).sign(identity(master, "press"))
		own := providedSecret(master, "press-own", wrong, trusted.pem)
		Expect(k8s.Create(ctx, own)).To(Succeed())
		press := newRefinery(ctx, master, "press", provided(own.Name))

		By("showing Denied, and why")
		Eventually(ctx, columnsOf(press)).WithTimeout(startTimeout).
			Should(Equal(columns{Auth: v1alpha1.ReasonDenied, Nodes: "0/1"}))
		Eventually(ctx, nodesOf(press)).Should(ConsistOf(And(
			HaveField("State", v1alpha1.NodeDenied),
			HaveField("Reason", v1alpha1.ReasonWrongAuthority),
			HaveField("Message", ContainSubstring("authority")),
			HaveField("Certificate", wrong.fingerprint()),
		)))
		Expect(conditionOf(press, v1alpha1.ConditionCertificateReady)(ctx)).To(And(
			HaveField("Status", metav1.ConditionFalse),
			HaveField("Reason", v1alpha1.ReasonWrongAuthority),
			HaveField("Message", ContainSubstring(own.Name)),
		))
		before := refineryPods(ctx, press)
		Expect(before).To(HaveLen(1))

		By("putting in a certificate of the right authority")
		right := trusted.sign(identity(master, "press"))
		change(ctx, own, func(s *corev1.Secret) { s.Data = providedSecret(master, own.Name, right, trusted.pem).Data })
		Eventually(ctx, columnsOf(press)).WithTimeout(propagationTimeout).Should(Equal(authenticated(1)))
		Expect(conditionOf(press, v1alpha1.ConditionCertificateReady)(ctx)).To(And(
			HaveField("Status", metav1.ConditionTrue),
			HaveField("Reason", v1alpha1.ReasonProvided),
		))
		Expect(nodesOf(press)(ctx)).To(ConsistOf(HaveField("Certificate", right.fingerprint())))
		Expect(refineryPods(ctx, press)).To(Equal(before), "no pod restarted or replaced")
	}, SpecTimeout(specTimeout))

	It("is named in condition and event while it is missing, and goes on by itself once it is there", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		press := newRefinery(ctx, master, "press", provided("press-own"))

		Eventually(ctx, conditionOf(press, v1alpha1.ConditionCertificateReady)).Should(And(
			HaveField("Status", metav1.ConditionFalse),
			HaveField("Reason", v1alpha1.ReasonSecretNotFound),
			HaveField("Message", ContainSubstring("press-own")),
		))
		Eventually(ctx, warningsOn(press)).Should(ContainElement(ContainSubstring("press-own")))

		trusted := authorityOf(ctx, master)
		own := providedSecret(master, "press-own", trusted.sign(identity(master, "press")), trusted.pem)
		Expect(k8s.Create(ctx, own)).To(Succeed())
		Eventually(ctx, columnsOf(press)).WithTimeout(propagationTimeout).Should(Equal(authenticated(1)))
		Eventually(ctx, resourceVersionOf(own)).Should(Equal(own.ResourceVersion), "the user's Secret is never written to")
	}, SpecTimeout(specTimeout))

	It("that is no good ends in a condition which says what is wrong with it", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		trusted := authorityOf(ctx, master)
		good, other := trusted.sign(identity(master, "good")), trusted.sign(identity(master, "other"))
		huge := bytes.Repeat(good.certificate, 900<<10/len(good.certificate))

		rows := []struct {
			name   string
			given  credentials
			reason string
		}{
			{"garbage", credentials{certificate: []byte("\x00garbage"), key: []byte("garbage")}, v1alpha1.ReasonNotPEM},
			{"mismatch", credentials{certificate: trusted.sign(identity(master, "mismatch")).certificate, key: other.key}, v1alpha1.ReasonKeyMismatch},
			{"huge", credentials{certificate: huge, key: good.key}, v1alpha1.ReasonTooLarge},
			{"stranger", trusted.sign(identity(master, "somebody-else")), v1alpha1.ReasonWrongIdentity},
		}
		refineries := map[string]*v1alpha1.Refinery{}
		for _, row := range rows {
			Expect(k8s.Create(ctx, providedSecret(master, row.name+"-own", row.given, trusted.pem))).To(Succeed())
			refineries[row.name] = newRefinery(ctx, master, row.name, external, provided(row.name+"-own"))
		}
		for _, row := range rows {
			By(row.name + " is shown as " + row.reason)
			expectBadCertificate(ctx, refineries[row.name], row.name+"-own", row.reason)
		}

		By("still serving everyone else")
		fine := newRefinery(ctx, master, "fine")
		Eventually(ctx, columnsOf(fine)).WithTimeout(startTimeout).Should(Equal(authenticated(1)))
	}, SpecTimeout(specTimeout))
})

func expectBadCertificate(ctx context.Context, r *v1alpha1.Refinery, secretName, reason string) {
	GinkgoHelper()
	Eventually(ctx, conditionOf(r, v1alpha1.ConditionCertificateReady)).Should(And(
		HaveField("Status", metav1.ConditionFalse),
		HaveField("Reason", reason),
		// Nothing of what the Secret holds is repeated: no certificate or key (their Base64 begins like that), no garbage.
		HaveField("Message", And(ContainSubstring(secretName), Not(ContainSubstring("MII")), Not(ContainSubstring("\x00")))),
	))
}
