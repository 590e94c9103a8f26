package reconcile

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/podset"
)

// podList is an API server that has these pods, or fails, and counts how often it was asked.
type podList struct {
	client.Reader
	pods  []corev1.Pod
	err   error
	reads int
	limit int64
}

func (l *podList) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	l.reads++
	l.limit = (&client.ListOptions{}).ApplyOptions(options).Limit
	list.(*corev1.PodList).Items = append([]corev1.Pod(nil), l.pods...)
	return l.err
}

// watched are the pods of one Deployment, over time.
type watched struct {
	t    *testing.T
	api  *podList
	pods *Pods
	now  time.Time
	next time.Time
	// generation is that of the Deployment, of which its controller has taken none up.
	generation int64
}

func newWatched(t *testing.T, objects ...client.Object) *watched {
	api := &podList{Reader: fake.NewClientBuilder().WithObjects(objects...).Build()}
	return &watched{t: t, api: api, pods: NewPods(api), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

// deployment wants one pod, and has some available.
func deployment(available int32) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "press"},
		Spec:   appsv1.DeploymentSpec{Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "press"}}},
		Status: appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: available, UnavailableReplicas: 1 - available}}
}

// look is condition Available after some time.
func (w *watched) look(after time.Duration, available int32, pods ...corev1.Pod) string {
	w.t.Helper()
	w.now, w.api.pods = w.now.Add(after), pods
	d := deployment(available)
	seen := w.pods.Look(w.t.Context(), client.ObjectKeyFromObject(d), d, false, w.now)
	w.next = seen.Recheck
	c := Available(d, seen.Failure, 1, 1)
	return fmt.Sprintf("%s/%s", c.Status, c.Reason)
}

// lookAtTwo is condition Available of a Deployment that wants two pods and needs one.
func (w *watched) lookAtTwo(after time.Duration, available int32, pods ...corev1.Pod) string {
	w.t.Helper()
	w.now, w.api.pods = w.now.Add(after), pods
	d := deployment(available)
	d.Spec.Replicas, d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.UnavailableReplicas = ptr.To[int32](2), 2, 2, 2-available
	d.Generation = w.generation
	seen := w.pods.Look(w.t.Context(), client.ObjectKeyFromObject(d), d, false, w.now)
	w.next = seen.Recheck
	c := Available(d, seen.Failure, 1, 2)
	return fmt.Sprintf("%s: %s", c.Status, c.Message)
}

func (w *watched) want(want, got string) {
	w.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("(-want +got):\n%s", diff)
	}
}

// statefulSet tells a StatefulSet that has some of its three pods, so many of them available and of the current spec.
func statefulSet(pods, available, updated int32) *appsv1.Deployment {
	return podset.Of(&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "press", UID: "uid-of-press"},
		Spec:   appsv1.StatefulSetSpec{Replicas: ptr.To[int32](3), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "press"}}},
		Status: appsv1.StatefulSetStatus{Replicas: pods, AvailableReplicas: available, UpdatedReplicas: updated}})
}

func ready(pod corev1.Pod) corev1.Pod {
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return pod
}

func TestPodsAreReadSeldomAndOnlyWhileTheyAreMissed(t *testing.T) {
	w := newWatched(t)
	failing := podOf("press-a", waitingFor("ErrImagePull", ""))
	w.want("True/Available", w.look(0, 1, failing))
	if w.api.reads != 0 || !w.next.IsZero() {
		t.Fatalf("%d reads, and again at %v, of pods that nothing is wrong with", w.api.reads, w.next)
	}
	for range 3600 {
		w.want("False/ImagePullBackOff", w.look(time.Second, 0, failing))
	}
	if w.api.reads < 60 || w.api.reads > 75 || w.api.limit != podsLimit {
		t.Errorf("%d reads of up to %d pods in an hour", w.api.reads, w.api.limit)
	}
	w.want("True/Available", w.look(time.Second, 1, failing))
	if !w.next.IsZero() {
		t.Errorf("looks again at %v", w.next)
	}
}

