package reconcile

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// podOf has one container in a state.
func podOf(name string, c corev1.ContainerStatus) corev1.Pod {
	c.Name, c.Image = "app", "example.com/app:1"
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{c}}}
}

func waitingFor(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func running(started *bool) corev1.ContainerStatus {
	return corev1.ContainerStatus{Started: started, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
}

// crashed is a container that ended after it had run for some time, in its next state.
func crashed(c corev1.ContainerStatus, ran time.Duration) corev1.ContainerStatus {
	c.RestartCount, c.LastTerminationState.Terminated = 3, &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "password: swordfish",
		StartedAt: metav1.Unix(1000, 0), FinishedAt: metav1.NewTime(time.Unix(1000, 0).Add(ran))}
	return c
}

func withSandbox(status corev1.ConditionStatus, pod corev1.Pod) corev1.Pod {
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: status})
	return pod
}

func TestAPodThatDoesNotStartSaysWhy(t *testing.T) {
	const of = "container app of pod press-a: "
	started, notStarted := true, false
	unschedulable := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "press-a"}, Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes are available: 3 Insufficient cpu."}}}}
	evicted := podOf("press-0", waitingFor("ErrImagePull", ""))
	evicted.Status.Phase = corev1.PodFailed
	preparing := podOf("press-a", waitingFor("PodInitializing", ""))
	preparing.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "prepare", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	for name, test := range map[string]struct {
		pods         []corev1.Pod
		slow         bool
		reason, want string
	}{
		"starting":      {[]corev1.Pod{podOf("press-a", waitingFor("ContainerCreating", "")), podOf("press-b", running(nil))}, false, "", ""},
		"being pulled":  {[]corev1.Pod{podOf("press-a", waitingFor("PodInitializing", ""))}, true, "", ""},
		"preparing":     {[]corev1.Pod{preparing}, true, "", ""},
		"an image":      {[]corev1.Pod{podOf("press-a", waitingFor("ErrImagePull", "not found"))}, false, v1alpha1.ReasonImageNotPulled, of + "image example.com/app:1 cannot be pulled: not found"},
		"the same one":  {[]corev1.Pod{podOf("press-a", waitingFor("ImagePullBackOff", `Back-off pulling image "example.com/app:1": ErrImagePull: not found`))}, false, v1alpha1.ReasonImageNotPulled, of + "image example.com/app:1 cannot be pulled: not found"},
		"a missing key": {[]corev1.Pod{podOf("press-a", waitingFor("CreateContainerConfigError", `secret "x" not found`))}, false, v1alpha1.ReasonContainerNotCreated, of + `CreateContainerConfigError: secret "x" not found`},
		"a volume":      {[]corev1.Pod{podOf("press-a", waitingFor("ContainerCreating", ""))}, true, v1alpha1.ReasonContainerNotCreated, of + "it waits for a volume or the network; kubectl describe pod says which"},
		"a volume of a pod whose agent starts first": {[]corev1.Pod{withSandbox(corev1.ConditionFalse, podOf("press-a", waitingFor("PodInitializing", "")))}, true,
			v1alpha1.ReasonContainerNotCreated, of + "it waits for a volume or the network; kubectl describe pod says which"},
		"being pulled into a sandbox": {[]corev1.Pod{withSandbox(corev1.ConditionTrue, podOf("press-a", waitingFor("ContainerCreating", "")))}, true, "", ""},
		"crashing":                    {[]corev1.Pod{podOf("press-a", crashed(waitingFor("CrashLoopBackOff", "back-off 40s"), time.Second))}, false, v1alpha1.ReasonCrashLoop, of + "it ends again and again, the last time with exit code 1 (Error); see its log"},
		"its readiness":               {[]corev1.Pod{podOf("press-a", running(&started))}, true, v1alpha1.ReasonContainersNotReady, of + "it runs, and its readiness probe does not succeed"},
		"its startup":                 {[]corev1.Pod{podOf("press-a", running(&notStarted))}, true, v1alpha1.ReasonContainersNotReady, of + "it runs, and its startup probe does not succeed"},
		"no node yet":                 {[]corev1.Pod{unschedulable}, false, "", ""},
		"no node":                     {[]corev1.Pod{unschedulable}, true, v1alpha1.ReasonUnschedulable, "pod press-a: no node takes it: 0/3 nodes are available: 3 Insufficient cpu."},
		"the severest, of the first pod": {[]corev1.Pod{podOf("press-c", waitingFor("ErrImagePull", "")), unschedulable, podOf("press-b", waitingFor("ErrImagePull", ""))}, false,
			v1alpha1.ReasonImageNotPulled, "container app of pod press-b: image example.com/app:1 cannot be pulled"},
		"not of one that is replaced": {[]corev1.Pod{evicted, podOf("press-a", running(&started))}, false, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			failure := worstPod(test.pods, judgement{slow: test.slow, runs: runsOf(test.pods, nil, time.Time{})})
			reason, got := "", ""
			if failure != nil {
				reason, got = failure.Reason, failure.Message
			}
			if diff := cmp.Diff(test.reason+" "+test.want, reason+" "+got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
