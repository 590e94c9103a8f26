package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// maxDetailBytes bounds what a message quotes of a pod.
const maxDetailBytes = 512

// PodFailure is why a pod does not start.
type PodFailure struct {
	// Reason is one of condition Available.
	Reason  string
	Message string
	// Crashing is how many pods count as available at the moment, and crash again and again.
	Crashing int32

	// where names container and pod.
	where string
	// isWaiting reports whether no container was made yet, of which the pod does not say the cause.
	isWaiting bool
}

func (f *PodFailure) isCrash() bool { return f != nil && f.Reason == v1alpha1.ReasonCrashLoop }

// Blocks reports whether the pod does not run at all. One that runs and is not ready may wait for its session.
func (f *PodFailure) Blocks() bool { return f != nil && f.Reason != v1alpha1.ReasonContainersNotReady }

// severities of the reasons: what somebody has to correct goes first.
var severities = []string{v1alpha1.ReasonImageNotPulled, v1alpha1.ReasonContainerNotCreated, v1alpha1.ReasonCrashLoop, v1alpha1.ReasonUnschedulable,
	v1alpha1.ReasonContainersNotReady}

// containerKey names a container of one pod: another pod of the same name has other runs.
type containerKey struct {
	pod  types.UID
	name string
}

// run is what is remembered of a container from one look at the pods to the next.
type run struct {
	// restarts of the container, and since when this process has seen that many.
	restarts  int32
	unchanged time.Time
	// crashing reports whether it ended again and again at the last look, and calm is for how long it then has to run.
	crashing bool
	calm     time.Duration
}

// runsOf are the runs of the containers of pods, and of no others.
func runsOf(pods []corev1.Pod, before map[containerKey]*run, now time.Time) map[containerKey]*run {
	runs := map[containerKey]*run{}
	for i := range pods {
		for _, containers := range [][]corev1.ContainerStatus{pods[i].Status.InitContainerStatuses, pods[i].Status.ContainerStatuses} {
			for j := range containers {
				key := containerKey{pods[i].UID, containers[j].Name}
				r := before[key]
				if r == nil {
					r = &run{unchanged: now}
				} else if r.restarts != containers[j].RestartCount {
					r.unchanged = now
				}
				r.restarts, runs[key] = containers[j].RestartCount, r
			}
		}
	}
	return runs
}

// isCrashing notes whether a container ends again and again. One that did, and runs, still does until it has run for long enough.
func (r *run) isCrashing(c *corev1.ContainerStatus, now time.Time) bool {
	ended := c.LastTerminationState.Terminated
	r.calm = firstCalm
	if ended != nil {
		r.calm = calm(ended.FinishedAt.Sub(ended.StartedAt.Time))
	}
	waits := c.State.Waiting != nil && c.State.Waiting.Reason == "CrashLoopBackOff"
	r.crashing = waits || r.crashing && ended != nil && now.Sub(r.unchanged) < r.calm
	return r.crashing
}

// judgement is what one look at a pod cannot know.
type judgement struct {
	// slow reports whether pods have had the time that they need to start.
	slow bool
	// runs are those of all containers of the pods, now.
	runs map[containerKey]*run
	now  time.Time
}

// worstPod is the severest failure of some pods, or nil; of several, that of the first by name, so that it stays the same.
func worstPod(pods []corev1.Pod, j judgement) *PodFailure {
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	var worst *PodFailure
	crashing := int32(0)
	for i := range pods {
		if !pods[i].DeletionTimestamp.IsZero() || pods[i].Status.Phase == corev1.PodFailed {
			continue // another one takes its place
		}
		failure := j.ofPod(&pods[i])
		if failure == nil {
			continue
		}
		if failure.isCrash() && isReady(&pods[i]) {
			crashing++
		}
		if worst == nil || slices.Index(severities, failure.Reason) < slices.Index(severities, worst.Reason) {
			worst = failure
		}
	}
	if worst != nil {
		worst.Crashing = crashing
	}
	return worst
}

