package master

import (
	"fmt"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

// turnAway has a stranger denied.
func (l *ledger) turnAway(id string) {
	c := connectionOf(id, "")
	l.Establishing(c)
	d := &admit.Denial{State: v1alpha1.NodeDenied, Reason: v1alpha1.ReasonIDMismatch, Stranger: true}
	l.Refused(c, d)
	l.Ended(c, d)
}

func (l *ledger) wantStrangers(after time.Duration, want ...string) {
	l.Helper()
	shown, next := l.Strangers()
	var got []string
	for _, s := range shown {
		got = append(got, fmt.Sprintf("%s %d", s.ID, s.Count))
	}
	if diff := gocmp.Diff(want, got); diff != "" || next != after {
		l.Errorf("changes after %v, want %v; strangers (-want +got):\n%s", next, after, diff)
	}
}

func TestAStrangerIsShownAtOnceAndCountedNowAndThen(t *testing.T) {
	l := newLedger(t, 1)
	l.wantStrangers(0)
	l.turnAway("uuid")
	l.wantStrangers(strangerShown, "uuid 1")
	l.clock.Step(time.Second)
	l.turnAway("uuid")
	l.turnAway("other")
	l.wantStrangers(strangersInterval-time.Second, "uuid 1")
	l.clock.Step(strangersInterval - time.Second)
	l.wantStrangers(strangerShown-strangersInterval+time.Second, "other 1", "uuid 2")
	shown, _ := l.Strangers()
	want := v1alpha1.StrangerStatus{ID: "uuid", Address: "10.0.0.1", Type: "refinery", Certificate: "f00d", Reason: v1alpha1.ReasonIDMismatch, Count: 2,
		LastSeen: metav1.NewTime(l.clock.Now().Add(time.Second - strangersInterval)).Rfc3339Copy()}
	if diff := gocmp.Diff(want, shown[1]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	l.clock.Step(strangerShown)
	l.wantStrangers(0)
	l.want() // none of it in the status of a Refinery
}

func TestStrangersWithEverNewIDsAreBounded(t *testing.T) {
	l := newLedger(t, 1)
	for i := range 10000 {
		l.clock.Step(time.Millisecond)
		l.turnAway(fmt.Sprintf("n%05d", i))
	}
	shown, _ := l.Strangers()
	if len(shown) != v1alpha1.MaxStrangers || len(l.strangers.byID) != v1alpha1.MaxStrangers || shown[0].ID != "n09984" {
		t.Errorf("%d shown, from %s, %d remembered", len(shown), shown[0].ID, len(l.strangers.byID))
	}
}
