// Package refinery is the controller of Refineries.
package refinery

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/apply"
	"github.com/refinery-operator/refinery-operator/internal/certificates"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
)

// +kubebuilder:rbac:groups=cluster.refinery.dev,resources=refineries,verbs=get;list;watch
// +kubebuilder:rbac:groups=cluster.refinery.dev,resources=refineries/status,verbs=patch
// +kubebuilder:rbac:groups=cluster.refinery.dev,resources=refineries/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets;services;serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=events,verbs=list
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler makes what a Refinery owns.
type Reconciler struct {
	env    *controllers.Environment
	apply  *apply.Applier
	passes *reconcile.Passes
	pace   *pace
	pods   *reconcile.Pods

	mu sync.Mutex
	// issuedNext are certificates that are listed in status and not yet in their Secret. One that is lost with this
	// process is replaced by another.
	issuedNext map[client.ObjectKey]certificates.Certificate
}

// New returns a reconciler that remembers nothing yet.
func New(e *controllers.Environment) *Reconciler {
	a := e.NewApplier()
	return &Reconciler{env: e, apply: a, passes: reconcile.NewPasses(e.Client, a, e.Events, e.Recheck), pods: reconcile.NewPods(e.Live),
		issuedNext: map[client.ObjectKey]certificates.Certificate{}, pace: &pace{begun: map[client.ObjectKey]string{}}}
}

// scope is everything that one pass has read.
type scope struct {
	refinery *v1alpha1.Refinery
	// master is nil if it does not exist.
	master *v1alpha1.ClusterMaster
	// deployment is what runs the pods of the Refinery, a StatefulSet too (see podset), or nil.
	deployment *appsv1.Deployment
	secrets    *certificates.Secrets
	// standing is what is listed and what is revoked, by what Secrets there are.
	standing certificates.Standing
	// beside are the other ClusterMasters of the namespace; nil while they were not read.
	beside []v1alpha1.ClusterMaster
	now    time.Time
}

// findings are what the steps of one pass have found. What is nil was not looked at.
type findings struct {
	certificate *certificates.Finding
	// nobodys reports whether the status has the epoch of a master that there never was.
	nobodys bool
	// pods is why pods do not start, and when to look again.
	pods reconcile.PodsSeen
	// written is the generation of the Deployment or StatefulSet as it was last applied; the one that was read may be older.
	written int64
	// upgrade is what the pods have to become, and wait for; nil if they are as they have to be.
	upgrade *pendingUpgrade
}

// Reconcile brings what a Refinery owns to what its spec says:
//
//  1. read the Refinery, its ClusterMaster and its Deployment or StatefulSet
//  2. revoke listed certificates whose Secrets were deleted; remove pods that read what was not someone else's when they
//     were made, and is now
//  3. require a name that no ClusterMaster had before it, that of a Secret that no pods read, the ClusterMaster that the spec
//     names, an authority that it may use, and room for what is revoked
//  4. adopt a Deployment or StatefulSet and a Secret of its own that have lost their owner
//  5. find, verify or issue the certificate, or have cert-manager issue it, unless it names one that is not for it; keep the
//     one in use until that is good
//  6. refuse a shared certificate that is not for its nodes to read
//  7. apply the ServiceAccount
//  8. wait until status lists the certificate, so that no node starts that would be denied
//  9. apply the Service over spec.ports, or remove it
//  10. apply the Deployment or StatefulSet and its PodDisruptionBudget, or remove both with placement External; running pods stay as they are where
//     an upgrade has to wait
//  11. find out why pods do not start, if they do not; have those that were refused created again
//  12. write the status if it differs, and what a master would, if there is none; then the events of what changed
//
// A paused Refinery gets steps 1, 2, 11 and 12 only: a key does not wait for the end of a pause. Its certificate is still
// inspected and reported.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	s, again, err := r.open(ctx, request.NamespacedName)
	if err != nil || s == nil {
		return ctrl.Result{RequeueAfter: again}, err
	}
	found, err := r.reconcile(ctx, s)
	found.pods = r.pods.Look(ctx, request.NamespacedName, s.deployment, reconcile.WereLate(s.refinery.Status.Conditions), s.now)
	if !s.refinery.Spec.Paused {
		r.passes.RetryPods(ctx, s.deployment, found.pods, s.now)
	}
	return r.close(ctx, s, found, err)
}

