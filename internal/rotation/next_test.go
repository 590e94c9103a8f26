package rotation

import (
	"fmt"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/pki"
)

// TestNextTakesAStepOnlyWhenNobodyIsCutOff goes through every phase, whatever progress was made, with and without what lets
// a phase end all the same.
func TestNextTakesAStepOnlyWhenNobodyIsCutOff(t *testing.T) {
	settled, settling := statusTime.Add(-maxSettling), statusTime.Add(time.Second-maxSettling)
	progresses := map[string]struct {
		began time.Time
		Progress
		done bool // nobody would be cut off
	}{
		"nobody to wait for":          {settled, Progress{}, true},
		"everybody":                   {settled, Progress{completed: 2, total: 2}, true},
		"everybody, and pods settled": {settled, Progress{completed: 2, total: 2, unobservable: true}, true},
		"everybody seen, not settled": {settling, Progress{completed: 2, total: 2}, false},
		"pods that are not settled":   {settling, Progress{unobservable: true}, false},
		"a node is behind":            {settled, Progress{completed: 1, total: 2, behind: []string{"press/b"}}, false},
		"a node of unknown id":        {settled, Progress{completed: 1, total: 2, unlisted: 1}, false},
		"the master is":               {settled, Progress{causes: []string{"the active master"}}, false},
		"everybody but the master":    {settled, Progress{completed: 2, total: 2, causes: []string{"the active master"}}, false},
	}
	ends := map[pki.RotationPhase]Step{pki.RotationPreparing: Activate, pki.RotationActivating: Retire}
	for name, progress := range progresses {
		for phase, step := range ends {
			for _, forced := range []bool{false, true} {
				for _, expired := range []bool{false, true} {
					for _, requested := range []bool{false, true} { // asked again meanwhile: that is for the next one
						s := State{Phase: phase, Began: progress.began, LeafDuration: v1alpha1.DefaultCertificateDuration,
							Forced: forced, Expired: expired, Requested: requested, Due: statusTime}
						want := Stay
						if progress.done || forced || expired {
							want = step
						}
						if got := Next(s, progress.Progress, statusTime); got != want {
							t.Errorf("%s, %s, forced %t, expired %t, requested %t: got %q, want %q", phase, name, forced, expired, requested, got, want)
						}
					}
				}
			}
		}
		for begin, test := range map[string]struct {
			State
			want Step
		}{
			"nothing asked":      {State{}, Stay},
			"not due":            {State{Due: statusTime.Add(time.Second)}, Stay},
			"due":                {State{Due: statusTime}, Prepare},
			"asked":              {State{Requested: true}, Prepare},
			"asked, and not due": {State{Requested: true, Due: statusTime.Add(time.Second)}, Prepare},
		} {
			for _, forced := range []bool{false, true} { // force is for what has begun
				s := test.State
				s.Forced, s.Began = forced, progress.began
				if got := Next(s, progress.Progress, statusTime); got != test.want {
					t.Errorf("idle, %s, %s, forced %t: got %q, want %q", begin, name, forced, got, test.want)
				}
			}
		}
	}
}

func TestRotationIsLookedAtAgainWhenItCanGoOn(t *testing.T) {
	began := func(ago time.Duration) State {
		return State{Phase: pki.RotationPreparing, Began: statusTime.Add(-ago), LeafDuration: v1alpha1.DefaultCertificateDuration}
	}
	for name, test := range map[string]struct {
		State
		want time.Duration
	}{
		"it is due one day": {State{Due: statusTime.Add(time.Hour)}, time.Hour},
		"just begun":        {began(0), recheck},
		"nearly settled":    {began(maxSettling - time.Second), time.Second},
		"settled":           {began(maxSettling), recheck},
	} {
		r := Rotation{State: test.State}
		if got := r.RecheckAt(statusTime).Sub(statusTime); got != test.want {
			t.Errorf("%s: after %v, want %v", name, got, test.want)
		}
	}
	if got := (&Rotation{}).RecheckAt(statusTime); !got.IsZero() {
		t.Error(fmt.Sprint("an authority that is never due is looked at again at ", got))
	}
}
