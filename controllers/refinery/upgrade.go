package refinery

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/reconcile"
	"github.com/refinery-operator/refinery-operator/internal/resource"
)

// pendingUpgrade is a change of the pods that their owner did not ask for, and what it waits for.
type pendingUpgrade struct{ revision, reason, message string }

// show sets condition UpgradePending, or removes it if nothing waits, and returns the revision that waits.
func (u *pendingUpgrade) show(conditions reconcile.Conditions) string {
	if u == nil {
		conditions.SetOrRemove(v1alpha1.ConditionUpgradePending, metav1.Condition{}, false)
		return ""
	}
	conditions.Set(reconcile.NewCondition(v1alpha1.ConditionUpgradePending, metav1.ConditionTrue, u.reason, u.message))
	return u.revision
}

// waitsForOthers reports whether the upgrade goes without a change of the Refinery, once others are ready for it.
func (u *pendingUpgrade) waitsForOthers() bool {
	return u != nil && u.reason != v1alpha1.ReasonAwaitsOwner
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
		return nil, nil
	}
	former := resource.MadeFrom(s.deployment)
	if former.Revision == making.Revision || making.AsksMoreThan(former, isReconciled(s.refinery)) {
		making.Stamp(desired)
		return nil, nil
	}
	live := &appsv1.Deployment{} // the cache holds no managed fields
	if err := r.env.Live.Get(ctx, client.ObjectKeyFromObject(s.deployment), live); err != nil {
		return nil, fmt.Errorf("read Deployment %s: %w", s.deployment.Name, err)
	}
	running, err := resource.RunningTemplate(live)
	if err != nil {
		return nil, err
	}
	if running != nil && !resource.FindsMaster(running, s.master) {
		running = nil
	}
	if running != nil {
		same, err := resource.SamePods(running, desired.Spec.Template)
		if err != nil {
			return nil, err
		}
		if same {
			running = nil
		}
	}
	if running == nil {
		making.Stamp(desired)
		return nil, nil
	}
	pending, err := r.awaits(ctx, s, making.Revision)
	if err != nil || pending == nil {
		making.Stamp(desired)
		return nil, err
	}
	desired.Spec.Template = running
	making.Revision, making.Uses = former.Revision, former.Uses
	making.Stamp(desired)
	return pending, nil
}

// isReconciled reports whether the whole spec was reconciled before. A release before wrote that into observedGeneration.
func isReconciled(r *v1alpha1.Refinery) bool {
	return cmp.Or(r.Status.ReconciledGeneration, r.Status.ObservedGeneration) == r.Generation
}

// awaits says what the upgrade of a Refinery's pods to a revision waits for, or nil if it may go.
func (r *Reconciler) awaits(ctx context.Context, s *scope, revision string) (*pendingUpgrade, error) {
	name := s.refinery.Name
	r.pace.forget(client.ObjectKeyFromObject(s.refinery))
	if s.refinery.Annotations[v1alpha1.UpgradeAnnotation] == revision {
		return nil, nil
	}
	policy := s.refinery.Spec.UpgradePolicy
	if policy == "" && resource.HasWorkload(s.refinery) {
		policy = v1alpha1.UpgradeManual
	}
	if policy == v1alpha1.UpgradeManual {
		return &pendingUpgrade{revision, v1alpha1.ReasonAwaitsOwner, fmt.Sprintf(
			"running pods stay as they are (spec.upgradePolicy); to replace them: kubectl annotate --overwrite -n %s refinery %s %s=%s",
			s.refinery.Namespace, name, v1alpha1.UpgradeAnnotation, revision)}, nil
	}
	if upgraded, err := r.masterIsUpgraded(ctx, s); err != nil {
		return nil, err
	} else if !upgraded {
		return &pendingUpgrade{revision, v1alpha1.ReasonAwaitsMaster,
			fmt.Sprintf("waiting until the pods of ClusterMaster %s are upgraded", s.master.Name)}, nil
	}
	return r.pace.begin(ctx, r.env.Client, s, revision)
}

// masterIsUpgraded reports whether all pods of the ClusterMaster run the masters' image of this operator.
func (r *Reconciler) masterIsUpgraded(ctx context.Context, s *scope) (bool, error) {
	if s.master.WantedPods() == 0 {
		return true, nil
	}
	d, err := r.env.OwnDeployment(ctx, s.master)
	if err != nil || d == nil || len(d.Spec.Template.Spec.Containers) == 0 {
		return false, err
	}
	return d.Spec.Template.Spec.Containers[0].Image == r.env.Images.Master && hasComeBack(d, s.master.WantedPods()), nil
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

// begin lets the pods of a Refinery go, or says why they have to wait. Deployments say which others are on their way: so it is
// after a restart too.
func (p *pace) begin(ctx context.Context, c client.Reader, s *scope, revision string) (*pendingUpgrade, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	deployments := &appsv1.DeploymentList{}
	if err := c.List(ctx, deployments, client.InNamespace(s.master.Namespace), client.MatchingLabels(resource.AnyRefinerySelector()), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the Deployments of ClusterMaster %s: %w", s.master.Name, err)
	}
	own := client.ObjectKeyFromObject(s.refinery)
	onTheirWay := 0
	for i := range deployments.Items {
		d := &deployments.Items[i]
		key := client.ObjectKeyFromObject(d)
		shown := resource.MadeFrom(d).Revision == revision
		if shown {
			delete(p.begun, key)
		}
		if key == own || !shown && p.begun[key] != revision {
			continue
		}
		if shown && hasComeBack(d, ptr.Deref(d.Spec.Replicas, 1)) {
			continue
		}
		if shown && deadlineExceeded(d) {
			return &pendingUpgrade{revision, v1alpha1.ReasonUpgradeStopped,
				fmt.Sprintf("the pods of Refinery %s were upgraded and have not come back; no other upgrade begins until they are", d.Name)}, nil
		}
		onTheirWay++
	}
	if most := int(ptr.Deref(s.master.Spec.MaxConcurrentUpgrades, v1alpha1.DefaultMaxConcurrentUpgrades)); onTheirWay >= most {
		return &pendingUpgrade{revision, v1alpha1.ReasonAwaitsOthers,
			fmt.Sprintf("pods of %d other Refineries are being upgraded, and spec.maxConcurrentUpgrades of ClusterMaster %s is %d", onTheirWay, s.master.Name, most)}, nil
	}
	p.begun[own] = revision
	return nil, nil
}

// forget drops a Refinery that is gone.
func (p *pace) forget(key client.ObjectKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.begun, key)
}

func deadlineExceeded(d *appsv1.Deployment) bool {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
			return true
		}
	}
	return false
}
