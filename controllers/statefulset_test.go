package controllers_test

import (
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

var _ = Describe("A Refinery that asks for a StatefulSet", func() {
	const asked = `{replicas: 2, statefulSet: {persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete}, volumeClaimTemplates: [{name: data, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]},
		template: {spec: {containers: [{name: app, image: example.com/app:1, volumeMounts: [{name: data, mountPath: /data}]}]}}}`

	// running is such a Refinery with its pods, and what runs them.
	running := func(ctx SpecContext) (fixture, *v1alpha1.Refinery, *appsv1.StatefulSet) {
		GinkgoHelper()
		f := newFixture(ctx)
		m, r, set := f.master("alpha", `{}`), f.refinery("press", asked), &appsv1.StatefulSet{}
		f.create(m, r)
		Eventually(exists(f, set, "press")).Should(Succeed())
		f.becomeActive(m)
		f.deploy(r, 2)
		f.report(r, metav1.ConditionTrue, v1alpha1.ReasonAuthenticated)
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("True/Ready"))
		settled()
		must(f.get(set, "press"))
		return f, r, set
	}

	It("has its pods run by one, and by no Deployment; a change of it is put back, and nothing is written at rest", func(ctx SpecContext) {
		f, r, set := running(ctx)
		Expect(metav1.IsControlledBy(set, r)).To(BeTrue())
		Expect(exists(f, &appsv1.Deployment{}, "press")()).NotTo(Succeed())
		Expect(r.Status.Replicas).To(Equal(int32(2)))

		changeStatus(f, set, func(s *appsv1.StatefulSet) { s.Status.UpdatedReplicas = 1 })
		Eventually(conditionText(f, r, v1alpha1.ConditionReady)).Should(Equal(
			"False/Progressing: a rollout is pending: 1 of 2 pods were created by the current spec, and older ones still there: 1"))
		change(f, set, func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(7)) })
		Eventually(func() int32 { must(f.get(set, "press")); return *set.Spec.Replicas }).Should(Equal(int32(2)))
		f.deploy(r, 2)
		Eventually(condition(f, r, v1alpha1.ConditionReady)).Should(Equal("True/Ready"))
		settled()
		wrote := operatorWrites.total()
		wake(f, r)
		Consistently(func() []string { return operatorWrites.since(wrote) }).Should(BeEmpty())
	})

	It("says in the API server's words why there are no pods", func(ctx SpecContext) {
		f, r, set := running(ctx)
		event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "press.1"}, Reason: "FailedCreate", Type: corev1.EventTypeWarning,
			InvolvedObject: corev1.ObjectReference{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: f.namespace, Name: "press", UID: set.UID},
			Message:        `create Pod press-0 in StatefulSet press failed error: pods "press-0" is forbidden: exceeded quota: full`}
		f.create(event)
		f.deploy(r, 0)
		Eventually(condition(f, r, v1alpha1.ConditionAvailable)).Should(Equal("False/Unavailable"))
		operatorClock.Step(5 * time.Second)
		wake(f, r)
		const why = `0 of 2 pods are available: pods "press-0" is forbidden: exceeded quota: full`
		Eventually(conditionText(f, r, v1alpha1.ConditionAvailable)).Should(Equal("False/PodsRefused: " + why))
		Eventually(conditionText(f, r, v1alpha1.ConditionReady)).Should(Equal("False/Rejected: " + why))

		By("having its controller try again soon")
		Eventually(func() (string, error) {
			err := api.Get(f.ctx, client.ObjectKeyFromObject(set), set)
			return set.Annotations[reconcile.Retried], err
		}).Should(Equal(operatorClock.Now().UTC().Format(time.RFC3339)))
	})

	It("is adopted with its pods where it has lost its owner, and not with those of somebody else", func(ctx SpecContext) {
		f, r, set := running(ctx)
		uid, spec := set.UID, set.Spec
		orphan(f, r)
		Eventually(ownedBy(f, set, "press", r)).Should(BeTrue())
		Expect(set.UID).To(Equal(uid))
		Expect(set.Spec).To(Equal(spec))

		objects := owned(f, r)
		Expect(api.Delete(f.ctx, r)).To(Succeed())
		for _, o := range objects {
			change(f, o, func(o client.Object) { o.SetOwnerReferences(nil) })
		}
		change(f, set, func(s *appsv1.StatefulSet) {
			s.Spec.Template.Spec.Containers = append(s.Spec.Template.Spec.Containers, corev1.Container{Name: "planted", Image: "example.com/planted"})
		})
		again(f, r)
		expectRemoved(f, r, set)
		Expect(apply.Owns(r, set)).To(BeFalse())
	})

	It("has no pods twice when it runs them in another way, which it may after it was External", func(ctx SpecContext) {
		f, r, set := running(ctx)
		change(f, r, func(r *v1alpha1.Refinery) {
			r.Spec.Placement, r.Spec.StatefulSet, r.Spec.Template = v1alpha1.PlacementExternal, nil, nil
		})
		expectRemoved(f, r, set)
		change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Placement = v1alpha1.PlacementInCluster })
		Eventually(conditionText(f, r, v1alpha1.ConditionReady)).Should(Equal(
			"False/Progressing: StatefulSet press ran the pods before, and is being deleted; pods are created again when these are gone"))
		Expect(exists(f, &appsv1.Deployment{}, "press")()).NotTo(Succeed())
		podsGone(f, "press")
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
	})

	It("leaves none of the other kind with its key that a Refinery of its name left behind", func(ctx SpecContext) {
		f, r, set := running(ctx)
		orphan(f, r, func() { r.Spec.StatefulSet, r.Spec.Template = nil, nil })
		expectRemoved(f, r, set)
		Expect(exists(f, &appsv1.Deployment{}, "press")()).NotTo(Succeed())
		podsGone(f, "press")
		Eventually(exists(f, &appsv1.Deployment{}, "press")).Should(Succeed())
	})

	It("gets other claims, which cannot be changed, when it was External meanwhile and nobody saw it", func(ctx SpecContext) {
		f, r, set := running(ctx)
		change(f, r, func(r *v1alpha1.Refinery) { r.Spec.Paused = true })
		change(f, r, func(r *v1alpha1.Refinery) {
			r.Spec.Placement, r.Spec.StatefulSet, r.Spec.Template = v1alpha1.PlacementExternal, nil, nil
		})
		change(f, r, func(r *v1alpha1.Refinery) {
			other := f.refinery("press", strings.ReplaceAll(asked, "1Gi", "2Gi"))
			r.Spec = other.Spec
		})
		expectRemoved(f, r, set)
		podsGone(f, "press")
		Eventually(func() string {
			if f.get(set, "press") != nil || !set.DeletionTimestamp.IsZero() {
				return ""
			}
			return set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()
		}).Should(Equal("2Gi"))
	})

	It("keeps no pods that read somebody else's key, also where it does not ask for a StatefulSet any more", func(ctx SpecContext) {
		f := newFixture(ctx)
		mill, r := f.refinery("mill", `{}`), f.refinery("press", `{placement: External, paused: true}`)
		f.create(f.master("alpha", `{}`), mill)
		f.secret("mill-tls")
		f.create(r)
		set := reading(f, "mill-tls")
		set.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(r, v1alpha1.GroupVersion.WithKind("Refinery"))}
		f.create(set)
		Eventually(func() bool { must(f.get(set, "press")); return set.DeletionTimestamp.IsZero() }).Should(BeFalse())
	})

	It("does not keep a ClusterMaster's key from its name by chance: the key waits while pods mount it", func(ctx SpecContext) {
		f := newFixture(ctx)
		set := reading(f, "alpha-ca")
		f.create(set)
		m := f.master("alpha", `{}`)
		f.create(m)
		Eventually(conditionText(f, m, v1alpha1.ConditionReady)).Should(ContainSubstring("StatefulSet press mounts Secret alpha-ca"))
		Expect(exists(f, &corev1.Secret{}, "alpha-ca")()).NotTo(Succeed())
		Expect(api.Delete(f.ctx, set)).To(Succeed())
		Eventually(exists(f, &corev1.Secret{}, "alpha-ca")).Should(Succeed())
	})
})

// expectRemoved waits until the operator deletes the StatefulSet of a Refinery, which is not before its claims are to be kept.
func expectRemoved(f fixture, r *v1alpha1.Refinery, set *appsv1.StatefulSet) {
	GinkgoHelper()
	Eventually(func() appsv1.PersistentVolumeClaimRetentionPolicyType {
		must(f.get(set, "press"))
		return set.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted
	}).Should(Equal(appsv1.RetainPersistentVolumeClaimRetentionPolicyType))
	Expect(set.DeletionTimestamp.IsZero()).To(BeTrue())
	f.deploy(r, 2)
	wake(f, r)
	Eventually(func() bool { must(f.get(set, "press")); return set.DeletionTimestamp.IsZero() }).Should(BeFalse())
}

// reading is StatefulSet press, which bears the operator's label and mounts a Secret.
func reading(f fixture, secret string) *appsv1.StatefulSet {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "press", Labels: map[string]string{"app.kubernetes.io/managed-by": "refinery-operator"}}}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	set.Spec.Template.Labels = set.Spec.Selector.MatchLabels
	set.Spec.Template.Spec.Containers = []corev1.Container{{Name: "a", Image: "a"}}
	set.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "stolen", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}}
	return set
}
