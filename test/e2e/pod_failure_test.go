package e2e

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/version"
)

// nowhere is a label that no Kubernetes node has.
const nowhere = "e2e.cluster.refinery.dev/nowhere"

var _ = Describe("Pods that do not start", func() {
	It("show in status with container and cause, are late after their deadline, and are well once that is mended", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		homeless := newMaster(ctx, ns, func(m *v1alpha1.ClusterMaster) {
			m.Name, m.Spec.Template = "beta", &v1alpha1.MasterPodTemplate{NodeSelector: map[string]string{nowhere: "true"}}
		})
		unpulled := newRefinery(ctx, master, "unpulled", app("127.0.0.1:1/team/app:1", ""), func(r *v1alpha1.Refinery) {
			r.Spec.ProgressDeadlineSeconds = ptr.To[int32](10)
		})
		crashing := newRefinery(ctx, master, "crashing", app("docker.io/refinery-operator/refinery:"+version.Version, `"args": ["--nonsense"]`))
		keyless := newRefinery(ctx, master, "keyless", template(fmt.Sprintf(`{"spec": {"securityContext": {"runAsUser": 65532},
			"volumes": [{"name": "key", "secret": {"secretName": "missing"}}],
			"containers": [{"name": "app", "image": %q, "volumeMounts": [{"name": "key", "mountPath": "/key"}]}]}}`, pauseImage(ctx))))
		unplaced := newRefinery(ctx, master, "unplaced", template(fmt.Sprintf(`{"spec": {"nodeSelector": {%q: "true"}}}`, nowhere)))

		By("saying why")
		why := map[client.Object]types.GomegaMatcher{
			homeless: unavailable(v1alpha1.ReasonUnschedulable, `pod beta-\S+: no node takes it: 0/1 nodes are available`),
			unpulled: unavailable(v1alpha1.ReasonImageNotPulled, `container app of pod unpulled-\S+: image 127\.0\.0\.1:1/team/app:1 cannot be pulled`),
			crashing: unavailable(v1alpha1.ReasonCrashLoop, `container app of pod crashing-\S+: it ends again and again, the last time with exit code [1-9]`),
			keyless:  unavailable(v1alpha1.ReasonContainerNotCreated, `container \S+ of pod keyless-\S+: Secret missing, which volume key mounts, does not exist`),
			unplaced: unavailable(v1alpha1.ReasonUnschedulable, `pod unplaced-\S+: no node takes it: 0/1 nodes are available`),
		}
		for obj, is := range why {
			Eventually(ctx, conditionOf(obj, v1alpha1.ConditionAvailable)).WithTimeout(startTimeout).Should(is, obj.GetName())
		}
		Eventually(ctx, conditionOf(unpulled, v1alpha1.ConditionStalled)).WithTimeout(startTimeout).Should(And(
			HaveField("Status", metav1.ConditionTrue), HaveField("Reason", v1alpha1.ReasonProgressDeadlineExceeded),
			HaveField("Message", ContainSubstring("cannot be pulled"))))
		for obj, is := range why { // by now each has been tried several times
			Expect(conditionOf(obj, v1alpha1.ConditionAvailable)(ctx)).To(is, obj.GetName())
		}

		By("mending it")
		change(ctx, homeless, func(m *v1alpha1.ClusterMaster) { m.Spec.Template = nil })
		for _, r := range []*v1alpha1.Refinery{unpulled, crashing} {
			change(ctx, r, app(pauseImage(ctx), ""))
		}
		Expect(k8s.Create(ctx, &corev1.Secret{ObjectMeta: objectMeta(ns, "missing")})).To(Succeed())
		change(ctx, unplaced, func(r *v1alpha1.Refinery) { r.Spec.Template = nil })
		for _, r := range []*v1alpha1.Refinery{unpulled, crashing, keyless, unplaced} {
			Eventually(ctx, columnsOf(r)).WithTimeout(startTimeout).Should(Equal(authenticated(1)), r.Name)
		}
		for obj := range why {
			for condition, is := range map[string]types.GomegaMatcher{
				v1alpha1.ConditionReady:     HaveField("Status", metav1.ConditionTrue),
				v1alpha1.ConditionAvailable: HaveField("Reason", v1alpha1.ReasonAvailable),
				v1alpha1.ConditionStalled:   BeZero(),
			} {
				Eventually(ctx, conditionOf(obj, condition)).WithTimeout(startTimeout).Should(is, obj.GetName())
			}
		}
	}, SpecTimeout(specTimeout))
})

// unavailable is condition Available of an object without pods, for a reason and with a message that matches.
func unavailable(reason, message string) types.GomegaMatcher {
	return And(HaveField("Status", metav1.ConditionFalse), HaveField("Reason", reason),
		HaveField("Message", MatchRegexp("^0 of 1 pods are available: "+message)))
}

// app gives the pods of a Refinery a container with an image and, if there are any, further fields.
func app(image, fields string) func(*v1alpha1.Refinery) {
	if fields != "" {
		fields = ", " + fields
	}
	return template(fmt.Sprintf(`{"spec": {"securityContext": {"runAsUser": 65532}, "containers": [{"name": "app", "image": %q%s}]}}`, image, fields))
}
