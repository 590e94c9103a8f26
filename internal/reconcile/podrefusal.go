package reconcile

import (
	"context"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/podset"
)

// IsRefusal reports whether the API server refuses to create pods.
func (f *PodFailure) IsRefusal() bool { return f != nil && f.Reason == v1alpha1.ReasonPodsRefused }

// refusal is why the API server refuses pods of a StatefulSet, in its words, or nil. The controller of Deployments says so in a
// condition, that of StatefulSets only in an Event. One may be left of a refusal that is over, so that it counts only where there is no
// pod at all, or where pods have been missing for longer than it takes to replace one.
func (p *Pods) refusal(ctx context.Context, d *appsv1.Deployment, missing time.Duration) *PodFailure {
	pods := d.Status.Replicas
	if podset.KindOf(d) != podset.StatefulSet || pods >= ptr.Deref(d.Spec.Replicas, 1) || (pods > 0 && missing < startPatience) {
		return nil
	}
	events := &corev1.EventList{}
	err := p.live.List(ctx, events, client.InNamespace(d.Namespace), client.Limit(podsLimit),
		client.MatchingFields{"involvedObject.uid": string(d.UID), "reason": "FailedCreate"})
	if err != nil {
		log.FromContext(ctx).Error(err, "Reading the Events of the StatefulSet failed, so that status does not show why pods are refused")
		return nil
	}
	var last *corev1.Event
	for i := range events.Items {
		if e := &events.Items[i]; last == nil || last.LastTimestamp.Before(&e.LastTimestamp) {
			last = e
		}
	}
	if last == nil {
		return nil
	}
	message := last.Message
	if _, cause, found := strings.Cut(message, " failed error: "); found {
		message = cause
	}
	return &PodFailure{Reason: v1alpha1.ReasonPodsRefused, Message: quote(message)}
}
