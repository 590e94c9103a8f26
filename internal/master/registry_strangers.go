package master

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

const (
	// strangersInterval is how often strangers change status: they can make up any number of ids, and try as often as they like.
	strangersInterval = 30 * time.Second
	// strangerShown is how long a stranger is shown after it tried last.
	strangerShown = time.Hour
)

// strangers are the nodes that proved that they may take part and are of no Refinery. The registry's lock guards them.
type strangers struct {
	byID  map[string]*v1alpha1.StrangerStatus
	shown []v1alpha1.StrangerStatus // as status has them
	at    time.Time                 // when that was made
	fresh bool                      // byID has changed since
}

// add counts one that was denied, and returns after how long status is to show it.
func (s *strangers) add(c *connection, reason string, now time.Time) time.Duration {
	if s.byID == nil {
		s.byID = map[string]*v1alpha1.StrangerStatus{}
	}
	known := s.byID[c.Announced.ID]
	if known == nil {
		known = &v1alpha1.StrangerStatus{ID: c.Announced.ID}
		s.byID[known.ID] = known
	}
	known.Address, known.Type = admit.Truncate(c.Address, 64), admit.Truncate(c.Announced.Type, 64)
	known.Certificate, known.Reason, known.LastSeen = c.Fingerprint, reason, metav1.NewTime(now)
	if known.Count < 1<<31-1 {
		known.Count++
	}
	if len(s.byID) > v1alpha1.MaxStrangers {
		s.dropOldest(known)
	}
	s.fresh = true
	return max(0, s.at.Add(strangersInterval).Sub(now))
}

// dropOldest drops the one that tried longest ago, but not the newest.
func (s *strangers) dropOldest(newest *v1alpha1.StrangerStatus) {
	var oldest *v1alpha1.StrangerStatus
	for _, known := range s.byID {
		if known != newest && (oldest == nil || known.LastSeen.Time.Before(oldest.LastSeen.Time)) {
			oldest = known
		}
	}
	delete(s.byID, oldest.ID)
}

// Strangers are those that status shows, sorted by id, and after how long that changes by itself; 0 for not at all.
func (r *registry) Strangers() (shown []v1alpha1.StrangerStatus, after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, now := &r.strangers, r.clock.Now()
	for id, known := range s.byID {
		if !now.Before(known.LastSeen.Add(strangerShown)) {
			delete(s.byID, id)
			s.fresh = true
		}
	}
	if s.fresh && !now.Before(s.at.Add(strangersInterval)) {
		s.shown, s.at, s.fresh = nil, now, false
		for _, known := range s.byID {
			copied := *known
			copied.LastSeen = copied.LastSeen.Rfc3339Copy()
			s.shown = append(s.shown, copied)
		}
		slices.SortFunc(s.shown, func(a, b v1alpha1.StrangerStatus) int { return cmp.Compare(a.ID, b.ID) })
	}
	if s.fresh {
		return s.shown, s.at.Add(strangersInterval).Sub(now)
	}
	for _, known := range s.byID {
		if left := known.LastSeen.Add(strangerShown).Sub(now); after == 0 || left < after {
			after = left
		}
	}
	return s.shown, after
}