// reconcile runs the steps until one ends the pass. What the certificate is worth it finds out in any case.
func (r *Reconciler) reconcile(ctx context.Context, s *scope) (found findings, err error) {
	err = reconcile.RunSteps(
		func() error { return r.inspectListed(ctx, s) },
		func() (err error) { found.nobodys, err = r.inspectReporter(ctx, s); return err },
		func() (err error) { s.deployment, err = r.removeForbiddenPods(ctx, s); return err },
	)
	if err == nil && !s.refinery.Spec.Paused {
		err = reconcile.RunSteps(
			func() error { return r.env.RequireName(ctx, s.refinery) },
			func() error { return r.requireSecretName(ctx, s) },
			func() error { return r.requireMaster(s) },
			func() error { return r.requireAuthority(ctx, s) },
			func() error { return r.adoptPodSet(ctx, s) },
			func() error { return s.secrets.Adopt(ctx, s.refinery, s.refinery.IssuedSecretName()) },
			func() error { return s.requireRoomToRevoke() },
			func() (err error) { found.certificate, err = r.reconcileCertificate(ctx, s); return err },
			func() error { return r.checkSharedReference(ctx, s) },
			func() error { return r.reconcileServiceAccount(ctx, s) },
			func() error { return r.awaitListing(s, found.certificate) },
			func() error { return r.reconcileService(ctx, s) },
			func() error { return r.reconcileDeployment(ctx, s, &found) },
			func() error { return r.reconcileDisruptionBudget(ctx, s) },
		)
	}
	if found.certificate == nil {
		certificate, inspectErr := r.inspectCertificate(ctx, s, err)
		found.certificate, err = certificate, cmp.Or(err, inspectErr)
	}
	return found, err
}

// open reads the scope. It is nil when there is nothing to do, and again is when to look again then.
func (r *Reconciler) open(ctx context.Context, key client.ObjectKey) (s *scope, again time.Duration, err error) {
	s = &scope{refinery: &v1alpha1.Refinery{}, secrets: r.env.NewSecrets(r.apply), now: r.env.Now()}
	found, again, err := r.passes.Find(ctx, key, s.refinery, func() { r.forget(s.refinery, key) })
	if err != nil || !found {
		return nil, again, err
	}
	master := &v1alpha1.ClusterMaster{}
	err = r.env.Client.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: s.refinery.Spec.MasterRef.Name}, master)
	if client.IgnoreNotFound(err) != nil {
		return nil, 0, fmt.Errorf("read ClusterMaster %s: %w", s.refinery.Spec.MasterRef.Name, err)
	}
	if err == nil {
		s.master = master
	}
	s.deployment, err = r.env.OwnPodSet(ctx, s.refinery)
	return s, 0, err
}

// forget drops what is remembered of a Refinery that is gone.
func (r *Reconciler) forget(refinery *v1alpha1.Refinery, key client.ObjectKey) {
	r.dropIssued(key)
	r.pace.forget(key)
	r.pods.Forget(key)
	r.env.Metrics.Forget(refinery, key)
}

// close leaves what the pass found in status.
func (r *Reconciler) close(ctx context.Context, s *scope, found findings, err error) (ctrl.Result, error) {
	key := client.ObjectKeyFromObject(s.refinery)
	r.env.Metrics.ObserveRefinery(key, found.certificate)
	o := r.passes.Outcome(key, err, s.now)
	status, agenda := statusOf(s, found, o)
	r.env.Metrics.ShowRefinery(key, &status)
	desired, current := statusConfiguration(s.refinery, status), statusConfiguration(s.refinery, s.refinery.Status)
	changes := reconcile.Changes(s.refinery.Status.Conditions, status.Conditions)
	is, was := certificates.CurrentFingerprint(status.Certificates), certificates.CurrentFingerprint(s.refinery.Status.Certificates)
	written := func() {}
	if is != "" && was != "" && is != was && meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionCertificateReady) {
		written = func() { r.env.Metrics.Renewed(s.refinery) }
		changes = append(changes, reconcile.CertificateChanged(is, status.Certificates[0].NotAfter))
	}
	changes = append(changes, revocations(s, status)...)
	return r.passes.Finish(ctx, reconcile.Ending{Object: s.refinery, Outcome: o, Err: err, Desired: desired, Current: current,
		Masters: mastersPart(s.refinery, status), Changes: changes, Written: written, Agenda: agenda, Now: s.now})
}