func (j judgement) ofPod(pod *corev1.Pod) *PodFailure {
	for _, c := range pod.Status.Conditions {
		// A claim that is being bound, or a node that is being added, is nothing to tell at once.
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable && j.slow {
			return &PodFailure{Reason: v1alpha1.ReasonUnschedulable, Message: fmt.Sprintf("pod %s: no node takes it: %s", pod.Name, quote(c.Message))}
		}
	}
	var worst *PodFailure
	for _, containers := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range containers {
			failure := j.ofContainer(pod, &containers[i])
			if failure != nil && (worst == nil || slices.Index(severities, failure.Reason) < slices.Index(severities, worst.Reason)) {
				worst = failure
			}
		}
	}
	return worst
}

func (j judgement) ofContainer(pod *corev1.Pod, c *corev1.ContainerStatus) *PodFailure {
	where := fmt.Sprintf("container %s of pod %s", c.Name, pod.Name)
	waiting := c.State.Waiting
	fail := func(reason, format string, arguments ...any) *PodFailure {
		return &PodFailure{Reason: reason, Message: where + ": " + fmt.Sprintf(format, arguments...), where: where}
	}
	switch {
	case waiting != nil && strings.Contains(waiting.Reason, "Image"): // ErrImagePull and ImagePullBackOff take turns
		return fail(v1alpha1.ReasonImageNotPulled, "image %s cannot be pulled%s", c.Image, detailOfPull(waiting.Message))
	case j.runs[containerKey{pod.UID, c.Name}].isCrashing(c, j.now):
		return fail(v1alpha1.ReasonCrashLoop, "it ends again and again%s", detailOfEnd(c.LastTerminationState.Terminated))
	case waiting != nil && waiting.Reason != "" && waiting.Reason != "ContainerCreating" && waiting.Reason != "PodInitializing":
		return fail(v1alpha1.ReasonContainerNotCreated, "%s: %s", waiting.Reason, quote(waiting.Message))
	case j.slow && waitsForSandbox(pod, waiting):
		f := fail(v1alpha1.ReasonContainerNotCreated, "it waits for a volume or the network; kubectl describe pod says which")
		f.isWaiting = true
		return f
	case c.State.Running != nil && !c.Ready && j.slow && isReadied(pod, c.Name):
		return fail(v1alpha1.ReasonContainersNotReady, "it runs, and its %s probe does not succeed", map[bool]string{true: "readiness", false: "startup"}[c.Started == nil || *c.Started])
	default:
		return nil
	}
}

// detailOfPull is what a runtime says about an image, without what differs between two tries.
func detailOfPull(message string) string {
	if _, cause, found := strings.Cut(message, "ErrImagePull: "); found {
		message = cause
	} else if strings.HasPrefix(message, "Back-off pulling image") {
		return ""
	}
	if message == "" {
		return ""
	}
	return ": " + quote(message)
}

// detailOfEnd is how a container ended. What it wrote at its end may hold anything, and is not shown.
func detailOfEnd(ended *corev1.ContainerStateTerminated) string {
	if ended == nil {
		return ""
	}
	return fmt.Sprintf(", the last time with exit code %d (%s); see its log", ended.ExitCode, ended.Reason)
}

func quote(message string) string {
	return truncate(strings.Join(strings.Fields(message), " "), maxDetailBytes)
}

// waitsForSandbox reports whether a container waits for volumes or the network of its pod. Where there are init containers, as the agent
// is one, the reason of all containers is PodInitializing until the first has started, be it for its image or for a volume: only the
// pod's condition tells the two apart.
func waitsForSandbox(pod *corev1.Pod, waiting *corev1.ContainerStateWaiting) bool {
	if waiting == nil || (waiting.Reason != "ContainerCreating" && waiting.Reason != "PodInitializing") {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReadyToStartContainers {
			return c.Status == corev1.ConditionFalse
		}
	}
	return waiting.Reason == "ContainerCreating"
}

// isReadied reports whether a container has to become ready: one that prepares the pod has to end.
func isReadied(pod *corev1.Pod, container string) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.Name == container })
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
