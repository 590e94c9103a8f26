package master

import (
	"maps"
	"slices"
	"sync"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/clock"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
)

// directory holds the ClusterMaster and the Refineries that name it. Watches keep it current, everything else only reads. The
// objects in it are shared and must not be changed. It is the admit.Directory of a running master.
type directory struct {
	mu            sync.RWMutex
	master        *v1alpha1.ClusterMaster
	policy        *admit.Policy
	refineries    map[string]*v1alpha1.Refinery
	byFingerprint map[string][]string // fingerprint → names of the Refineries that list it
	membership    *admit.Membership   // nil until it is asked for
	services      *services
	absences      absences
	listeners     map[listener]bool
}

// listener is called after the directory has changed: never twice at once for the same kind of object, but perhaps for several
// kinds at once. It must not block.
type listener interface {
	// MasterChanged is called when the ClusterMaster was added, changed or deleted.
	MasterChanged()
	// RefineryChanged is called when the Refinery of that name was added, changed or deleted.
	RefineryChanged(name string)
	// MembershipChanged is called when nodes may be of another Refinery than before: those whose id bears a Refinery's name, or
	// all of them if that is "".
	MembershipChanged(bearing string)
	// UpstreamsChanged is called when an upstream may be ready, or no longer.
	UpstreamsChanged()
}

// newDirectory returns an empty one.
func newDirectory(clk clock.PassiveClock) *directory {
	d := &directory{refineries: map[string]*v1alpha1.Refinery{}, byFingerprint: map[string][]string{}, listeners: map[listener]bool{}}
	d.services = &services{changed: d.upstreamsChanged}
	d.absences.clock = clk
	return d
}

// Listen adds a listener.
func (d *directory) Listen(l listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listeners[l] = true
}

// Unlisten removes a listener.
func (d *directory) Unlisten(l listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.listeners, l)
}

// told returns those to call after a change. Called with mu held.
func (d *directory) told() []listener { return slices.Collect(maps.Keys(d.listeners)) }

// SetMaster sets the ClusterMaster as it is now; nil if it does not exist.
func (d *directory) SetMaster(m *v1alpha1.ClusterMaster) {
	d.mu.Lock()
	switch {
	case m == nil:
		d.policy = nil
	// Not by generation: when etcd is restored from a snapshot, another spec comes to have one that was seen before.
	case d.master == nil || d.master.UID != m.UID || !apiequality.Semantic.DeepEqual(d.master.Spec, m.Spec) ||
		!apiequality.Semantic.DeepEqual(d.master.Status.Security, m.Status.Security):
		d.policy = admit.NewPolicy(m)
	}
	d.master = m
	told := d.told()
	d.mu.Unlock()
	d.observe()
	for _, listener := range told {
		listener.MasterChanged()
	}
}

// upstreamsChanged is told of every Service and EndpointSlice of the namespace, of which most are no upstream.
func (d *directory) upstreamsChanged() {
	if !d.observe() {
		return
	}
	d.mu.RLock()
	told := d.told()
	d.mu.RUnlock()
	for _, listener := range told {
		listener.UpstreamsChanged()
	}
}

// SetRefinery sets a Refinery as it is now.
func (d *directory) SetRefinery(r *v1alpha1.Refinery) {
	d.replace(r.Name, r)
}

// DeleteRefinery forgets the Refinery of that name.
func (d *directory) DeleteRefinery(name string) {
	d.replace(name, nil)
}

func (d *directory) replace(name string, r *v1alpha1.Refinery) {
	d.mu.Lock()
	old := d.refineries[name]
	regrouped, bearing := !sameMembers(old, r), name
	if regrouped {
		d.membership = nil
	}
	if old != nil {
		for _, c := range old.Status.Certificates {
			d.unlist(c.Fingerprint, name)
		}
	}
	delete(d.refineries, name)
	if r != nil {
		d.refineries[name] = r
		for _, c := range r.Status.Certificates {
			d.byFingerprint[c.Fingerprint] = append(d.byFingerprint[c.Fingerprint], name)
		}
	}
	if regrouped && (selects(old) || slices.ContainsFunc(slices.Collect(maps.Values(d.refineries)), selects)) {
		bearing = ""
	}
	told := d.told()
	d.mu.Unlock()
	for _, listener := range told {
		listener.RefineryChanged(name)
		if regrouped {
			listener.MembershipChanged(bearing)
		}
	}
}

func selects(r *v1alpha1.Refinery) bool { return r != nil && r.Spec.Nodes != nil }

// sameMembers reports whether a change of a Refinery leaves the Membership as it is.
func sameMembers(before, after *v1alpha1.Refinery) bool {
	if before == nil || after == nil {
		return before == after
	}
	return before.CreationTimestamp.Equal(&after.CreationTimestamp) && apiequality.Semantic.DeepEqual(before.Spec.Nodes, after.Spec.Nodes)
}

func (d *directory) unlist(fingerprint, name string) {
	rest := slices.DeleteFunc(slices.Clone(d.byFingerprint[fingerprint]), func(n string) bool { return n == name })
	if len(rest) == 0 {
		delete(d.byFingerprint, fingerprint)
		return
	}
	d.byFingerprint[fingerprint] = rest
}

// Master is the ClusterMaster; nil when it does not exist.
func (d *directory) Master() *v1alpha1.ClusterMaster {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.master
}

// Policy is the ClusterMaster's policy, the same pointer while what it follows is the same; nil when it does not exist.
func (d *directory) Policy() *admit.Policy {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.policy
}

// Refinery returns the Refinery of that name, or nil if it does not exist or names another master.
func (d *directory) Refinery(name string) *v1alpha1.Refinery {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.refineries[name]
}

// pin is the name of the upstream that a Refinery asks for, or "".
func (d *directory) pin(refinery string) string {
	if r := d.Refinery(refinery); r != nil {
		return r.Spec.Upstream
	}
	return ""
}

// wantedByType counts the nodes that are wanted, and neither pinned nor kept out.
func (d *directory) wantedByType() map[string]int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	wanted := map[string]int{}
	for _, r := range d.refineries {
		if r.Spec.Upstream == "" && r.Spec.Access != v1alpha1.AccessSuspended {
			wanted[r.Spec.Type] += int(r.WantedNodes())
		}
	}
	return wanted
}

// Membership says which Refinery a node is of by what it announces.
func (d *directory) Membership() *admit.Membership {
	d.mu.RLock()
	m := d.membership
	d.mu.RUnlock()
	if m != nil {
		return m
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.membership == nil {
		d.membership = admit.NewMembership(slices.Collect(maps.Values(d.refineries)))
	}
	return d.membership
}

// Listing returns the names of the Refineries that list this fingerprint.
func (d *directory) Listing(fingerprint string) []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byFingerprint[fingerprint]
}

// ReportedEpoch is the newest epoch in the status of a Refinery; 0 without one. One so large that few could follow is no
// master's.
func (d *directory) ReportedEpoch() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var newest int64
	for _, r := range d.refineries {
		if r.Status.Reporter != nil && r.Status.Reporter.Epoch <= v1alpha1.MaxEpoch/2 {
			newest = max(newest, r.Status.Reporter.Epoch)
		}
	}
	return newest
}

// Names returns the names of all Refineries, sorted.
func (d *directory) Names() []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	names := make([]string, 0, len(d.refineries))
	for name := range d.refineries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
