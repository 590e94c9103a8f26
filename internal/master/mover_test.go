package master

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
	"github.com/refinery-operator/refinery-operator/internal/admit"
	"github.com/refinery-operator/refinery-operator/internal/admit/admittest"
)

// yard is a master in simulated time, whose nodes are on Services of which a test says whether they have endpoints.
type yard struct {
	*ledger
	directory *directory
	sessions  *sessions
	nodes     map[string]*connection
	told      map[string]int // how often nodes were told an upstream in a live session
	mute      bool           // nodes acknowledge nothing
}

func newYard(t *testing.T, upstreams ...v1alpha1.Upstream) *yard {
	t.Helper()
	y := &yard{ledger: newLedger(t, 1000), nodes: map[string]*connection{}, told: map[string]int{}}
	y.directory = newDirectory(y.clock)
	y.setUpstreams(upstreams...)
	y.sessions = newSessions(y.directory, y.registry, nil, permitted(y.clock), newMetrics(), y.clock, logr.Discard())
	t.Cleanup(y.sessions.reviews.ShutDown)
	must(t, servicesOf(y.directory.services).Replace([]any{named("east"), named("west"), named("north")}, ""))
	must(t, slicesOf(y.directory.services).Replace(nil, ""))
	return y
}

// named is a Service of that name.
func named(name string) *corev1.Service {
	return ingest(func(s *corev1.Service) { s.Name = name })
}

func (y *yard) setUpstreams(upstreams ...v1alpha1.Upstream) {
	y.directory.SetMaster(admittest.ClusterMaster(func(m *v1alpha1.ClusterMaster) { m.Spec.Upstreams = upstreams }))
}

// has says whether a Service has a ready endpoint.
func (y *yard) has(service string, ready bool) {
	y.Helper()
	must(y.T, slicesOf(y.directory.services).Update(behind(service, service, ptr.To(ready))))
}

// yardSession is a node's session, which acknowledges at once.
type yardSession struct {
	yard *yard
	id   string
}

func (s *yardSession) Close(cause error) { s.yard.Errorf("%s was cut off: %v", s.id, cause) }

func (s *yardSession) SetUpstream(address string) error {
	s.yard.told[s.id]++
	if !s.yard.mute {
		s.yard.Acknowledged(s.yard.nodes[s.id], address)
	}
	return nil
}

// comes authenticates a node.
func (y *yard) comes(id string) {
	y.Helper()
	c := connectionOf(id, "press")
	c.session, y.nodes[id] = &yardSession{y, id}, c
	grant := grantFor("press", 10000)
	grant.ID, grant.Type, grant.Policy = id, "refinery", y.directory.Policy()
	u, err := y.sessions.place(c.Announced, grant)
	must(y.T, err)
	if denial := y.Grant(c, grant, u); denial != nil {
		y.Fatal(denial)
	}
	y.Authenticated(c)
}

// counts are the nodes of each upstream as the master has told them.
func (y *yard) counts() map[string]int {
	counts := map[string]int{}
	for _, n := range y.Placed() {
		counts[n.Upstream]++
	}
	return counts
}

// arranges looks at all nodes, and reports how many nodes were told something.
func (y *yard) arranges() (moved int) {
	for _, n := range y.told {
		moved -= n
	}
	y.sessions.arrange()
	for _, n := range y.told {
		moved += n
	}
	return moved
}

