package outage

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Scenario is an outage, and what nodes may notice of it.
type Scenario struct {
	// Name is that of its subtest, What its line in the table.
	Name, What string
	// Small says that it belongs to the set that is run for every change.
	Small bool
	// Pods of masters that it has, those included that come later; two if there are none.
	Pods int
	// Run makes the outage, measures into s.Row, and fails the test where what it saw is not right.
	Run func(s *Stage)
}

// Scenarios are all there are.
var Scenarios = []Scenario{
	{Name: "APIServerAway", What: "API server away for 25 s", Small: true, Run: apiServerAway(21 * time.Second)},
	{Name: "APIServerAwayMinute", What: "API server away for 60 s", Run: apiServerAway(time.Minute)},
	{Name: "APIServerRestarts", What: "API server restarted five times in a minute", Run: apiServerRestarts},
	{Name: "EtcdStopped", What: "etcd stopped for 20 s", Run: etcdStopped},
	{Name: "EtcdRestored", What: "etcd restored from a snapshot", Run: etcdRestored},
	{Name: "RevokedUnseen", What: "certificate revoked while masters are cut from the API server", Run: revokedUnseen},
	{Name: "MasterDeleted", What: "active master deleted", Small: true, Run: masterDeleted},
	{Name: "Rollout", What: "masters rolled while nodes connect", Pods: 4, Run: rollout},
	{Name: "MasterKilled", What: "active master killed, and not run again", Run: masterKilled},
	{Name: "MasterRestarted", What: "active master killed, and run again", Run: masterRestarted},
	{Name: "MastersRestarted", What: "both masters killed, and run again", Run: mastersRestarted},
	{Name: "MasterFrozen", What: "active master frozen", Run: masterFrozen},
	{Name: "MasterCutOff", What: "active master cut from the API server", Run: masterCutOff},
	{Name: "MasterAlone", What: "active master cut from the API server and from the standby", Run: masterAlone},
	{Name: "MastersCutApart", What: "masters cut from each other", Run: mastersCutApart},
	{Name: "AllCutOff", What: "masters cut from each other and from the API server", Run: allCutOff},
	{Name: "NodesCutOff", What: "active master cut from its nodes for 60 s", Run: nodesCutOff},
	{Name: "APIServerAwayLong", What: "API server away for 10 min", Run: apiServerAway(10 * time.Minute)},
}

// measure begins a measurement, and returns what ends it: it fills the Row with what was noticed since. The outage ended at
// over, from when on status has time to become true; sessions from before severed count for nothing after it, unless it is
// zero.
func (s *Stage) measure() (began time.Time, end func(over, severed time.Time)) {
	s.Helper()
	before, err := s.Writes(s.Context(), s.namespace)
	s.must(err)
	began = time.Now()
	return began, func(over, severed time.Time) {
		s.Helper()
		lastUntrue := s.settle()
		s.Row.True = max(0, lastUntrue.Sub(over))
		s.Row.Without, s.Row.NotReady, s.Row.Lost = s.fleet.noticed(s.measured, began, time.Now(), severed)
		after, err := s.Writes(s.Context(), s.namespace)
		s.must(err)
		for _, mill := range s.mills {
			key := "refineries/" + mill
			s.Row.Writes = max(s.Row.Writes, after[key]-before[key])
		}
		for _, key := range []string{"clustermasters/" + masterName, "refineries/" + late, "refineries/" + doomed} {
			s.note("%d writes of %s", after[key]-before[key], key)
		}
	}
}

func (s *Stage) note(format string, args ...any) {
	s.Row.Notes = append(s.Row.Notes, fmt.Sprintf(format, args...))
}

// expect fails the test with what was seen, unless it is right.
func (s *Stage) expect(right bool, format string, args ...any) {
	s.Helper()
	if !right {
		s.Row.Missed = append(s.Row.Missed, fmt.Sprintf(format, args...))
		s.Errorf("%s: "+format, append([]any{s.Row.Scenario}, args...)...)
	}
}

// expectReady expects that no node was without readiness.
func (s *Stage) expectReady() {
	s.Helper()
	if s.Row.NotReady.Max == 0 {
		return
	}
	answers := map[string]int{}
	for _, n := range s.measured {
		n.mu.Lock()
		if n.unready != "" {
			answers[strings.ReplaceAll(n.unready, n.id, "its id")]++
		}
		n.mu.Unlock()
	}
	most := slices.SortedFunc(maps.Keys(answers), func(a, b string) int { return answers[b] - answers[a] })
	var why []string
	for _, answer := range most[:min(3, len(most))] {
		why = append(why, fmt.Sprintf("%d times %q", answers[answer], answer))
	}
	s.expect(false, "nodes were not ready, for up to %s; most said then: %s", short(s.Row.NotReady.Max), strings.Join(why, ", "))
}

// nobodyNotices expects that no node lost its session or its readiness, and no master its readiness since a time.
func (s *Stage) nobodyNotices(since time.Time) {
	s.Helper()
	s.expect(s.Row.Lost == 0, "%d sessions were lost; the longest that a node was without one is %s", s.Row.Lost, short(s.Row.Without.Max))
	s.expectReady()
	s.expect(s.Row.Writes <= 1, "%d writes of one Refinery that nothing happened to", s.Row.Writes)
	for _, m := range s.masters {
		unready := m.notReady(since, time.Now())
		s.expect(unready == 0, "%s was not ready for %s", m.Pod, short(unready))
	}
}

// wait is for an outage to last.
func wait(d time.Duration) { <-time.After(d) }
