package e2e

import (
	"context"
	"fmt"
	"os"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

var _ = Describe("A Refinery with a StatefulSet", func() {
	It("has nodes whose ids stay, with volumes of their own, and says why a pod is refused", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		master := newReadyMaster(ctx, ns)
		r := newRefinery(ctx, master, "press", replicas(2), template(fmt.Sprintf(
			`{"spec": {"securityContext": {"runAsUser": 65532}, "containers": [{"name": "app", "image": %q, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}`, pauseImage(ctx))), func(r *v1alpha1.Refinery) {
			r.Spec.StatefulSet = &v1alpha1.RefineryStatefulSet{VolumeClaimTemplates: []v1alpha1.VolumeClaimTemplate{{Name: "data", Spec: claimOf(ns)}}}
			r.Spec.StatefulSet.ClaimRetention.WhenDeleted = "Delete"
		})
		makeVolumes(ctx, ns, 2)
		Eventually(ctx, columnsOf(r)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))
		Expect(nodesOf(r)(ctx)).To(ConsistOf(HaveField("ID", "press/press-0"), HaveField("ID", "press/press-1")))
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: objectMeta(ns, "data-press-0")}
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(claim), claim)).To(Succeed())
		Expect(claim.Status.Phase).To(Equal(corev1.ClaimBound))
		volume := claim.Spec.VolumeName

		By("letting a pod go")
		first := &corev1.Pod{ObjectMeta: objectMeta(ns, "press-0")}
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(first), first)).To(Succeed())
		before := first.UID
		Expect(k8s.Delete(ctx, first)).To(Succeed())
		Eventually(ctx, func(ctx context.Context) (types.UID, error) {
			err := k8s.Get(ctx, client.ObjectKeyFromObject(first), first)
			return first.UID, err
		}).WithTimeout(startTimeout).ShouldNot(Equal(before))
		Eventually(ctx, columnsOf(r)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))
		Expect(nodesOf(r)(ctx)).To(ConsistOf(HaveField("ID", "press/press-0"), HaveField("ID", "press/press-1")))

		Expect(first.Spec.Volumes).To(ContainElement(HaveField("PersistentVolumeClaim", HaveField("ClaimName", claim.Name))))
		Expect(first.Spec.Containers).To(ContainElement(HaveField("VolumeMounts", ContainElement(HaveField("MountPath", "/data")))))
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(claim), claim)).To(Succeed())
		Expect(claim.Spec.VolumeName).To(Equal(volume))

		By("leaving no room for another pod")
		quota := &corev1.ResourceQuota{ObjectMeta: objectMeta(ns, "full"), Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("1")}}}
		Expect(k8s.Create(ctx, quota)).To(Succeed())
		Eventually(ctx, func(ctx context.Context) (corev1.ResourceList, error) {
			err := k8s.Get(ctx, client.ObjectKeyFromObject(quota), quota)
			return quota.Status.Hard, err
		}).ShouldNot(BeEmpty())
		change(ctx, r, func(r *v1alpha1.Refinery) { r.Spec.Replicas = ptr.To[int32](3) })
		Eventually(ctx, conditionOf(r, v1alpha1.ConditionAvailable)).WithTimeout(startTimeout).Should(And(
			HaveField("Reason", v1alpha1.ReasonPodsRefused), HaveField("Message", ContainSubstring("exceeded quota: full"))))
		change(ctx, r, func(r *v1alpha1.Refinery) { r.Spec.Replicas = ptr.To[int32](2) })
		Eventually(ctx, columnsOf(r)).WithTimeout(startTimeout).Should(Equal(authenticated(2)))

		By("having the controllers of a Deployment create its pods once more, and again soon after there is room")
		mill := newRefinery(ctx, master, "mill", replicas(1))
		Eventually(ctx, conditionOf(mill, v1alpha1.ConditionAvailable)).WithTimeout(startTimeout).Should(HaveField("Reason", v1alpha1.ReasonPodsRefused))
		Eventually(ctx, func(ctx context.Context) ([]appsv1.ReplicaSet, error) {
			list := &appsv1.ReplicaSetList{}
			err := k8s.List(ctx, list, client.InNamespace(ns), client.MatchingLabels{"app.kubernetes.io/instance": mill.Name})
			return list.Items, err
		}).WithTimeout(startTimeout).Should(ConsistOf(HaveField("Annotations", HaveKey(reconcile.Retried))))
		change(ctx, quota, func(q *corev1.ResourceQuota) { q.Spec.Hard["pods"] = resource.MustParse("10") })
		Eventually(ctx, columnsOf(mill)).WithTimeout(startTimeout).Should(Equal(authenticated(1)))

		By("deleting it with its claims")
		Expect(k8s.Delete(ctx, r)).To(Succeed())
		Eventually(ctx, func(ctx context.Context) ([]corev1.PersistentVolumeClaim, error) {
			list := &corev1.PersistentVolumeClaimList{}
			err := k8s.List(ctx, list, client.InNamespace(ns))
			return list.Items, err
		}).WithTimeout(startTimeout).Should(BeEmpty())
	}, SpecTimeout(specTimeout))
})

// claimOf asks for one of the volumes of a namespace.
func claimOf(namespace string) corev1.PersistentVolumeClaimSpec {
	return corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &namespace,
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}}}
}

// makeVolumes makes volumes for the claims of a namespace: the local cluster makes none by itself.
func makeVolumes(ctx context.Context, namespace string, n int) {
	GinkgoHelper()
	for i := range n {
		folder, err := os.MkdirTemp("", "refinery-e2e-volume-")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(os.RemoveAll, folder)
		volume := &corev1.PersistentVolume{ObjectMeta: objectMeta("", fmt.Sprintf("%s-%d", namespace, i))}
		volume.Spec = corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: namespace, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: folder}},
		}
		Expect(k8s.Create(ctx, volume)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(k8s.Delete(ctx, volume)).To(Succeed()) })
	}
}
