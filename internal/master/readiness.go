package master

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

// settled is how long an upstream has to be there, after it was not, before it takes nodes again. So one that comes and goes draws none.
const settled = 10 * time.Second

// absences remembers which upstreams were gone, and since when they are back.
type absences struct {
	clock  clock.PassiveClock
	mu     sync.Mutex
	byName map[string]absence
}

type absence struct {
	address string
	reason  string // that it was seen with last: see notAlive
	gone    bool
	back    time.Time // zero if it never was gone
}

// observe notes which upstreams are gone, and which are back. It reports whether there is anything else to say of one than before.
func (d *directory) observe() (differs bool) {
	policy := d.Policy()
	if policy == nil {
		return false
	}
	a := &d.absences
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := map[string]absence{}
	for _, u := range policy.Placement.Upstreams() {
		before, known := a.byName[u.Name]
		if before.address != u.Address {
			before, known = absence{address: u.Address}, false
		}
		reason, _ := d.notAlive(u)
		differs = differs || !known || reason != before.reason
		before.reason = reason
		switch {
		case reason == v1alpha1.ReasonEndpointsUnknown:
		case reason != "":
			before.gone = true
		case before.gone:
			before.gone, before.back = false, a.clock.Now()
		}
		seen[u.Name] = before
	}
	differs = differs || len(seen) != len(a.byName)
	a.byName = seen
	return differs
}

// standing is how an upstream is doing, and when that changes by itself; zero if it does not.
func (d *directory) standing(u admit.Upstream) (s admit.Standing, until time.Time) {
	switch reason, _ := d.notAlive(u); reason {
	case "":
	case v1alpha1.ReasonEndpointsUnknown:
		return admit.Returning, time.Time{}
	default:
		return admit.Gone, time.Time{}
	}
	d.absences.mu.Lock()
	defer d.absences.mu.Unlock()
	if back := d.absences.byName[u.Name].back; !back.IsZero() && d.absences.clock.Now().Before(back.Add(settled)) {
		return admit.Returning, back.Add(settled)
	}
	return admit.Ready, time.Time{}
}

// standings are those of all upstreams, and the earliest time at which one changes by itself.
func (d *directory) standings(policy *admit.Policy) (all map[string]admit.Standing, next time.Time) {
	all = map[string]admit.Standing{}
	for _, u := range policy.Placement.Upstreams() {
		standing, until := d.standing(u)
		all[u.Name] = standing
		if !until.IsZero() && (next.IsZero() || until.Before(next)) {
			next = until
		}
	}
	return all, next
}

// notReady says why no nodes are to be placed on an upstream, as a reason and a message for its status; "" for nothing.
func (d *directory) notReady(u admit.Upstream) (reason, message string) {
	if reason, message = d.notAlive(u); reason != "" {
		return reason, message
	}
	if u.Weight == 0 {
		return v1alpha1.ReasonWeightZero, "its weight is 0: only nodes that spec.upstream pins are placed on it"
	}
	if standing, _ := d.standing(u); standing == admit.Returning {
		return v1alpha1.ReasonReturning, "it was not ready a short while ago: nodes are placed on it if no other upstream is ready"
	}
	return "", ""
}

// notAlive says why there is nothing behind an upstream, as far as is known.
func (d *directory) notAlive(u admit.Upstream) (reason, message string) {
	if u.Service == nil {
		return "", ""
	}
	reason, message, known := d.services.Missing(*u.Service)
	if !known {
		return d.reportedNotAlive(u)
	}
	return reason, message
}

// reportedNotAlive is what status said last. It is gone by while the endpoints are not known, so that a master that has just started
// places nodes as the one before it did.
func (d *directory) reportedNotAlive(u admit.Upstream) (reason, message string) {
	if m := d.Master(); m != nil {
		for i := range m.Status.Upstreams {
			former := &m.Status.Upstreams[i]
			switch {
			case former.Name != u.Name || former.Address != u.Address:
			case former.Ready || former.Reason == v1alpha1.ReasonWeightZero || former.Reason == v1alpha1.ReasonReturning:
				return "", ""
			case former.Reason != "":
				return former.Reason, former.Message
			}
		}
	}
	return v1alpha1.ReasonEndpointsUnknown, fmt.Sprintf("the endpoints of Service %s are not known yet", u.Service.Name)
}
