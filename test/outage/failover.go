package outage

import (
	"syscall"
	"time"
)

// masterDeleted ends the active master as the deletion of its pod does.
func masterDeleted(s *Stage) {
	former := s.service.active()
	next := s.other(former)
	began, end := s.measure()
	former.now().Signal(syscall.SIGTERM)
	until(s, next.Pod+" listening", next.listens)
	listens := time.Since(began)
	<-former.now().Ended()
	gone := time.Since(began)
	end(began, time.Time{})

	loss := s.fleet.firstLoss(began)
	s.note("the next one listened after %s, the first node was sent away after %s, the process ended after %s", short(listens), short(loss), short(gone))
	s.expect(loss == never || listens <= loss, "the first node was sent away after %s, and the next master listened only after %s", short(loss), short(listens))
	s.expectNoGap()
	s.expect(s.Row.Writes <= 1, "%d writes of one Refinery whose nodes all came back", s.Row.Writes)
}

// gap is for how long a node may be without a session when its master is replaced in good order.
const gap = time.Second

// expectNoGap expects that nodes hardly noticed that their master was replaced.
func (s *Stage) expectNoGap() {
	s.Helper()
	s.expectReady()
	room := s.room()
	s.expect(s.Row.Without.P99 <= gap/10+room, "a node was without a session for %s (p99); right are %s, and %s on this machine, ten times what a node takes to connect",
		short(s.Row.Without.P99), short(gap/10), short(room))
	s.expect(s.Row.Without.Max <= gap+room, "a node was without a session for %s; right is %s, and %s on this machine, ten times what a node takes to connect",
		short(s.Row.Without.Max), short(gap), short(room))
}

// room is what a machine that is slow may take longer: many times what a node takes to connect.
func (s *Stage) room() time.Duration { return 10 * s.handshake }

const (
	// takeover is within what time of the loss of the active master the next one listens.
	takeover = 13 * time.Second
	// allBack is within what time of that all nodes are back, if they notice the loss at once, but for the time that their
	// handshakes take.
	allBack = 3 * time.Second
	// allMoved is the same from the loss on, if they do not.
	allMoved = 20 * time.Second
)

// handshakes is how long those of all nodes take when they all connect.
func (s *Stage) handshakes() time.Duration {
	return time.Duration(float64(len(s.measured)) / s.rate * float64(time.Second))
}

// masterKilled ends the active master without a word. Its connections are reset.
func masterKilled(s *Stage) {
	next := s.other(s.service.active())
	began, end := s.measure()
	s.service.active().now().Signal(syscall.SIGKILL)
	until(s, next.Pod+" listening", next.listens)
	listens := time.Since(began)
	end(began, began)

	back := s.Row.Without.Max - listens
	s.note("the next one listened after %s, all nodes were back %s later", short(listens), short(back))
	s.expect(listens <= takeover+s.room(), "the next master listened after %s; right are %s", short(listens), short(takeover))
	s.expect(back <= allBack+s.handshakes()+s.room(), "all nodes were back %s after that; right are %s and the %s of their handshakes",
		short(back), short(allBack), short(s.handshakes()))
	s.expectReady()
	s.expect(s.Row.Writes == 0, "%d writes of one Refinery whose nodes all came back", s.Row.Writes)
}

// masterFrozen stops the active master for long enough that another takes over, as a machine that hangs does. When it goes on,
// it hears neither of the API server nor of the other master.
func masterFrozen(s *Stage) {
	former := s.service.active()
	next := s.other(former)
	s.expect(s.admits(former), "the active master lets nobody in to begin with")
	began, end := s.measure()
	former.now().Signal(syscall.SIGSTOP)
	until(s, next.Pod+" listening", next.listens)
	listens := time.Since(began)
	until(s, "all nodes at "+next.Pod, func() bool { return s.moved(began) })
	moved := time.Since(began)

	former.API.cut()
	s.between.cut()
	former.now().Signal(syscall.SIGCONT)
	s.expectNotAdmitting(former, 3*time.Second, "it was frozen, and has not read its Lease since")
	former.API.mend()
	s.between.mend()
	end(began, began)

	s.note("the next one listened after %s, all nodes were there after %s", short(listens), short(moved))
	s.expect(listens <= takeover+s.room(), "the next master listened after %s; right are %s", short(listens), short(takeover))
	s.expect(moved <= allMoved+s.handshakes()+s.room(), "all nodes were there after %s; right are %s and the %s of their handshakes",
		short(moved), short(allMoved), short(s.handshakes()))
	s.expectReady()
	s.expect(s.service.active() == next, "the Service points to %s", former.Pod)
}

// moved reports whether every node has got a session since a time.
func (s *Stage) moved(since time.Time) bool {
	for _, n := range s.fleet.all() {
		if n.inSessionAfter(since) == never {
			return false
		}
	}
	return true
}

// expectNotAdmitting expects of a master that it lets nobody in for a while.
func (s *Stage) expectNotAdmitting(m *masterProcess, during time.Duration, why string) {
	s.Helper()
	for began := time.Now(); time.Since(began) < during; wait(100 * time.Millisecond) {
		if s.admits(m) {
			s.expect(false, "%s let a node in after %s: %s", m.Pod, short(time.Since(began)), why)
			return
		}
	}
}
