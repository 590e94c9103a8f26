package resource

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	v1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/podset"
)

// PodSetKind is the kind of what runs the pods of a ClusterMaster or Refinery.
func PodSetKind(owner podset.Object) string {
	if r, ok := owner.(*v1alpha1.Refinery); ok && r.Spec.StatefulSet != nil {
		return podset.StatefulSet
	}
	return podset.Deployment
}

// RefineryStatefulSet runs the pods of a Refinery's Deployment as one that asks for a StatefulSet does.
func RefineryStatefulSet(r *v1alpha1.Refinery, d *appsv1ac.DeploymentApplyConfiguration) (*appsv1ac.StatefulSetApplyConfiguration, error) {
	if err := checkClaims(r, d.Spec.Template); err != nil {
		return nil, err
	}
	update := appsv1ac.StatefulSetUpdateStrategy().WithType(appsv1.RollingUpdateStatefulSetStrategyType)
	if most := r.Spec.Strategy.MaxUnavailable; most != nil {
		update.WithRollingUpdate(appsv1ac.RollingUpdateStatefulSetStrategy().WithMaxUnavailable(*most))
	}
	spec := appsv1ac.StatefulSetSpec().
		WithSelector(d.Spec.Selector).
		WithTemplate(d.Spec.Template).
		WithServiceName(r.Name).
		// A node that is not let in holds up no other, and pods that never become ready give way to corrected ones.
		WithPodManagementPolicy(appsv1.ParallelPodManagement).
		WithUpdateStrategy(update)
	spec.Replicas, spec.MinReadySeconds = d.Spec.Replicas, d.Spec.MinReadySeconds
	if keep := r.Spec.StatefulSet.ClaimRetention; keep != (v1alpha1.ClaimRetention{}) {
		policy := appsv1ac.StatefulSetPersistentVolumeClaimRetentionPolicy()
		if err := convertJSON(keep, policy); err != nil {
			return nil, fmt.Errorf("spec.statefulSet.persistentVolumeClaimRetentionPolicy: %w", err)
		}
		spec.WithPersistentVolumeClaimRetentionPolicy(policy)
	}
	for i := range r.Spec.StatefulSet.VolumeClaimTemplates {
		claim, err := claimTemplate(r, &r.Spec.StatefulSet.VolumeClaimTemplates[i])
		if err != nil {
			return nil, err
		}
		spec.WithVolumeClaimTemplates(claim)
	}
	set := appsv1ac.StatefulSet(r.Name, r.Namespace).WithSpec(spec)
	set.Labels, set.OwnerReferences = d.Labels, d.OwnerReferences
	claims, err := digest(append([]v1alpha1.VolumeClaimTemplate{}, r.Spec.StatefulSet.VolumeClaimTemplates...)) // none is as good as an empty list
	if err != nil {
		return nil, err
	}
	return set.WithAnnotations(d.Annotations).WithAnnotations(map[string]string{claimsAnnotation: claims}), nil
}

// claimsAnnotation of a StatefulSet is a digest of the claims that its owner asked for, whatever a version of the operator makes of these:
// an upgrade must not find others.
const claimsAnnotation = "cluster.refinery.dev/claims"

// HasOtherClaims reports whether what runs the pods is a StatefulSet with other claims than those of set.
func HasOtherClaims(live *appsv1.Deployment, set *appsv1ac.StatefulSetApplyConfiguration) bool {
	made := live.Annotations[claimsAnnotation]
	return made != "" && made != set.Annotations[claimsAnnotation]
}

// checkClaims refuses a volume of the template that has the name of a claim, which would take its place unsaid.
func checkClaims(r *v1alpha1.Refinery, template *v1.PodTemplateSpecApplyConfiguration) error {
	for i := range template.Spec.Volumes {
		name := ptr.Deref(template.Spec.Volumes[i].Name, "")
		if slices.ContainsFunc(r.Spec.StatefulSet.VolumeClaimTemplates, func(c v1alpha1.VolumeClaimTemplate) bool { return string(c.Name) == name }) {
			return templateErrorf("has volume %s, which spec.statefulSet.volumeClaimTemplates has too; remove one of the two", name)
		}
	}
	return nil
}

// claimTemplate is a claim as the API server stores it: it takes the list of them as one value, which would differ for ever otherwise.
func claimTemplate(r *v1alpha1.Refinery, template *v1alpha1.VolumeClaimTemplate) (*v1.PersistentVolumeClaimApplyConfiguration, error) {
	spec := v1.PersistentVolumeClaimSpec().WithVolumeMode(corev1.PersistentVolumeFilesystem)
	if err := convertJSON(template.Spec, spec); err != nil {
		return nil, fmt.Errorf("spec.statefulSet.volumeClaimTemplates: %w", err)
	}
	claim := &v1.PersistentVolumeClaimApplyConfiguration{} // without its kind, which is lost in the cache
	return claim.WithName(string(template.Name)).WithLabels(template.Labels).WithLabels(RefinerySelector(r)).WithSpec(spec).
		WithStatus(v1.PersistentVolumeClaimStatus().WithPhase(corev1.ClaimPending)), nil
}
