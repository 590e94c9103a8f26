package reconcile

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

const (
	// podsLimit bounds how many pods of a Deployment are read at once.
	podsLimit = 50
	// firstPodsRecheck and longestPodsRecheck bound how often they are: at first soon, and then less and less often.
	firstPodsRecheck   = 5 * time.Second
	longestPodsRecheck = time.Minute
	// podsRest is the time between two reads because pods became available, or no more are: while they crash, that is often.
	podsRest = 3 * time.Second
	// defaultProgressDeadlineSeconds is that of a Deployment.
	defaultProgressDeadlineSeconds = 600
	// startPatience is for how long a pod may start before it counts as one that does not.
	startPatience = 30 * time.Second
	// firstCalm and longestCalm bound for how long a container that has crashed again and again has to run before it counts as
	// one that does. The kubelet forgets crashes after ten minutes too.
	firstCalm   = 10 * time.Second
	longestCalm = 10 * time.Minute
)

// Pods find out why pods of a Deployment do not start. They are not watched, since a cache would hold all of them: they are read
// from the API server, at most podsLimit, while the Deployment has not what it wants, and less and less often. It is safe for
// concurrent use.
type Pods struct {
	live client.Reader

	mu    sync.Mutex
	known map[client.ObjectKey]*sightOfPods
}

// PodsSeen is what a look at the pods of a Deployment has found.
type PodsSeen struct {
	// Failure is why pods do not start, or nil.
	Failure *PodFailure
	// Late reports whether pods were missing for longer than the progress deadline of the Deployment, though its controller does
	// not say so: it times a rollout only, and not pods that are lost or added after one.
	Late bool
	// Retry reports whether pods that the API server has refused for a while are to be created again: after five seconds, and then less
	// and less often, but once a minute.
	Retry bool
	// Recheck is when to look again, or zero.
	Recheck time.Time
}

// sightOfPods is what is remembered of the pods of one Deployment.
type sightOfPods struct {
	// since is when the Deployment was first seen to lack something, and next when to look again.
	since, next time.Time
	// generation of the Deployment that is timed.
	generation int64
	// most is how many pods were available at once since then or the last rollout, updated how many were of the current spec, and
	// progressed when either became so many.
	most, updated int32
	progressed    time.Time
	// read is when the pods were read last. Then the Deployment was troubled or not, and had so many available.
	read time.Time
	// retry is when refused pods are to be created again, at the earliest.
	retry     time.Time
	troubled  bool
	available int32
	failure   *PodFailure
	runs      map[containerKey]*run
}

// NewPods returns Pods that have seen nothing. live is the API server.
func NewPods(live client.Reader) *Pods {
	return &Pods{live: live, known: map[client.ObjectKey]*sightOfPods{}}
}

// Forget drops what was seen of the pods of an owner.
func (p *Pods) Forget(owner client.ObjectKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, owner)
}

// WereLate reports whether conditions say that pods are late.
func WereLate(conditions []metav1.Condition) bool {
	stalled := meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled)
	return stalled != nil && stalled.Status == metav1.ConditionTrue &&
		(stalled.Reason == v1alpha1.ReasonProgressDeadlineExceeded || stalled.Reason == v1alpha1.ReasonNotAuthenticated)
}

// Look finds out why pods of a Deployment, nil if there is none, do not start. late says whether they were late as far as status tells:
// it is not known otherwise to an operator that has just started.
func (p *Pods) Look(ctx context.Context, owner client.ObjectKey, d *appsv1.Deployment, late bool, now time.Time) PodsSeen {
	lacking := isLacking(d)
	p.mu.Lock()
	s := p.known[owner]
	if !lacking && (s == nil || !s.failure.isCrash() || d == nil) {
		delete(p.known, owner)
		p.mu.Unlock()
		return PodsSeen{}
	}
	if s == nil {
		s = &sightOfPods{since: now, progressed: now, generation: d.Generation, most: d.Status.AvailableReplicas, updated: d.Status.UpdatedReplicas}
		if late {
			s.progressed = time.Time{}
		}
		p.known[owner] = s
	}
	p.mu.Unlock() // one pass at a time has an owner
	if available, updated := d.Status.AvailableReplicas, d.Status.UpdatedReplicas; isTimed(d) || s.generation != d.Generation {
		s.generation, s.most, s.updated, s.progressed = d.Generation, available, updated, now
	} else if available > s.most || updated > s.updated {
		s.most, s.updated, s.progressed = max(available, s.most), max(updated, s.updated), now
	}
	if rested := s.read.Add(podsRest); d.Status.AvailableReplicas != s.available && rested.Before(s.next) {
		s.next = rested
	}
	if now.Before(s.next) && s.troubled == lacking {
		return s.seen(d, s.unread(d), now)
	}
	p.read(ctx, s, d, now)
	seen := s.seen(d, s.failure, now)
	refused := s.failure.IsRefusal() || ReplicaFailure(d) != ""
	if refused && now.Sub(s.since) >= firstPodsRecheck && !now.Before(s.retry) { // at first their controller has just tried
		seen.Retry, s.retry = true, now.Add(s.interval(now))
	}
	return seen
}

