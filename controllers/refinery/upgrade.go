package refinery

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/controllers"
	"github.com/refinery-operator/refinery-operator/internal/podset"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// pendingUpgrade is a change of the pods that their owner did not ask for, and what it waits for.
type pendingUpgrade struct {
	revision, reason, message string
	// until is when to look again, if that is known.
	until time.Time
}

// show sets condition UpgradePending, or removes it if nothing waits, and returns the revision that waits.
func (u *pendingUpgrade) show(conditions reconcile.Conditions) string {
	if u == nil {
		conditions.SetOrRemove(v1alpha1.ConditionUpgradePending, metav1.Condition{}, false)
		return ""
	}
	conditions.Set(reconcile.NewCondition(v1alpha1.ConditionUpgradePending, metav1.ConditionTrue, u.reason, u.message))
	return u.revision
}

// recheck is when to look again whether the upgrade may go, zero if it takes a change of the Refinery.
func (u *pendingUpgrade) recheck(now time.Time) time.Time {
	switch {
	case u == nil || u.reason == v1alpha1.ReasonAwaitsOwner:
		return time.Time{}
	case u.reason == v1alpha1.ReasonAwaitsWindow:
		return u.until
	default: // for others
		return now.Add(upgradeRecheck)
	}
}

// holdPods keeps the pods in desired as they run, where what changed is not what their owner asks for and the upgrade has to wait. It
// returns what for, or nil if the pods become what desired says.
func (r *Reconciler) holdPods(ctx context.Context, s *scope, desired *appsv1ac.DeploymentApplyConfiguration) (*pendingUpgrade, error) {
	making, err := resource.MakingOf(s.refinery, s.master, r.env.Images)
	if err != nil {
		return nil, err
	}
	if s.deployment == nil {
		making.Stamp(desired)
		return nil, r.awaitNodes(ctx, s)
	}
	former := resource.MadeFrom(s.deployment)
	if former.Revision == making.Revision {
		if former.Upgrading == making.Revision && s.refinery.Spec.Access != v1alpha1.AccessSuspended && !hasComeBack(s.deployment, s.refinery.WantedNodes()) {
			making.Upgrading = former.Upgrading
		}
		making.Stamp(desired)
		return nil, nil
	}
	running, err := r.runningPods(ctx, s, desired)
	if err != nil {
		return nil, err
	}
	paced := r.pace.hasBegun(client.ObjectKeyFromObject(s.refinery), making.Revision) // in a Deployment that the cache does not show yet
	if running != nil && !making.AsksMoreThan(former, isReconciled(s)) && resource.Connects(running, desired.Spec.Template, s.master) {
		pending, inTurn, err := r.awaits(ctx, s, making.Revision)
		if err != nil {
			return nil, err
		}
		if pending != nil {
			desired.Spec.Template = running
			making.Revision, making.Upgrading = former.Revision, former.Upgrading
			making.Stamp(desired)
			return pending, nil
		}
		paced = inTurn
	}
	if paced {
		making.Upgrading = making.Revision
	}
	making.Stamp(desired)
	return nil, r.awaitNodes(ctx, s)
}

// runningPods is the template that the pods run, or nil if it makes the same pods as desired. The cache holds no managed fields, so
// that the API server is asked.
func (r *Reconciler) runningPods(ctx context.Context, s *scope, desired *appsv1ac.DeploymentApplyConfiguration) (*corev1ac.PodTemplateSpecApplyConfiguration, error) {
	live := podset.New(podset.KindOf(s.deployment), "", "")
	if err := r.env.Live.Get(ctx, client.ObjectKeyFromObject(s.deployment), live); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", podset.KindOf(s.deployment), s.deployment.Name, err)
	}
	running, err := resource.RunningTemplate(live)
	if err != nil || running == nil {
		return nil, err
	}
	same, err := resource.SamePods(running, desired.Spec.Template)
	if err != nil || same {
		return nil, err
	}
	return running, nil
}

