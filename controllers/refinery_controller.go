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
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/apply"
)

// +kubebuilder:rbac:groups=cluster.refinery.dev,resources=refineries,verbs=get;list;watch
// +kubebuilder:rbac:groups=cluster.refinery.dev,resources=refineries/status,verbs=patch
// +kubebuilder:rbac:groups=cluster.refinery.dev,resources=refineries/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets;services;serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// RefineryReconciler makes what a Refinery owns.
type RefineryReconciler struct {
	*Environment
	apply *apply.Applier
}

// NewRefineryReconciler returns a reconciler that remembers nothing yet.
func NewRefineryReconciler(e *Environment) *RefineryReconciler {
	return &RefineryReconciler{Environment: e, apply: apply.New(e.Client, e.Live)}
}

// refineryScope is everything that one pass has read, and what its steps have found out.
type refineryScope struct {
	refinery *v1alpha1.Refinery
	// master is nil if it does not exist.
	master *v1alpha1.ClusterMaster
	// deployment is the Refinery's own, or nil.
	deployment *appsv1.Deployment
	now        time.Time

	// certificate is what the certificate step found, or nil while it has not run.
	certificate *certificateFound
	agenda      agenda
}

// Reconcile brings what a Refinery owns to what its spec says:
//
//  1. read the Refinery, its ClusterMaster and its Deployment
//  2. require the ClusterMaster
//  3. refuse Secrets that are not for its nodes to read
//  4. find, verify or issue the certificate
//  5. apply the ServiceAccount
//  6. wait until status lists the certificate, so that no node starts that would be denied
//  7. apply the Service over spec.ports, or remove it
//  8. apply the Deployment, or remove it with placement External
//  9. write the status if it differs, then the events of what changed
//
// A paused Refinery gets steps 1 and 9 only.
func (r *RefineryReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	scope, err := r.open(ctx, request.NamespacedName)
	if err != nil || scope == nil {
		return ctrl.Result{}, err
	}
	return r.close(ctx, scope, r.run(ctx, scope))
}

func (r *RefineryReconciler) run(ctx context.Context, s *refineryScope) error {
	if s.refinery.Spec.Paused {
		return nil
	}
	for _, step := range []func(context.Context, *refineryScope) error{
		r.requireMaster,
		r.checkReferences,
		r.reconcileCertificate,
		r.reconcileServiceAccount,
		r.awaitListing,
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
func (r *RefineryReconciler) open(ctx context.Context, key client.ObjectKey) (*refineryScope, error) {
	s := &refineryScope{refinery: &v1alpha1.Refinery{}, now: r.now()}
	if err := r.Client.Get(ctx, key, s.refinery); err != nil {
		if apierrors.IsNotFound(err) {
			r.apply.Forget(key)
		}
		return nil, client.IgnoreNotFound(err)
	}
	// Deletion is the garbage collector's; and after our own write of status an event is still to come.
	if !s.refinery.DeletionTimestamp.IsZero() || r.apply.Behind(s.refinery) {
		return nil, nil
	}
	master := &v1alpha1.ClusterMaster{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: s.refinery.Spec.MasterRef.Name}, master)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read ClusterMaster %s: %w", s.refinery.Spec.MasterRef.Name, err)
	}
	if err == nil {
		s.master = master
	}
	s.deployment, err = r.ownDeployment(ctx, s.refinery)
	return s, err
}

// ownDeployment returns the Deployment that an owner controls and that bears its name, or nil.
func (e *Environment) ownDeployment(ctx context.Context, owner client.Object) (*appsv1.Deployment, error) {
	deployment := &appsv1.Deployment{}
	err := e.Client.Get(ctx, client.ObjectKeyFromObject(owner), deployment)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read Deployment %s: %w", owner.GetName(), err)
	}
	if err != nil || !metav1.IsControlledBy(deployment, owner) {
		return nil, nil
	}
	return deployment, nil
}

// close writes the status if it differs, then tells the events, and says when to look again.
func (r *RefineryReconciler) close(ctx context.Context, s *refineryScope, err error) (ctrl.Result, error) {
	o := outcomeOf(err, r.Recheck)
	status := refineryStatus(s, o)
	desired, current := refineryStatusConfiguration(s.refinery, status), refineryStatusConfiguration(s.refinery, s.refinery.Status)
	if !same(desired, current) {
		if speaksForMaster(status) {
			// Refused if a master has written meanwhile: what it says goes.
			desired.WithResourceVersion(s.refinery.ResourceVersion)
		}
		if err := r.apply.Status(ctx, s.refinery, desired); err != nil {
			return statusFailed(ctx, err)
		}
		changes := transitions(s.refinery.Status.Conditions, status.Conditions)
		is, was := currentFingerprint(status.Certificates), currentFingerprint(s.refinery.Status.Certificates)
		if is != "" && was != "" && is != was {
			changes = append(changes, certificateTransition(is, status.Certificates[0].NotAfter))
		}
		r.record(s.refinery, changes)
	}
	return result(ctx, o, err, s.agenda, s.now)
}

// statusFailed tries again: what cannot be written to status cannot be shown there either, so it is logged.
func statusFailed(ctx context.Context, err error) (ctrl.Result, error) {
	if isTransient(err) {
		return result(ctx, outcome{consequence: silentRetry}, err, agenda{}, time.Time{})
	}
	return ctrl.Result{}, err
}

// result turns the consequence of a pass into what the workqueue is told.
func result(ctx context.Context, o outcome, err error, a agenda, now time.Time) (ctrl.Result, error) {
	switch o.consequence {
	case retry:
		return ctrl.Result{}, err
	case silentRetry:
		log.FromContext(ctx).V(1).Info("Trying again", "cause", err.Error())
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	if o.recheck > 0 {
		a.at(now.Add(o.recheck))
	}
	return ctrl.Result{RequeueAfter: a.after(now)}, nil
}

// agenda is when to look again although nothing was seen to change: the earliest time that was put on it.
type agenda struct{ next time.Time }

func (a *agenda) at(t time.Time) {
	if a.next.IsZero() || t.Before(a.next) {
		a.next = t
	}
}

// after is the time left, at least a second, or 0 for never.
func (a *agenda) after(now time.Time) time.Duration {
	if a.next.IsZero() {
		return 0
	}
	return max(a.next.Sub(now), time.Second)
}
