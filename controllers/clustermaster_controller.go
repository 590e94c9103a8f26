package controllers

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
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
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates/status,verbs=patch
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificaterequests,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// ClusterMasterReconciler makes what a ClusterMaster owns.
type ClusterMasterReconciler struct{ *reconciler }

// NewClusterMasterReconciler returns a reconciler that remembers nothing yet.
func NewClusterMasterReconciler(e *Environment) *ClusterMasterReconciler {
	return &ClusterMasterReconciler{newReconciler(e)}
}

// masterScope is everything that one pass has read, and what its steps have found out.
type masterScope struct {
	master *v1alpha1.ClusterMaster
	// deployment is the ClusterMaster's own, or nil.
	deployment *appsv1.Deployment
	now        time.Time

	// lease is nil while no master has been active.
	lease *lease
	// written is the generation of the Deployment as it was last applied; the one above may be older.
	written int64
	// authority is nil while it is not there or no good.
	authority *pki.Authority
	// authorityEnd is when the authority ends, or has ended; zero while that is not known.
	authorityEnd time.Time
	// certificate is what the certificate steps found, or nil while they have not run.
	certificate *certificateFound
	// rotation is nil while it has not been looked at.
	rotation *rotation.Rotation
	// trusted is what was put into the trust bundle of the master, or nil.
	trusted *pki.Authority
	agenda  agenda
}

// Reconcile brings what a ClusterMaster owns to what its spec says:
//
//  1. read the ClusterMaster and its Deployment
//  2. require a name that no Refinery had before it
//  3. go on with a rotation of the certificate authority, or begin one
//  4. find or make the certificate authority
//  5. find, verify or issue the certificate that the master serves, or have cert-manager issue it; go on with the
//     rotation there if either authority is provided, and say so where another is asked for that is not the operator's to make
//  6. check what the CRD cannot
//  7. find, make or remove the shared certificate
//  8. apply the ServiceAccount, Role and RoleBinding
//  9. apply the Service
//  10. apply the Deployment
//  11. look at the Lease of a master that was active
//  12. write the status if it differs, then the events of what changed
//
// A paused ClusterMaster gets steps 1 and 12 only. What its certificates are worth is told there in any case.
func (r *ClusterMasterReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	s, err := r.open(ctx, request.NamespacedName)
	if err != nil || s == nil {
		return ctrl.Result{}, err
	}
	if s.master.Spec.Paused {
		err = r.lookAtCertificate(ctx, s)
	} else {
		err = runSteps(ctx, s,
			r.requireOwnName,
			r.rotateAuthority,
			r.reconcileAuthority,
			r.reconcileCertificate,
			r.addIgnoredRequest,
			r.validate,
			r.reconcileShared,
			r.reconcileAccess,
			r.reconcileService,
			r.reconcileDeployment,
			r.lookAtLease,
		)
	}
	return r.close(ctx, s, err)
}

// open reads the scope. It is nil when there is nothing to do.
func (r *ClusterMasterReconciler) open(ctx context.Context, key client.ObjectKey) (*masterScope, error) {
	s := &masterScope{master: &v1alpha1.ClusterMaster{}, now: r.now()}
	if ok, err := r.find(ctx, key, s.master); err != nil || !ok {
		return nil, err
	}
	var err error
	s.deployment, err = r.ownDeployment(ctx, s.master)
	return s, err
}

// close leaves what the pass found in status.
func (r *ClusterMasterReconciler) close(ctx context.Context, s *masterScope, err error) (ctrl.Result, error) {
	r.Metrics.observeMaster(s)
	o := r.outcome(client.ObjectKeyFromObject(s.master), err)
	status := masterStatus(s, o)
	changes := slices.Concat(transitions(s.master.Status.Conditions, status.Conditions),
		rotationTransitions(s.master.Status.Conditions, status.Conditions, s.rotation))
	is, was := status.Certificate, s.master.Status.Certificate
	renewed := is != nil && was != nil && was.Fingerprint != is.Fingerprint
	if renewed {
		changes = append(changes, certificateTransition(is.Fingerprint, is.NotAfter))
	}
	desired, current := masterStatusConfiguration(s.master, status), masterStatusConfiguration(s.master, s.master.Status)
	return r.finish(ctx, ending{s.master, o, err, desired, current, changes, renewed, s.agenda, s.now})
}

// found records certificates that are good.
func (s *masterScope) found(reason, message string) {
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