func TestACrashingPodStaysOneAtEachOfItsStarts(t *testing.T) {
	w := newWatched(t)
	started := ready(podOf("press-a", crashed(running(nil), 20*time.Second)))
	started.Status.ContainerStatuses[0].RestartCount++
	w.want("False/Unavailable", w.look(0, 0, podOf("press-a", waitingFor("ContainerCreating", ""))))
	w.want("True/Available", w.look(time.Second, 1, ready(podOf("press-a", running(nil)))))
	w.want("False/CrashLoopBackOff", w.look(time.Minute, 0, podOf("press-a", crashed(waitingFor("CrashLoopBackOff", ""), 20*time.Second))))
	w.want("False/CrashLoopBackOff", w.look(time.Minute, 1, started))
	w.want("False/CrashLoopBackOff", w.look(20*time.Second, 1, started))
	again := started.DeepCopy()
	again.Status.ContainerStatuses[0].RestartCount++
	w.want("False/CrashLoopBackOff", w.look(time.Minute, 1, *again))
	w.want("False/CrashLoopBackOff", w.look(39*time.Second, 1, *again))
	w.want("True/Available", w.look(time.Second, 1, *again)) // it has run for twice as long as before
	w.want("True/Available", w.look(time.Second, 1, *again))
	if !w.next.IsZero() {
		t.Errorf("looks again at %v", w.next)
	}
}

func TestAPodThatTakesThePlaceOfACrashingOneCounts(t *testing.T) {
	w := newWatched(t)
	w.want("False/CrashLoopBackOff", w.look(0, 0, podOf("press-a", crashed(waitingFor("CrashLoopBackOff", ""), time.Hour))))
	w.want("True/Available", w.look(time.Second, 1, ready(podOf("press-b", running(nil)))))
}

func TestACrashingPodSaysNothingOfItsSibling(t *testing.T) {
	const crashes = "container app of pod press-b: it ends again and again, the last time with exit code 1 (Error); see its log"
	w := newWatched(t)
	recovered := ready(podOf("press-a", crashed(running(nil), time.Hour)))
	waits, runs := podOf("press-b", crashed(waitingFor("CrashLoopBackOff", ""), time.Second)), ready(podOf("press-b", crashed(running(nil), time.Second)))
	w.want("True: 1 of 2 pods are available: "+crashes, w.lookAtTwo(0, 1, recovered, waits))
	for range 3 {
		waits.Status.ContainerStatuses[0].RestartCount++
		runs.Status.ContainerStatuses[0].RestartCount++
		w.want("True: 1 of 2 pods are available: "+crashes, w.lookAtTwo(time.Minute, 2, recovered, runs))
		w.want("True: 1 of 2 pods are available: "+crashes, w.lookAtTwo(time.Minute, 1, recovered, waits))
	}
}

func TestACrashingPodDoesNotCountWhenItHasJustEndedOrStarted(t *testing.T) {
	const crashes = "True: 1 of 2 pods are available: container app of pod press-b: it ends again and again, the last time with exit code 1 (Error); see its log"
	w := newWatched(t)
	w.generation = 1 // it is troubled throughout, so that nothing else makes for a look
	works := ready(podOf("press-a", running(nil)))
	waits, runs := podOf("press-b", crashed(waitingFor("CrashLoopBackOff", ""), time.Minute)), ready(podOf("press-b", crashed(running(nil), time.Minute)))
	w.want(crashes, w.lookAtTwo(0, 1, works, waits))
	w.want(crashes, w.lookAtTwo(10*time.Minute, 1, works, waits))
	for range 3 {
		waits.Status.ContainerStatuses[0].RestartCount++
		runs.Status.ContainerStatuses[0].RestartCount++
		for _, pod := range []corev1.Pod{runs, waits} {
			available := map[bool]int32{true: 2, false: 1}[isReady(&pod)]
			before := w.api.reads
			w.want(crashes, w.lookAtTwo(podsRest, available, works, pod))
			if w.api.reads != before+1 {
				t.Errorf("%d reads after %d pods became available", w.api.reads-before, available)
			}
		}
	}
	before := w.api.reads
	w.want(crashes, w.lookAtTwo(time.Second, 2, works, runs))
	w.want(crashes, w.lookAtTwo(time.Second, 1, works, waits))
	if w.api.reads != before {
		t.Errorf("%d reads within %v", w.api.reads-before, podsRest)
	}
	w.want(crashes, w.lookAtTwo(0, 2, works, runs))
	if wait := w.next.Sub(w.now); wait > podsRest {
		t.Errorf("looks again after %v", wait)
	}
}

