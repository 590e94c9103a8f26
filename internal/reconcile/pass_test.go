package reconcile

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// statusTime is when everything happens.
var statusTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestServerThatStaysAwayIsShownAndForgottenWhenItAnswers(t *testing.T) {
	r := NewPasses(nil, nil, nil, 0)
	press, mill := client.ObjectKey{Name: "press"}, client.ObjectKey{Name: "mill"}
	busy := apierrors.NewTooManyRequests("busy", 1)
	ends := func(key client.ObjectKey, err error) Consequence { return r.Outcome(key, err, statusTime).Consequence }
	for n := 1; n < shownFailures; n++ {
		if got := ends(press, busy); got != Away {
			t.Fatalf("failure %d: got %v, want silence", n, got)
		}
	}
	want := Outcome{Consequence: Retry, Reason: v1alpha1.ReasonError, Message: busy.Error()}
	if diff := cmp.Diff(want, r.Outcome(press, busy, statusTime)); diff != "" {
		t.Errorf("failure %d (-want +got):\n%s", shownFailures, diff)
	}
	got := []Consequence{ends(mill, busy), ends(press, nil), ends(press, busy)}
	if diff := cmp.Diff([]Consequence{Away, CarriedOut, Away}, got); diff != "" {
		t.Errorf("another object, an answer, the next failure (-want +got):\n%s", diff)
	}
}

func TestWhatTheServerRefusesIsTriedSoonAndThenLessOften(t *testing.T) {
	r := NewPasses(nil, nil, nil, 0)
	press := client.ObjectKey{Name: "press"}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "roles"}, "alpha", errors.New("no right"))
	var got []time.Duration
	now := statusTime
	for range 8 {
		recheck := r.Outcome(press, forbidden, now).Recheck
		if again := r.Outcome(press, forbidden, now).Recheck; again != recheck { // an event brought another pass
			t.Errorf("%s, then %s, at the same time", recheck, again)
		}
		got = append(got, recheck)
		now = now.Add(recheck)
	}
	r.Outcome(press, nil, now)
	got = append(got, r.Outcome(press, forbidden, now).Recheck)
	want := []time.Duration{5 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute,
		time.Minute, 5 * time.Second}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatusThatCannotBeWrittenIsReturnedWithWhatTheStepsSaid(t *testing.T) {
	refineries := schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "refineries"}
	forbidden := apierrors.NewForbidden(refineries, "press", errors.New("no right"))
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Refinery"}, "press", nil)
	conflict := apierrors.NewConflict(refineries, "press", errors.New("changed"))
	busy := apierrors.NewTooManyRequests("busy", 1)
	failed := errors.New("a step failed")
	waiting := &WaitError{Reason: v1alpha1.ReasonProgressing, Message: "waiting"}
	again := reconcile.Result{RequeueAfter: time.Second}
	tests := map[string]struct {
		status, step error
		want         reconcile.Result
		returned     []error
	}{
		"refused":                    {forbidden, nil, reconcile.Result{}, []error{forbidden}},
		"invalid after a wait":       {invalid, waiting, reconcile.Result{}, []error{invalid, waiting}},
		"refused after a failure":    {forbidden, failed, reconcile.Result{}, []error{forbidden, failed}},
		"busy":                       {busy, nil, reconcile.Result{}, []error{busy}},
		"overtaken":                  {conflict, nil, again, nil},
		"overtaken after a wait":     {conflict, waiting, again, nil},
		"overtaken after a failure":  {conflict, failed, reconcile.Result{}, []error{failed}},
		"overtaken, server was busy": {conflict, busy, reconcile.Result{}, []error{busy}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := Ending{Outcome: OutcomeOf(test.step, 0), Err: test.step, Now: statusTime}
			got, err := statusFailed(context.Background(), e, test.status)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (err == nil) != (test.returned == nil) {
				t.Errorf("returned %v", err)
			}
			for _, want := range test.returned {
				if !errors.Is(err, want) {
					t.Errorf("returned %v, which lacks %v", err, want)
				}
			}
		})
	}
}

func TestBackoffGrowsToAMinuteAndSpreads(t *testing.T) {
	b := NewBackoff()
	request := reconcile.Request{}
	for n, base := range []time.Duration{firstBackoff, 2 * firstBackoff, 4 * firstBackoff} {
		if got := b.When(request); got < base || got > base*3/2 {
			t.Errorf("try %d after %v, want %v and up to half more", n+1, got, base)
		}
	}
	for range 20 {
		b.When(request)
	}
	if got := b.When(request); got < longestBackoff || got > longestBackoff*3/2 {
		t.Errorf("at last after %v, want %v and up to half more", got, longestBackoff)
	}
}
