package e2e

import (
	"context"
	"fmt"
	"sort"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// columns are the AUTH and NODES columns of kubectl get refineries.
type columns struct{ Auth, Nodes string }

func authenticated(n int) columns {
	return columns{Auth: v1alpha1.ReasonAuthenticated, Nodes: fmt.Sprintf("%d/%d", n, n)}
}

// columnsOf reads what kubectl get refineries shows, for Eventually and Consistently.
func columnsOf(r *v1alpha1.Refinery) func(context.Context) (columns, error) {
	return func(ctx context.Context) (columns, error) {
		var now v1alpha1.Refinery
		if err := k8s.Get(ctx, client.ObjectKeyFromObject(r), &now); err != nil {
			return columns{}, err
		}
		return shown(&now), nil
	}
}

func shown(r *v1alpha1.Refinery) columns {
	var c columns
	if condition := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAuthenticated); condition != nil {
		c.Auth = condition.Reason
	}
	if r.Status.Authenticated != nil {
		c.Nodes = r.Status.Authenticated.Summary
	}
	return c
}

// conditionOf reads one condition, zero when it is absent, for Eventually and Consistently.
func conditionOf(obj client.Object, conditionType string) func(context.Context) (metav1.Condition, error) {
	return func(ctx context.Context) (metav1.Condition, error) {
		key := client.ObjectKeyFromObject(obj)
		var conditions []metav1.Condition
		switch obj.(type) {
		case *v1alpha1.ClusterMaster:
			var m v1alpha1.ClusterMaster
			if err := k8s.Get(ctx, key, &m); err != nil {
				return metav1.Condition{}, err
			}
			conditions = m.Status.Conditions
		case *v1alpha1.Refinery:
			var r v1alpha1.Refinery
			if err := k8s.Get(ctx, key, &r); err != nil {
				return metav1.Condition{}, err
			}
			conditions = r.Status.Conditions
		default:
			return metav1.Condition{}, fmt.Errorf("%T has no conditions known here", obj)
		}
		if c := meta.FindStatusCondition(conditions, conditionType); c != nil {
			return *c, nil
		}
		return metav1.Condition{}, nil
	}
}

// nodesOf reads status.nodes, for Eventually and Consistently.
func nodesOf(r *v1alpha1.Refinery) func(context.Context) ([]v1alpha1.NodeStatus, error) {
	return func(ctx context.Context) ([]v1alpha1.NodeStatus, error) {
		var now v1alpha1.Refinery
		err := k8s.Get(ctx, client.ObjectKeyFromObject(r), &now)
		return now.Status.Nodes, err
	}
}

// resourceVersionOf reads an object's resource version, which moves with every write.
func resourceVersionOf[T client.Object](obj T) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		now := obj.DeepCopyObject().(client.Object)
		err := k8s.Get(ctx, client.ObjectKeyFromObject(obj), now)
		return now.GetResourceVersion(), err
	}
}

// warningsOn reads the Warning events on an object as "Reason: message", for Eventually.
func warningsOn(obj client.Object) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		var list corev1.EventList
		if err := k8s.List(ctx, &list, client.InNamespace(obj.GetNamespace())); err != nil {
			return nil, err
		}
		var found []string
		for _, e := range list.Items {
			if e.Type == corev1.EventTypeWarning && e.InvolvedObject.Name == obj.GetName() && e.InvolvedObject.UID == obj.GetUID() {
				found = append(found, e.Reason+": "+e.Message)
			}
		}
		return found, nil
	}
}

// pod is what must not change of a pod while its session is cared for.
type pod struct {
	Name, UID string
	Restarts  int32
}

// podsOf reads the pods of a ClusterMaster or Refinery that are not being deleted, sorted by name.
func podsOf(ctx context.Context, namespace, instance, component string) []corev1.Pod {
	GinkgoHelper()
	var list corev1.PodList
	Expect(k8s.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{
		"app.kubernetes.io/instance": instance, "app.kubernetes.io/component": component,
	})).To(Succeed())
	var live []corev1.Pod
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			live = append(live, p)
		}
	}
	sort.Slice(live, func(i, j int) bool { return live[i].Name < live[j].Name })
	return live
}

func refineryPods(ctx context.Context, r *v1alpha1.Refinery) []pod {
	GinkgoHelper()
	var pods []pod
	for _, p := range podsOf(ctx, r.Namespace, r.Name, "refinery") {
		one := pod{Name: p.Name, UID: string(p.UID)}
		for _, s := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			one.Restarts += s.RestartCount
		}
		pods = append(pods, one)
	}
	return pods
}

// readyPods counts the pods of a Refinery whose condition Ready is True.
func readyPods(ctx context.Context, r *v1alpha1.Refinery) int {
	GinkgoHelper()
	ready := 0
	for _, p := range podsOf(ctx, r.Namespace, r.Name, "refinery") {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	return ready
}