func TestAMissingSecretIsNamed(t *testing.T) {
	w := newWatched(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "there"}})
	w.api.pods = []corev1.Pod{podOf("press-a", waitingFor("ContainerCreating", ""))}
	d := deployment(0)
	secret := func(name string, optional bool) corev1.Volume {
		return corev1.Volume{Name: "of-" + name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, Optional: &optional}}}
	}
	d.Spec.Template.Spec.Volumes = []corev1.Volume{secret("there", false), secret("may-be-missing", true), secret("missing", false)}
	w.pods.Look(t.Context(), client.ObjectKeyFromObject(d), d, false, w.now)
	failure := w.pods.Look(t.Context(), client.ObjectKeyFromObject(d), d, false, w.now.Add(startPatience)).Failure
	if failure == nil {
		t.Fatal("no failure")
	}
	w.want(v1alpha1.ReasonContainerNotCreated+" container app of pod press-a: Secret missing, which volume of-missing mounts, does not exist", failure.Reason+" "+failure.Message)
}

func TestPodsThatCannotBeReadHideNothing(t *testing.T) {
	w := newWatched(t)
	w.api.err = errors.New("forbidden")
	w.want("False/Unavailable", w.look(0, 0))
	w.want("False/Unavailable", w.look(time.Second, 0))
	if w.api.reads != 1 {
		t.Errorf("%d reads", w.api.reads)
	}
}

func TestPodsThatAreMissingAfterARolloutAreLateAtItsDeadline(t *testing.T) {
	rolledOut := func(d *appsv1.Deployment) {
		d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"}}
	}
	for name, test := range map[string]struct {
		change func(*appsv1.Deployment)
		// available are how many pods are, each for five minutes.
		available []int32
		want      string
	}{
		"for as long as the default":            {func(*appsv1.Deployment) {}, []int32{0, 0}, "False/ProgressDeadlineExceeded"},
		"not for long":                          {func(*appsv1.Deployment) {}, []int32{0}, "False/Progressing"},
		"of a Deployment with its own deadline": {func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = ptr.To[int32](300) }, []int32{0}, "False/ProgressDeadlineExceeded"},
		"with a longer one":                     {func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = ptr.To[int32](601) }, []int32{0, 0}, "False/Progressing"},
		"while more and more come":              {func(*appsv1.Deployment) {}, []int32{0, 1, 2}, "False/Progressing"},
		"while the same come and go":            {func(*appsv1.Deployment) {}, []int32{1, 0, 1, 0}, "False/ProgressDeadlineExceeded"},
		"since they were all there":             {func(*appsv1.Deployment) {}, []int32{0, 0, 3, 0}, "False/Progressing"},
		"in a rollout, which its controller times": {func(d *appsv1.Deployment) { d.Status.Conditions[0].Reason = "ReplicaSetUpdated" }, []int32{0, 0, 0},
			"False/Progressing"},
		"since a long rollout": {func(d *appsv1.Deployment) {
			if d.Status.AvailableReplicas == 2 {
				d.Status.Conditions[0].Reason = "ReplicaSetUpdated"
			}
		}, []int32{2, 2, 2, 1}, "False/Progressing"},
		"of a change that was not taken up": {func(d *appsv1.Deployment) { d.Generation++ }, []int32{0, 0, 0}, "False/Progressing"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatched(t)
			for i := range test.available {
				ready := w.lookFor(5*time.Minute, func() *appsv1.Deployment {
					d := deployment(test.available[i])
					d.Spec.Replicas, d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.UnavailableReplicas = ptr.To[int32](3), 3, 3, 3-test.available[i]
					rolledOut(d)
					test.change(d)
					return d
				})
				if i == len(test.available)-1 {
					w.want(test.want, ready)
				}
			}
		})
	}
}

// lookFor is condition Ready after some time in which the pods were looked at whenever they had to be.
func (w *watched) lookFor(after time.Duration, d func() *appsv1.Deployment) (ready string) {
	for end := w.now.Add(after); ; w.now = w.next {
		seen := w.pods.Look(w.t.Context(), client.ObjectKeyFromObject(d()), d(), false, w.now)
		available := Available(d(), seen.Failure, 3, 3)
		c, _ := PodsLack(d(), 0, 3, seen, &available)
		ready = fmt.Sprintf("%s/%s", c.Status, c.Reason)
		if w.next = seen.Recheck; w.next.IsZero() || w.next.After(end) {
			w.now = end
			return ready
		}
		if !w.next.After(w.now) {
			w.t.Fatalf("looks again at once, at %v", w.now)
		}
	}
}

