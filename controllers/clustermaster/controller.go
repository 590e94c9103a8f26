// Package clustermaster is the controller of ClusterMasters.
package clustermaster

import (
	"cmp"
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/pki"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
	"github.com/refinery-operator/refinery-operator/internal/rotation"
)

// What a master's Role grants, the operator has to hold itself: the API server lets nobody grant more.
//
// +kubebuilder:rbac:groups=cluster.refinery.dev,resources=clustermasters,verbs=get;list;watch
// +kubebuilder:rbac:groups=cluster.refinery.dev,resources=clustermasters/status,verbs=patch
// +kubebuilder:rbac:groups=cluster.refinery.dev,resources=clustermasters/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=configmaps;secrets;services;serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list
// +kubebuilder:rbac:groups="",resources=endpoints,verbs=delete
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;create;update;patch;delete
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates/status,verbs=patch
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificaterequests,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler makes what a ClusterMaster owns.
type Reconciler struct {
	env    *controllers.Environment
	apply  *apply.Applier
	passes *reconcile.Passes
	leases *reconcile.Leases
	pods   *reconcile.Pods
}

// New returns a reconciler that remembers nothing yet.
func New(e *controllers.Environment) *Reconciler {
	a := e.NewApplier()
	return &Reconciler{e, a, reconcile.NewPasses(e.Client, a, e.Events, e.Recheck), reconcile.NewLeases(e.Live), reconcile.NewPods(e.Live)}
}

// scope is everything that one pass has read.
type scope struct {
	master *v1alpha1.ClusterMaster
	// deployment is the ClusterMaster's own, or nil.
	deployment *appsv1.Deployment
	// service is the ClusterMaster's own as it was before the pass, or nil if the pass did not come to it.
	service *corev1.Service
	secrets *certificates.Secrets
	// unpublished is why the trust bundle was not published.
	unpublished error
	now         time.Time
}

// findings are what the steps of one pass have found. What is nil was not looked at.
type findings struct {
	rotation  *rotation.Rotation
	authority *authorityFound
	// lost reports whether an authority was made in place of one whose Secret was deleted.
	lost        bool
	certificate *certificates.Finding
	// trusted is what was put into the trust bundle of the master.
	trusted *pki.Authority
	// shared is what is wrong with the shared certificate that is provided.
	shared *pki.Problem
	// pods is why pods do not start, and when to look again.
	pods reconcile.PodsSeen
	// written is the generation of the Deployment as it was last applied; the one that was read may be older.
	written int64
	lease   *reconcile.Lease
	// security is nil only if it could not be looked at.
	security *security
}

// Reconcile brings what a ClusterMaster owns to what its spec says:
//
//  1. read the ClusterMaster, its Deployment and its Lease; go on with a change of spec.security, or begin one
//  2. require a name that no Refinery had before it, and names of Secrets and a ServiceAccount that no Refinery
//     brought into its pods before it
//  3. adopt a Deployment and Secrets of its own that have lost their owner
//  4. give the Secret of the operator's authority the owner that it should have; go on with a rotation, or begin one
//  5. find or make the certificate authority
//  6. find, verify or issue the certificate that the master serves, or have cert-manager issue it; publish the trust bundle
//     that goes with it; go on with the rotation there if either authority is provided or the former one is lost, and say
//     so where another is asked for that is not the operator's to make
//  7. check what the CRD cannot
//  8. find, make or remove the shared certificate
//  9. find or make the key pair of the link between masters, and apply its Service
//  10. apply the ServiceAccount, Role and RoleBinding
//  11. apply the Lease, the Service and its EndpointSlices, and the NetworkPolicy or, where none is asked for, remove it
//  12. apply the Deployment, and the PodDisruptionBudget or, with one pod, remove it; then the ConfigMap that
//     tells nodes in pods where the master is
//  13. find out why pods do not start, if they do not; have those that were refused created again
//  14. write the status if it differs, and what a master would, if none is active any more; then the events of what changed
//
// A paused ClusterMaster gets steps 1, 13 and 14 only; its certificates are still inspected and reported.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	s, again, err := r.open(ctx, request.NamespacedName)
	if err != nil || s == nil {
		return ctrl.Result{RequeueAfter: again}, err
	}
	found := findings{}
	found.lease, err = r.inspectLease(ctx, s)
	if err == nil {
		found.security, err = r.inspectSecurity(ctx, s)
	}
	switch {
	case err != nil:
	case s.master.Spec.Paused:
		found.authority, found.certificate, err = r.inspectCertificate(ctx, s)
	default:
		err = r.reconcile(ctx, s, &found)
	}
	found.pods = r.pods.Look(ctx, request.NamespacedName, s.deployment, reconcile.WereLate(s.master.Status.Conditions), s.now)
	if !s.master.Spec.Paused {
		r.passes.RetryPods(ctx, s.deployment, found.pods, s.now)
	}
	return r.close(ctx, s, found, err)
}