// read finds out from the pods why they do not start, and when to read them again.
func (p *Pods) read(ctx context.Context, s *sightOfPods, d *appsv1.Deployment, now time.Time) {
	pods := &corev1.PodList{}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err == nil {
		err = p.live.List(ctx, pods, client.InNamespace(d.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.Limit(podsLimit))
	}
	s.read, s.troubled, s.available = now, isLacking(d), d.Status.AvailableReplicas
	s.next = now.Add(s.interval(now))
	if err != nil { // what is known without the pods is shown in any case
		log.FromContext(ctx).Error(err, "Reading the pods failed, so that status does not show why they do not start")
		return
	}
	s.judge(pods.Items, now)
	if s.failure != nil && s.failure.isWaiting {
		p.nameMissing(ctx, d, s.failure)
	}
	if s.failure == nil {
		s.failure = p.refusal(ctx, d, now.Sub(s.since))
	}
}

// interval is the time until the next look, by how long the Deployment has lacked something.
func (s *sightOfPods) interval(now time.Time) time.Duration {
	return min(max(now.Sub(s.since), firstPodsRecheck), longestPodsRecheck)
}

// seen is what to tell of the pods. Where no controller says so, they are late when no more of them became available for as long as a
// rollout may take.
func (s *sightOfPods) seen(d *appsv1.Deployment, failure *PodFailure, now time.Time) PodsSeen {
	seen := PodsSeen{Failure: failure, Recheck: s.next}
	if isTimed(d) {
		return seen
	}
	deadline := s.progressed.Add(time.Duration(ptr.Deref(d.Spec.ProgressDeadlineSeconds, defaultProgressDeadlineSeconds)) * time.Second)
	seen.Late = !now.Before(deadline)
	if !seen.Late && deadline.Before(seen.Recheck) {
		seen.Recheck = deadline
	}
	return seen
}

// unread is why the pods do not start while they are not read again: pods that became available since the last look, or are so no
// more, are taken to be those that crash, so that status does not change with each of their starts.
func (s *sightOfPods) unread(d *appsv1.Deployment) *PodFailure {
	if s.failure.IsRefusal() && d.Status.Replicas >= ptr.Deref(d.Spec.Replicas, 1) {
		return nil
	}
	if !s.failure.isCrash() || d.Status.AvailableReplicas == s.available {
		return s.failure
	}
	failure := *s.failure
	failure.Crashing = max(0, failure.Crashing+d.Status.AvailableReplicas-s.available)
	return &failure
}

// judge notes why the pods do not start. A container that crashes again and again counts as one that does until it has run for
// longer than it did before, so that status does not change with each of its starts.
func (s *sightOfPods) judge(pods []corev1.Pod, now time.Time) {
	s.runs = runsOf(pods, s.runs, now)
	s.failure = worstPod(pods, judgement{slow: now.Sub(s.since) >= startPatience, runs: s.runs, now: now})
	for _, r := range s.runs {
		if over := r.unchanged.Add(r.calm); r.crashing && over.After(now) && over.Before(s.next) {
			s.next = over
		}
	}
}

// calm is how long a container has to run that ended after it had run for some time.
func calm(ran time.Duration) time.Duration { return min(max(2*ran, firstCalm), longestCalm) }

// isLacking reports whether a Deployment has fewer pods than it wants, or others.
func isLacking(d *appsv1.Deployment) bool {
	if d == nil {
		return false
	}
	status := d.Status
	return status.ObservedGeneration < d.Generation || status.AvailableReplicas < ptr.Deref(d.Spec.Replicas, 1) ||
		status.UpdatedReplicas < status.Replicas || status.UnavailableReplicas > 0
}

// nameMissing names the first Secret or ConfigMap that a pod mounts and that does not exist: the pod waits for it, and its status
// does not say so.
func (p *Pods) nameMissing(ctx context.Context, d *appsv1.Deployment, failure *PodFailure) {
	for i := range d.Spec.Template.Spec.Volumes {
		volume := &d.Spec.Template.Spec.Volumes[i]
		kind, name := "", ""
		switch {
		case volume.Secret != nil && !ptr.Deref(volume.Secret.Optional, false):
			kind, name = "Secret", volume.Secret.SecretName
		case volume.ConfigMap != nil && !ptr.Deref(volume.ConfigMap.Optional, false):
			kind, name = "ConfigMap", volume.ConfigMap.Name
		default:
			continue
		}
		object := &metav1.PartialObjectMetadata{}
		object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
		if err := p.live.Get(ctx, client.ObjectKey{Namespace: d.Namespace, Name: name}, object); apierrors.IsNotFound(err) {
			failure.Message = fmt.Sprintf("%s: %s %s, which volume %s mounts, does not exist", failure.where, kind, name, volume.Name)
			return
		}
	}
}