// stateful are the pods of one StatefulSet, over time.
type stateful struct {
	*watched
	generation int64
}

func (s *stateful) look(after time.Duration, pods, available, updated int32, late bool) PodsSeen {
	s.now = s.now.Add(after)
	d := statefulSet(pods, available, updated)
	d.Generation, d.Status.ObservedGeneration = s.generation, s.generation
	return s.pods.Look(s.t.Context(), client.ObjectKeyFromObject(d), d, late, s.now)
}

func (s *stateful) expectLate(want bool, after time.Duration, available, updated int32) {
	s.t.Helper()
	if got := s.look(after, 3, available, updated, false).Late; got != want {
		s.t.Errorf("late: %v, want %v", got, want)
	}
}

func TestAStatefulSetIsLateWhenItMakesNoProgress(t *testing.T) {
	s := &stateful{watched: newWatched(t)}
	const nearly = defaultProgressDeadlineSeconds*time.Second - time.Second
	for updated := range int32(3) { // one pod after another, each slowly
		s.expectLate(false, nearly, 2, updated+1)
	}
	s.expectLate(false, nearly, 2, 3)
	s.expectLate(true, time.Second, 2, 3)
	s.generation++ // its owner corrects it
	s.expectLate(false, time.Second, 2, 0)
	s.expectLate(false, nearly, 2, 0)
	s.expectLate(true, time.Second, 2, 0)
	s.expectLate(false, time.Second, 3, 3)
}

func TestPodsThatWereLateAreSoAfterARestart(t *testing.T) {
	s := &stateful{watched: newWatched(t)}
	if !s.look(0, 3, 2, 3, true).Late {
		t.Error("not late, as status has it")
	}
	if s.look(time.Second, 3, 3, 3, true).Late {
		t.Error("late with all pods")
	}
}

// eventList has the Events of a StatefulSet beside what it reads of pods.
type eventList struct {
	*podList
	events []corev1.Event
}

func (l *eventList) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	events, ok := list.(*corev1.EventList)
	if !ok {
		return l.podList.List(ctx, list, options...)
	}
	events.Items = l.events
	return nil
}

func TestAStatefulSetSaysWhyItsPodsAreRefused(t *testing.T) {
	s := &stateful{watched: newWatched(t)}
	events := &eventList{podList: s.api}
	s.pods = NewPods(events)
	event := func(at int64, reason, message string) {
		events.events = append(events.events, corev1.Event{LastTimestamp: metav1.Unix(at, 0), Reason: reason, Message: message})
	}
	look := func(after time.Duration, pods int32) string {
		c := Available(statefulSet(pods, pods, pods), s.look(after, pods, pods, pods, false).Failure, 3, 3)
		return c.Reason + ": " + c.Message
	}
	const refused = `are available: pods "press-0" is forbidden: exceeded quota`
	event(1, "FailedCreate", "create Pod press-0 in StatefulSet press failed error: of before")
	event(3, "FailedCreate", "create Pod press-0 in StatefulSet press failed error: pods \"press-0\" is forbidden:\n exceeded quota")
	event(2, "SuccessfulCreate", "create Pod press-0 in StatefulSet press successful")
	event(4, "RecreatingFailedPod", "of something else")
	s.want("Unavailable: 0 of 3 pods are available", look(0, 0)) // it may be about to make them
	s.want("PodsRefused: 0 of 3 pods "+refused, look(firstPodsRecheck, 0))
	if s.look(time.Second, 0, 0, 0, false).Retry || !s.look(firstPodsRecheck, 0, 0, 0, false).Retry {
		t.Error("refused pods are not tried again when they are looked at, or more often")
	}
	s.want("Available: 3 of 3 pods are available", look(time.Second, 3))
	s.want("Unavailable: 2 of 3 pods are available", look(time.Minute, 2))
	s.want("PodsRefused: 2 of 3 pods "+refused, look(firstPodsRecheck, 2))
	event(5, "SuccessfulCreate", "create Pod press-2 in StatefulSet press successful")
	s.want("Unavailable: 2 of 3 pods are available", look(time.Minute, 2))
}