// awaitNodes ends the pass until the ConfigMap exists that tells nodes where their master is: pods that mount it could not start.
func (r *Reconciler) awaitNodes(ctx context.Context, s *scope) error {
	told := &corev1.ConfigMap{}
	err := r.env.Client.Get(ctx, client.ObjectKey{Namespace: s.master.Namespace, Name: s.master.NodesName()}, told)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read ConfigMap %s: %w", s.master.NodesName(), err)
	}
	if err == nil && metav1.IsControlledBy(told, s.master) {
		return nil
	}
	return &reconcile.WaitError{Reason: v1alpha1.ReasonProgressing, Recheck: time.Second,
		Message: fmt.Sprintf("waiting until ConfigMap %s tells nodes where their master is; see ClusterMaster %s", s.master.NodesName(), s.master.Name)}
}

// isReconciled reports whether the whole spec was reconciled before.
func isReconciled(s *scope) bool { return reconciledGeneration(s) == s.refinery.Generation }

// reconciledGeneration is what status says of that. A release before, which wrote nothing down about pods, said so in
// observedGeneration.
func reconciledGeneration(s *scope) int64 {
	status := &s.refinery.Status
	if status.ReconciledGeneration == 0 && s.deployment != nil && resource.MadeFrom(s.deployment).Asked == "" {
		return max(0, status.ObservedGeneration)
	}
	return status.ReconciledGeneration
}

// awaits says what the upgrade of a Refinery's pods to a revision waits for, or nil if it may go; paced reports whether it goes in its
// turn, so that others wait for it. What its owner lets go waits for its turn only: it may be one of many that were let go at once.
func (r *Reconciler) awaits(ctx context.Context, s *scope, revision string) (pending *pendingUpgrade, paced bool, err error) {
	r.pace.forget(client.ObjectKeyFromObject(s.refinery))
	letGo := s.refinery.Annotations[v1alpha1.UpgradeAnnotation] == revision
	if !letGo {
		if pending, err = r.awaitsOwnerOrMaster(ctx, s, revision); pending != nil || err != nil {
			return pending, false, err
		}
	}
	if s.refinery.Spec.Access == v1alpha1.AccessSuspended || s.deployment.Status.AvailableReplicas == 0 {
		return nil, false, nil // nothing works there that an upgrade could end, and nobody else has to wait until it does
	}
	if may, next := s.master.MayUpgrade(s.now); !may && !letGo {
		return awaitsWindow(s, revision, next), false, nil
	}
	if !hasComeBack(s.deployment, s.refinery.WantedNodes()) {
		return nil, false, nil // it would never take its turn, and may be what the upgrade mends
	}
	pending, err = r.pace.begin(ctx, r.env.Client, s, revision)
	return pending, pending == nil, err
}

// awaitsOwnerOrMaster says what has to happen before an upgrade that nobody let go may take its turn, or nil.
func (r *Reconciler) awaitsOwnerOrMaster(ctx context.Context, s *scope, revision string) (*pendingUpgrade, error) {
	policy := s.refinery.Spec.UpgradePolicy
	if policy == "" && resource.HasWorkload(s.refinery) {
		policy = v1alpha1.UpgradeManual
	}
	if policy == v1alpha1.UpgradeManual {
		return &pendingUpgrade{revision: revision, reason: v1alpha1.ReasonAwaitsOwner, message: fmt.Sprintf(
			"running pods stay as they are (spec.upgradePolicy); to replace them: kubectl annotate --overwrite -n %s refinery %s %s=%s",
			s.refinery.Namespace, s.refinery.Name, v1alpha1.UpgradeAnnotation, revision)}, nil
	}
	if upgraded, err := r.masterIsUpgraded(ctx, s); err != nil {
		return nil, err
	} else if !upgraded {
		return &pendingUpgrade{revision: revision, reason: v1alpha1.ReasonAwaitsMaster,
			message: fmt.Sprintf("waiting until the pods of ClusterMaster %s are upgraded", s.master.Name)}, nil
	}
	return nil, nil
}

// awaitsWindow waits until the next window begins. The API server may know a time zone that this operator does not.
func awaitsWindow(s *scope, revision string, next time.Time) *pendingUpgrade {
	message := fmt.Sprintf("waiting until %s, by spec.upgradeWindows of ClusterMaster %s", next.UTC().Format(time.RFC3339), s.master.Name)
	if next.IsZero() {
		message = fmt.Sprintf("no window of spec.upgradeWindows of ClusterMaster %s ever begins: the operator does not know their time zones; choose others", s.master.Name)
	}
	return &pendingUpgrade{revision: revision, reason: v1alpha1.ReasonAwaitsWindow, until: next, message: message}
}

