package refinery

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/podset"
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

// adoptPodSet adopts the Deployment or StatefulSet if it has lost its owner, or deletes it if its pods are not as they have to be, or
// the other kind is asked for.
func (r *Reconciler) adoptPodSet(ctx context.Context, s *scope) error {
	if s.refinery.Spec.Placement == v1alpha1.PlacementExternal {
		return nil
	}
	kind := resource.PodSetKind(s.refinery)
	former := podset.Other(kind)
	orphaned, err := r.env.HasOrphanedPodSet(ctx, s.refinery, former)
	if err == nil && orphaned {
		err = r.apply.RemoveOrphan(ctx, s.refinery, podset.New(former, s.refinery.Namespace, s.refinery.Name))
	}
	if err != nil {
		return err
	}
	orphaned, err = r.env.HasOrphanedPodSet(ctx, s.refinery, kind)
	if err == nil && orphaned {
		err = r.reconcileDeployment(ctx, s, &findings{})
	}
	return err
}

func (r *Reconciler) reconcileServiceAccount(ctx context.Context, s *scope) error {
	if s.refinery.Spec.Placement == v1alpha1.PlacementExternal {
		account := &corev1.ServiceAccount{}
		account.Namespace, account.Name = s.refinery.Namespace, resource.RefineryServiceAccountName(s.refinery)
		return r.apply.Delete(ctx, s.refinery, account)
	}
	return r.apply.Apply(ctx, s.refinery, resource.RefineryServiceAccount(s.refinery))
}

// awaitListing ends the pass until the status that was read lists the certificate, if it is to be listed.
func (r *Reconciler) awaitListing(s *scope, certificate *certificates.Finding) error {
	listed := s.standing.Listed
	if !certificate.Replaces(listed, s.now) || certificates.CurrentFingerprint(listed) == v1alpha1.Fingerprint(certificate.Leaf) {
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

func (r *Reconciler) reconcileDeployment(ctx context.Context, s *scope, found *findings) error {
	external, kind := s.refinery.Spec.Placement == v1alpha1.PlacementExternal, resource.PodSetKind(s.refinery)
	for _, k := range []string{podset.Deployment, podset.StatefulSet} {
		if external || k != kind {
			if err := r.removePods(ctx, s, k); err != nil {
				return err
			}
		}
	}
	if external {
		return nil
	}
	if err := r.awaitShared(ctx, s); err != nil {
		return err
	}
	desired, err := resource.RefineryDeployment(s.refinery, s.master, r.env.Images)
	if err != nil {
		return err
	}
	if err := r.checkTemplate(ctx, s, desired); err != nil {
		return err
	}
	if d, err := r.env.OwnPodSet(ctx, s.refinery); err != nil {
		return err
	} else if d != nil && !d.DeletionTimestamp.IsZero() { // changed now, it would hide what its pods still mount
		return &reconcile.WaitError{Reason: v1alpha1.ReasonProgressing, Message: fmt.Sprintf("%s %s is being deleted; it is created again when its pods are gone", kind, d.Name)}
	}
	if found.upgrade, err = r.holdPods(ctx, s, desired); err == nil {
		err = r.applyPods(ctx, s, desired)
	}
	if err != nil {
		r.pace.forget(client.ObjectKeyFromObject(s.refinery))
		return err
	}
	found.written = r.apply.Written(s.refinery, kind, s.refinery.Name)
	return nil
}

// removePods deletes what runs pods of the Refinery and is of a kind that is not asked for. With placement InCluster it waits until the
// pods are gone: their ids would be taken.
func (r *Reconciler) removePods(ctx context.Context, s *scope, kind string) error {
	former := podset.New(kind, s.refinery.Namespace, s.refinery.Name)
	err := r.apply.Delete(ctx, s.refinery, former)
	if err != nil || s.refinery.Spec.Placement == v1alpha1.PlacementExternal || !metav1.IsControlledBy(former, s.refinery) {
		return err
	}
	return &reconcile.WaitError{Reason: v1alpha1.ReasonProgressing,
		Message: fmt.Sprintf("%s %s ran the pods before, and is being deleted; pods are created again when these are gone", kind, s.refinery.Name)}
}

// applyPods applies the Deployment, or the StatefulSet that runs the same pods.
func (r *Reconciler) applyPods(ctx context.Context, s *scope, desired *appsv1ac.DeploymentApplyConfiguration) error {
	if s.refinery.Spec.StatefulSet == nil {
		return r.apply.Apply(ctx, s.refinery, desired)
	}
	set, err := resource.RefineryStatefulSet(s.refinery, desired)
	if err != nil {
		return err
	}
	if s.deployment != nil && resource.HasOtherClaims(s.deployment, set) { // they cannot be changed: the Refinery was External meanwhile, and no pass saw that
		return r.removePods(ctx, s, podset.StatefulSet)
	}
	return r.apply.Apply(ctx, s.refinery, set)
}

// awaitShared ends the pass until the Secret of the shared certificate exists, if pods are to mount it: they could not start.
func (r *Reconciler) awaitShared(ctx context.Context, s *scope) error {
	name := s.master.SharedSecretName()
	if s.master.NodeMode().Authentication != v1alpha1.AuthenticationSharedCertificate {
		return nil
	}
	secret, err := s.secrets.Cached(ctx, s.refinery.Namespace, name)
	if err == nil && secret == nil { // a person's own bears no label
		_, err = s.secrets.Provided(ctx, s.refinery.Namespace, name)
	}
	if pki.AsProblem(err) != nil {
		return &reconcile.WaitError{Reason: v1alpha1.ReasonProgressing, Recheck: r.env.Recheck,
			Message: fmt.Sprintf("waiting until Secret %s holds the shared certificate; see ClusterMaster %s", name, s.master.Name)}
	}
	return err
}

// inspectReporter reports whether the status of the Refinery has an epoch that no master of its ClusterMaster ever had. A
// master claims its epoch there before it reports; the cache may not show the claim yet, so that the API server is asked.
// Such an epoch would keep every master from reporting.
func (r *Reconciler) inspectReporter(ctx context.Context, s *scope) (bool, error) {
	reporter := s.refinery.Status.Reporter
	if reporter == nil || s.master == nil || s.master.Status.Active == nil || reporter.Epoch <= s.master.Status.Active.Epoch {
		return false, nil
	}
	live := &v1alpha1.ClusterMaster{}
	if err := r.env.Live.Get(ctx, client.ObjectKeyFromObject(s.master), live); err != nil {
		return false, fmt.Errorf("read ClusterMaster %s: %w", s.master.Name, err)
	}
	nobodys := live.Status.Active != nil && reporter.Epoch > live.Status.Active.Epoch
	if nobodys {
		log.FromContext(ctx).Info("Status was written with an epoch that no master had; the epoch is taken back", "pod", reporter.Pod, "epoch", reporter.Epoch)
	}
	return nobodys, nil
}
