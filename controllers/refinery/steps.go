package refinery

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

func (r *Reconciler) requireMaster(s *scope) error {
	if s.master != nil {
		return nil
	}
	return &reconcile.WaitError{Reason: v1alpha1.ReasonMasterNotFound,
		Message: fmt.Sprintf("ClusterMaster %s does not exist in this namespace; create it and reconciliation resumes", s.refinery.Spec.MasterRef.Name)}
}

func (r *Reconciler) reconcileServiceAccount(ctx context.Context, s *scope) error {
	if s.refinery.Spec.Placement == v1alpha1.PlacementExternal {
		account := &corev1.ServiceAccount{}
		account.Namespace, account.Name = s.refinery.Namespace, resource.RefineryServiceAccountName(s.refinery)
		return r.apply.Delete(ctx, s.refinery, account)
	}
	return r.apply.Apply(ctx, s.refinery, resource.RefineryServiceAccount(s.refinery))
}

// awaitListing ends the pass until the status that was read lists the certificate.
func (r *Reconciler) awaitListing(s *scope, certificate *certificates.Finding) error {
	if certificate.Leaf == nil || certificates.CurrentFingerprint(s.refinery.Status.Certificates) == v1alpha1.Fingerprint(certificate.Leaf) {
		return nil
	}
	return &reconcile.WaitError{Reason: v1alpha1.ReasonProgressing, Message: "waiting until status.certificates lists the certificate", Recheck: time.Second}
}

func (r *Reconciler) reconcileService(ctx context.Context, s *scope) error {
	if s.refinery.Spec.Placement == v1alpha1.PlacementExternal || len(s.refinery.Spec.Ports) == 0 {
		service := &corev1.Service{}
		service.Namespace, service.Name = s.refinery.Namespace, s.refinery.Name
		return r.apply.Delete(ctx, s.refinery, service)
	}
	return r.apply.Apply(ctx, s.refinery, resource.RefineryService(s.refinery))
}

func (r *Reconciler) reconcileDeployment(ctx context.Context, s *scope) (written int64, err error) {
	if s.refinery.Spec.Placement == v1alpha1.PlacementExternal {
		deployment := &appsv1.Deployment{}
		deployment.Namespace, deployment.Name = s.refinery.Namespace, s.refinery.Name
		return 0, r.apply.Delete(ctx, s.refinery, deployment)
	}
	desired, err := resource.RefineryDeployment(s.refinery, s.master, r.env.Images)
	if err != nil {
		return 0, err
	}
	if err := r.checkTemplate(ctx, s, desired); err != nil {
		return 0, err
	}
	if d, err := r.env.OwnDeployment(ctx, s.refinery); err != nil {
		return 0, err
	} else if d != nil && !d.DeletionTimestamp.IsZero() { // changed now, it would hide what its pods still mount
		return 0, &reconcile.WaitError{Reason: v1alpha1.ReasonProgressing, Message: fmt.Sprintf("Deployment %s is being deleted; it is created again when its pods are gone", d.Name)}
	}
	if err := r.apply.Apply(ctx, s.refinery, desired); err != nil {
		return 0, err
	}
	return r.apply.Written(s.refinery, "Deployment", s.refinery.Name), nil
}
