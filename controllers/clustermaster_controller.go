package controllers

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// What a master's Role grants, the operator has to hold itself: the API server lets nobody grant more.
//
// +kubebuilder:rbac:groups=cluster.refinery.dev,resources=clustermasters,verbs=get;list;watch
// +kubebuilder:rbac:groups=cluster.refinery.dev,resources=clustermasters/status,verbs=patch
// +kubebuilder:rbac:groups=cluster.refinery.dev,resources=clustermasters/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets;services;serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;create;update;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// ClusterMasterReconciler makes what a ClusterMaster owns.
type ClusterMasterReconciler struct {
	*Environment
	apply *apply.Applier
}

// NewClusterMasterReconciler returns a reconciler that remembers nothing yet.
func NewClusterMasterReconciler(e *Environment) *ClusterMasterReconciler {
	return &ClusterMasterReconciler{Environment: e, apply: apply.New(e.Client, e.Live)}
}

// masterScope is everything that one pass has read, and what its steps have found out.
type masterScope struct {
	master *v1alpha1.ClusterMaster
	// deployment is the ClusterMaster's own, or nil.
	deployment *appsv1.Deployment
	now        time.Time

	// authority is nil while it is not there or no good.
	authority *pki.Authority
	// certificate is what the certificate steps found, or nil while they have not run.
	certificate *certificateFound
	agenda      agenda
}

// Reconcile brings what a ClusterMaster owns to what its spec says:
//
//  1. read the ClusterMaster and its Deployment
//  2. check what the CRD cannot
//  3. find or make the certificate authority
//  4. find, verify or issue the certificate that the master serves
//  5. find, make or remove the shared certificate
//  6. apply the ServiceAccount, Role and RoleBinding
//  7. apply the Service
//  8. apply the Deployment
//  9. write the status if it differs, then the events of what changed
//
// A paused ClusterMaster gets steps 1 and 9 only.
func (r *ClusterMasterReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	scope, err := r.open(ctx, request.NamespacedName)
	if err != nil || scope == nil {
		return ctrl.Result{}, err
	}
	return r.close(ctx, scope, r.run(ctx, scope))
}

func (r *ClusterMasterReconciler) run(ctx context.Context, s *masterScope) error {
	if s.master.Spec.Paused {
		return nil
	}
	for _, step := range []func(context.Context, *masterScope) error{
		r.validate,
		r.reconcileAuthority,
		r.reconcileCertificate,
		r.reconcileShared,
		r.reconcileAccess,
		r.reconcileService,
		r.reconcileDeployment,
	} {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// open reads the scope. It is nil when there is nothing to do.
func (r *ClusterMasterReconciler) open(ctx context.Context, key client.ObjectKey) (*masterScope, error) {
	s := &masterScope{master: &v1alpha1.ClusterMaster{}, now: r.now()}
	if err := r.Client.Get(ctx, key, s.master); err != nil {
		if apierrors.IsNotFound(err) {
			r.apply.Forget(key)
		}
		return nil, client.IgnoreNotFound(err)
	}
	// Deletion is the garbage collector's; and after our own write of status an event is still to come.
	if !s.master.DeletionTimestamp.IsZero() || r.apply.Behind(s.master) {
		return nil, nil
	}
	var err error
	s.deployment, err = r.ownDeployment(ctx, s.master)
	return s, err
}

// close writes the status if it differs, then tells the events, and says when to look again.
func (r *ClusterMasterReconciler) close(ctx context.Context, s *masterScope, err error) (ctrl.Result, error) {
	o := outcomeOf(err, r.Recheck)
	status := masterStatus(s, o)
	desired, current := masterStatusConfiguration(s.master, status), masterStatusConfiguration(s.master, s.master.Status)
	if !same(desired, current) {
		if err := r.apply.Status(ctx, s.master, desired); err != nil {
			return statusFailed(ctx, err)
		}
		changes := transitions(s.master.Status.Conditions, status.Conditions)
		if is, was := status.Certificate, s.master.Status.Certificate; is != nil && was != nil && was.Fingerprint != is.Fingerprint {
			changes = append(changes, certificateTransition(is.Fingerprint, is.NotAfter))
		}
		r.record(s.master, changes)
	}
	return result(ctx, o, err, s.agenda, s.now)
}

// found records certificates that are good, and warns of the end of what signs them.
func (s *masterScope) found(reason, message string) {
	if s.authority != nil {
		if ends := s.authority.Certificates[0].NotAfter; !s.now.Before(ends.Add(-authorityWarning)) {
			message += fmt.Sprintf("; the certificate authority ends on %s, and everything that it signed with it: replace it before", ends.UTC().Format(time.DateOnly))
		}
	}
	s.certificate.condition = newCondition(v1alpha1.ConditionCertificateReady, metav1.ConditionTrue, reason, message)
}

// foundWrong records a certificate that is not. The first one found is told.
func (s *masterScope) foundWrong(reason, message string) {
	if s.certificate == nil {
		s.certificate = &certificateFound{}
	}
	if s.certificate.condition.Status != metav1.ConditionFalse {
		s.certificate.condition = newCondition(v1alpha1.ConditionCertificateReady, metav1.ConditionFalse, reason, message)
	}
}
