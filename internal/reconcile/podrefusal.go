package reconcile

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/podset"
)

// IsRefusal reports whether the API server refuses to create pods.
func (f *PodFailure) IsRefusal() bool { return f != nil && f.Reason == v1alpha1.ReasonPodsRefused }

// failedCreate is the reason of an Event about a pod that was refused.
const failedCreate = "FailedCreate"

// eventsLimit bounds how many Events of a StatefulSet are read at once. Equal ones are counted in one.
const eventsLimit = 500

// Retried is the annotation whose change has the controllers of Deployments and StatefulSets try again to create pods. By themselves
// they wait for as long again as they were refused, up to a quarter of an hour. It holds the time.
const Retried = "cluster.refinery.dev/pods-retried"

// RetryPods has the pods of a Deployment created soon after a quota or a policy no longer refuses them: nobody is told when that is.
func (p *Passes) RetryPods(ctx context.Context, d *appsv1.Deployment, seen PodsSeen, now time.Time) {
	if !seen.Retry {
		return
	}
	object := podset.New(podset.KindOf(d), d.Namespace, d.Name)
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"annotations":{%q:%q}}}`, d.UID, Retried, now.UTC().Format(time.RFC3339))
	err := p.client.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner(v1alpha1.OperatorFieldOwner))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		log.FromContext(ctx).Error(err, "Having refused pods created again failed, so that it may take their controller some minutes")
	}
}

// refusal is why the API server refuses pods of a StatefulSet, in its words, or nil. The controller of Deployments says so in a
// condition, that of StatefulSets only in an Event. An Event is left of a refusal that is over: it counts only where that controller
// made no pod after it, and has had the time to.
func (p *Pods) refusal(ctx context.Context, d *appsv1.Deployment, lacking time.Duration) *PodFailure {
	if podset.KindOf(d) != podset.StatefulSet || d.Status.Replicas >= ptr.Deref(d.Spec.Replicas, 1) || lacking < firstPodsRecheck {
		return nil
	}
	events := &corev1.EventList{}
	err := p.live.List(ctx, events, client.InNamespace(d.Namespace), client.Limit(eventsLimit),
		client.MatchingFields{"involvedObject.uid": string(d.UID)})
	if err != nil {
		log.FromContext(ctx).Error(err, "Reading the Events of the StatefulSet failed, so that status does not show why pods are refused")
		return nil
	}
	var last *corev1.Event
	for i := range events.Items {
		e := &events.Items[i]
		if e.Reason != failedCreate && e.Reason != "SuccessfulCreate" {
			continue
		}
		if last == nil || last.LastTimestamp.Before(&e.LastTimestamp) || (e.Reason == failedCreate && last.LastTimestamp.Equal(&e.LastTimestamp)) {
			last = e
		}
	}
	if last == nil || last.Reason != failedCreate {
		return nil
	}
	message := last.Message
	if _, cause, found := strings.Cut(message, " failed error: "); found {
		message = cause
	}
	return &PodFailure{Reason: v1alpha1.ReasonPodsRefused, Message: quote(message)}
}