// reconcile runs the steps until one ends the pass.
func (r *Reconciler) reconcile(ctx context.Context, s *scope, found *findings) error {
	return reconcile.RunSteps(
		func() error { return r.env.RequireName(ctx, s.master) },
		func() error { return r.env.RequireSecretNames(ctx, s.master, s.master.OwnSecretNames()...) },
		func() error {
			return r.env.RequireAccountName(ctx, s.master, resource.MasterServiceAccountName(s.master))
		},
		func() error { return r.adoptPodSet(ctx, s) },
		func() error { return r.adoptSecrets(ctx, s) },
		func() error { return r.keepAuthority(ctx, s) },
		func() (err error) { found.rotation, err = r.rotateAuthority(ctx, s); return err },
		func() (err error) { found.authority, err = r.reconcileAuthority(ctx, s); return err },
		func() error {
			found.lost = found.authority.lost
			served, err := r.reconcileCertificate(ctx, s, found.authority.authority)
			found.certificate, found.trusted = served.certificate, served.trusted
			found.rotation, found.authority = cmp.Or(served.rotation, found.rotation), cmp.Or(served.authority, found.authority)
			return err
		},
		func() (err error) {
			found.certificate, err = r.addIgnoredRequest(ctx, s, found.certificate)
			return err
		},
		func() error { return found.authority.refused(r.env.Recheck) },
		func() error { return r.validate(ctx, s) },
		func() (err error) { found.shared, err = r.reconcileShared(ctx, s, found.security); return err },
		func() error { return r.reconcilePeers(ctx, s) },
		func() error { return r.reconcileAccess(ctx, s) },
		func() error { return r.reconcileLease(ctx, s, found.lease) },
		func() error { return r.reconcileService(ctx, s) },
		func() error { return r.reconcileNetworkPolicy(ctx, s) },
		func() (err error) { found.written, err = r.reconcileDeployment(ctx, s); return err },
		func() error { return r.reconcileDisruptionBudget(ctx, s) },
		func() error { return r.apply.Apply(ctx, s.master, resource.MasterNodes(s.master)) },
		func() error { return s.unpublished },
	)
}

// open reads the scope. It is nil when there is nothing to do, and again is when to look again then.
func (r *Reconciler) open(ctx context.Context, key client.ObjectKey) (s *scope, again time.Duration, err error) {
	s = &scope{master: &v1alpha1.ClusterMaster{}, secrets: r.env.NewSecrets(r.apply), now: r.env.Now()}
	found, again, err := r.passes.Find(ctx, key, s.master, func() { r.forget(s.master, key) })
	if err != nil || !found {
		return nil, again, err
	}
	s.deployment, err = r.env.OwnPodSet(ctx, s.master)
	return s, 0, err
}

// forget drops what is remembered of a ClusterMaster that is gone.
func (r *Reconciler) forget(m *v1alpha1.ClusterMaster, key client.ObjectKey) {
	r.env.Metrics.Forget(m, key)
	r.leases.Forget(key)
	r.pods.Forget(key)
}

// close leaves what the pass found in status.
func (r *Reconciler) close(ctx context.Context, s *scope, found findings, err error) (ctrl.Result, error) {
	key := client.ObjectKeyFromObject(s.master)
	r.env.Metrics.ObserveMaster(key, found.rotation, found.authorityEnd(), found.servedCertificate())
	o := r.passes.Outcome(key, err, s.now)
	status, agenda := statusOf(s, found, o)
	r.env.Metrics.ShowMaster(key, &status, s.master.WantedPods())
	changes := slices.Concat(reconcile.Changes(s.master.Status.Conditions, status.Conditions),
		rotationEvents(s.master.Status.Conditions, status.Conditions, found.rotation), securityEvents(s.master, status.Conditions, found.security))
	if found.lost {
		changes = append(changes, lostEvent(s.master))
	}
	is, was := status.Certificate, s.master.Status.Certificate
	written := func() {}
	if is != nil && was != nil && was.Fingerprint != is.Fingerprint {
		written = func() { r.env.Metrics.Renewed(s.master) }
		changes = append(changes, reconcile.CertificateChanged(is.Fingerprint, is.NotAfter))
	}
	desired, current := statusConfiguration(s.master, status), statusConfiguration(s.master, s.master.Status)
	return r.passes.Finish(ctx, reconcile.Ending{Object: s.master, Outcome: o, Err: err, Desired: desired, Current: current,
		Masters: mastersPart(s.master, status), Changes: changes, Written: written, Agenda: agenda, Now: s.now})
}

// authorityEnd is when the authority ends; zero if it was not looked at.
func (f *findings) authorityEnd() time.Time {
	if f.authority == nil {
		return time.Time{}
	}
	return f.authority.end
}

// servedCertificate is the certificate that the master serves, with the first thing that is wrong with it or with what goes
// with it; nil if it was not looked at.
func (f *findings) servedCertificate() *certificates.Finding {
	if f.authority == nil {
		return nil
	}
	served := certificates.Finding{}
	if f.certificate != nil {
		served = *f.certificate
	}
	switch {
	case f.authority.problem != nil:
		served.Condition = certificates.NotReady(f.authority.problem.Reason, f.authority.problem.Message)
	case served.Condition.Status != metav1.ConditionFalse && f.shared != nil:
		served.Condition = certificates.NotReady(f.shared.Reason, f.shared.Message)
	}
	return &served
}