func (y *yard) expect(what string, want map[string]int) {
	y.Helper()
	if diff := cmp.Diff(want, y.counts()); diff != "" {
		y.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// filled is a yard with 40 nodes on two ready upstreams, and one that has no endpoint.
func filled(t *testing.T) *yard {
	t.Helper()
	y := newYard(t, serviceUpstream("east", 1), serviceUpstream("west", 1), serviceUpstream("north", 1))
	y.has("east", true)
	y.has("west", true)
	y.clock.Step(time.Minute)
	for i := range 40 {
		y.comes(fmt.Sprintf("press/%d", i))
	}
	y.expect("at the start", map[string]int{"east": 17, "west": 23})
	return y
}

func TestNodesOnAnUpstreamThatIsGoneMoveAtOnce(t *testing.T) {
	y := filled(t)
	y.has("west", false)
	if moved := y.arranges(); moved != 23 {
		t.Errorf("%d nodes moved", moved)
	}
	y.expect("without west", map[string]int{"east": 40})
	y.has("east", false)
	if moved := y.arranges(); moved != 0 {
		t.Errorf("%d nodes moved where nothing is ready", moved)
	}
	y.comes("press/new")
	if here := y.nodes["press/new"].offered.Name; here == "east" {
		t.Errorf("a node that comes is placed on %s, which is full", here)
	}
}

func TestAnUpstreamThatReturnsTakesNodesWhenItHasSettledAndAFewAtATime(t *testing.T) {
	y := filled(t)
	y.has("west", false)
	y.arranges()
	for range 3 { // it flaps
		y.has("west", true)
		y.clock.Step(settled - time.Second)
		y.comes(fmt.Sprintf("press/while-%v", y.clock.Now().Unix()))
		if moved := y.arranges(); moved != 0 {
			t.Errorf("%d nodes moved to an upstream that has just returned", moved)
		}
		if reason, _ := y.directory.notReady(*y.directory.Policy().Placement.Named("west")); reason != v1alpha1.ReasonReturning {
			t.Errorf("status says %q", reason)
		}
		y.has("west", false)
		y.arranges()
	}
	y.expect("while it flaps", map[string]int{"east": 43})
	y.has("west", true)
	y.clock.Step(settled)
	for batch := range 4 {
		if moved := y.arranges(); moved != 4 {
			t.Errorf("batch %d: %d of 43 nodes moved, want a tenth", batch, moved)
		}
		if moved := y.arranges(); moved != 0 {
			t.Errorf("batch %d: %d more moved at the same time", batch, moved)
		}
		y.clock.Step(moveInterval)
	}
	y.arranges()
	y.expect("afterwards", map[string]int{"east": 26, "west": 17})
	if y.arranges() != 0 {
		t.Error("nodes move still")
	}
}

func TestAnUpstreamOfWeightZeroIsEmptiedAFewNodesAtATime(t *testing.T) {
	y := filled(t)
	y.directory.SetRefinery(admittest.Refinery("pinned", func(r *v1alpha1.Refinery) { r.Spec.Upstream = "west" }))
	y.SetWanted("pinned", 1)
	y.setUpstreams(serviceUpstream("east", 1), serviceUpstream("west", 0), serviceUpstream("north", 1))
	y.mute = true
	if moved := y.arranges(); moved != 4 {
		t.Errorf("%d of 40 nodes moved, want a tenth", moved)
	}
	y.clock.Step(moveInterval)
	if moved := y.arranges(); moved != 0 {
		t.Errorf("%d more moved while the first have not acknowledged it", moved)
	}
	y.mute = false
	for _, n := range y.Placed() {
		y.Acknowledged(n.connection, n.address)
	}
	for range 5 {
		y.arranges()
		y.clock.Step(moveInterval)
	}
	y.expect("afterwards", map[string]int{"east": 40})
	if u, err := y.sessions.place(admit.Announced{ID: "pinned/a", Type: "refinery"}, &admit.Grant{Refinery: "pinned"}); u.Name != "west" {
		t.Errorf("a pinned node is placed on %q: %v", u.Name, err)
	}
}

func TestANodeThatConnectsAgainStaysWhereItWas(t *testing.T) {
	y := filled(t)
	before := map[string]string{}
	for id, c := range y.nodes {
		before[id] = c.offered.Name
	}
	for id := range before {
		y.comes(id) // before the former session has ended
	}
	for id, c := range y.nodes {
		if c.offered.Name != before[id] {
			t.Errorf("%s went from %s to %s", id, before[id], c.offered.Name)
		}
	}
	if moved := y.arranges(); moved != 0 {
		t.Errorf("%d nodes moved", moved)
	}
}

func TestANodeWhoseSessionEndedComesBackToWhereItWasIfThereIsRoom(t *testing.T) {
	y := filled(t)
	y.directory.SetRefinery(admittest.Refinery("press", func(r *v1alpha1.Refinery) { r.Spec.Replicas, r.Spec.Type = ptr.To[int32](40), "refinery" }))
	y.has("west", false)
	y.arranges()
	y.has("west", true)
	y.clock.Step(settled)
	y.arranges() // the first go back
	for _, c := range y.nodes {
		y.sessions.ended(c, errReplaced)
	}
	for id := range y.nodes {
		y.comes(id)
	}
	y.expect("most were on east, which has room for 25", map[string]int{"east": 25, "west": 15})
}

func TestNodesThatAreReplacedLeaveUpstreamsEven(t *testing.T) {
	y := newYard(t, serviceUpstream("east", 1), serviceUpstream("west", 1))
	y.has("east", true)
	y.has("west", true)
	y.clock.Step(time.Minute)
	y.comes("press/0")
	y.comes("press/1")
	y.expect("two nodes", map[string]int{"east": 1, "west": 1})
	for i := range 10 { // as a Deployment does that replaces its pods
		old := y.nodes[fmt.Sprintf("press/%d", i)]
		y.sessions.ended(old, errReplaced)
		y.comes(fmt.Sprintf("press/%d", i+2))
		y.expect(fmt.Sprintf("after %d", i), map[string]int{"east": 1, "west": 1})
	}
	if len(y.told) > 0 {
		t.Errorf("nodes were moved: %v", y.told)
	}
}

func TestAnotherAddressIsToldToAllAtOnce(t *testing.T) {
	y := filled(t)
	elsewhere := serviceUpstream("east", 1)
	elsewhere.Service.Port = 81
	must(t, slicesOf(y.directory.services).Update(func() any {
		s := behind("east", "east", ptr.To(true))
		s.Ports[0].Name = ptr.To("control")
		return s
	}()))
	y.setUpstreams(elsewhere, serviceUpstream("west", 1))
	if moved := y.arranges(); moved != 17 {
		t.Errorf("%d of 17 nodes were told", moved)
	}
	for _, n := range y.Placed() {
		if n.Upstream == "east" && n.address != "east.plant.svc:81" {
			t.Errorf("%s is told %s", n.ID, n.address)
		}
	}
}