// masterIsUpgraded reports whether all pods of the ClusterMaster are as this operator makes them.
func (r *Reconciler) masterIsUpgraded(ctx context.Context, s *scope) (bool, error) {
	if s.master.WantedPods() == 0 {
		return true, nil
	}
	d, err := r.env.OwnPodSet(ctx, s.master)
	if err != nil || d == nil {
		return false, err
	}
	desired, err := resource.MasterDeployment(s.master, r.env.Images)
	if err != nil {
		return false, nil // see the ClusterMaster
	}
	return resource.MadeFrom(d).Revision == resource.RevisionIn(desired) && hasComeBack(d, s.master.WantedPods()), nil
}

// hasComeBack reports whether all wanted pods of a Deployment are the current ones, and available.
func hasComeBack(d *appsv1.Deployment, wanted int32) bool {
	return reconcile.RolloutMessage(d, 0, wanted) == "" && d.Status.AvailableReplicas >= wanted
}

// pace holds upgrades to few Refineries of a ClusterMaster at a time.
type pace struct {
	mu sync.Mutex
	// begun are the Refineries whose pods were let go, and the revision, until the cache shows it.
	begun map[client.ObjectKey]string
}

// begin lets the pods of a Refinery go, or says why they have to wait. What runs their pods says which others are on their way: so it
// is after a restart too.
func (p *pace) begin(ctx context.Context, c client.Reader, s *scope, revision string) (*pendingUpgrade, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all, err := controllers.ListPodSets(ctx, c, client.InNamespace(s.master.Namespace), client.MatchingLabels(resource.AnyRefinerySelector()), client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, err
	}
	own := client.ObjectKeyFromObject(s.refinery)
	var onTheirWay, stuck []string
	for _, d := range all {
		key, making := client.ObjectKeyFromObject(d), resource.MadeFrom(d)
		shown := making.Revision == revision
		if shown {
			delete(p.begun, key)
		}
		switch {
		case key == own, !shown && p.begun[key] != revision:
		case shown && (making.Upgrading != revision || hasComeBack(d, ptr.Deref(d.Spec.Replicas, 1))):
		case shown && (deadlineExceeded(d) || wereLate(ctx, c, key)):
			stuck = append(stuck, d.Name)
		default:
			onTheirWay = append(onTheirWay, d.Name)
		}
	}
	if len(stuck) > 0 {
		return &pendingUpgrade{revision: revision, reason: v1alpha1.ReasonUpgradeStopped, message: fmt.Sprintf(
			"the pods of Refinery %s were upgraded and have not come back; no other upgrade begins until they have, or that Refinery is suspended or deleted", slices.Min(stuck))}, nil
	}
	if most := int(ptr.Deref(s.master.Spec.MaxConcurrentUpgrades, v1alpha1.DefaultMaxConcurrentUpgrades)); len(onTheirWay) >= most {
		return &pendingUpgrade{revision: revision, reason: v1alpha1.ReasonAwaitsOthers, message: fmt.Sprintf(
			"waiting for others, such as Refinery %s: pods of %d are being upgraded, and spec.maxConcurrentUpgrades of ClusterMaster %s is %d",
			slices.Min(onTheirWay), len(onTheirWay), s.master.Name, most)}, nil
	}
	p.begun[own] = revision
	return nil, nil
}

// hasBegun reports whether the pods of a Refinery were let go to a revision, and the cache did not show it yet.
func (p *pace) hasBegun(key client.ObjectKey, revision string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun[key] == revision
}

// forget drops a Refinery that is gone, or whose pods were not let go after all.
func (p *pace) forget(key client.ObjectKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.begun, key)
}

// wereLate reports whether status of a Refinery says that its pods are late. Where it cannot be read, it does not.
func wereLate(ctx context.Context, c client.Reader, key client.ObjectKey) bool {
	r := &v1alpha1.Refinery{}
	return c.Get(ctx, key, r) == nil && reconcile.WereLate(r.Status.Conditions)
}

func deadlineExceeded(d *appsv1.Deployment) bool {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
			return true
		}
	}
	return false
}
