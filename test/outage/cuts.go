package outage

import "time"

const (
	// told is within what time of the start of a term the former master sends its nodes away, if it can be told.
	told = 3 * time.Second
	// doubt is after how long without the API server a master sends its nodes away that does not know what the other one does:
	// its Lease, and the minute in which it admits nobody.
	doubt = 70 * time.Second
)

// masterCutOff cuts the active master, and not the standby, from the API server. The masters hear each other.
func masterCutOff(s *Stage) {
	former := s.service.active()
	next := s.other(former)
	s.expect(s.admits(former), "the active master lets nobody in to begin with")
	began, end := s.measure()
	former.API.cut()
	until(s, next.Pod+" listening", next.listens)
	listens := time.Since(began)
	until(s, "all nodes at "+next.Pod, func() bool { return s.moved(began) })
	s.expectNotAdmitting(former, 2*time.Second, "it lost its Lease, and another one is active")
	mended := time.Now()
	former.API.mend()
	end(mended, time.Time{})

	loss := s.fleet.firstLoss(began)
	s.note("the standby listened after %s, the first node was sent away after %s", short(listens), short(loss))
	s.expect(listens <= takeover+s.room(), "the standby listened after %s; right are %s", short(listens), short(takeover))
	s.expect(loss >= listens, "nodes were sent away %s before the standby listened", short(listens-loss))
	s.expect(loss <= listens+told+s.room(), "the former master sent its nodes away %s after the standby was active, though it could be told", short(loss-listens))
	s.expectReady()
	s.expect(s.service.active() == next, "the Service points to %s", former.Pod)
}

// masterAlone cuts the active master from the API server and from the standby, which takes over and cannot tell it. Its nodes
// do not notice anything, until it gives up.
func masterAlone(s *Stage) {
	former := s.service.active()
	next := s.other(former)
	s.expect(s.admits(former), "the active master lets nobody in to begin with")
	began, end := s.measure()
	former.API.cut()
	s.between.cut()
	until(s, next.Pod+" listening", next.listens)
	listens := time.Since(began)
	s.expectNotAdmitting(former, 10*time.Second, "its Lease has ended, and another one is active")
	until(s, "all nodes at "+next.Pod, func() bool { return s.moved(began) })
	moved := time.Since(began)
	mended := time.Now()
	former.API.mend()
	s.between.mend()
	end(mended, time.Time{})

	s.note("the standby listened after %s, the first node was sent away after %s, all were there after %s", short(listens), short(s.fleet.firstLoss(began)), short(moved))
	s.expect(listens <= takeover+s.room(), "the standby listened after %s; right are %s", short(listens), short(takeover))
	s.expect(moved <= doubt+allMoved+s.room(), "all nodes were at the standby after %s; right are %s and a drain", short(moved), short(doubt))
	s.expectReady()
	s.expect(s.service.active() == next, "the Service points to %s", former.Pod)
}

// mastersCutApart cuts the masters from each other only: nothing depends on that while both reach the API server.
func mastersCutApart(s *Stage) {
	began, end := s.measure()
	s.between.cut()
	wait(leaseIsOver)
	s.between.mend()
	end(time.Now(), time.Time{})
	s.nobodyNotices(began)
}

// allCutOff cuts both masters from the API server and from each other: neither can know what the other one does.
func allCutOff(s *Stage) {
	active := s.service.active()
	s.expect(s.admits(active), "the active master lets nobody in to begin with")
	began, end := s.measure()
	s.between.cut()
	for _, m := range s.masters {
		m.API.cut()
	}
	wait(leaseIsOver)
	for _, m := range s.masters {
		s.expectNotAdmitting(m, 2*time.Second, "its Lease has ended, and it does not know what the other one does")
	}
	until(s, "all nodes sent away", func() bool { total, _ := s.fleet.inSession(); return total == 0 })
	away := time.Since(began)
	mended := time.Now()
	for _, m := range s.masters {
		m.API.mend()
	}
	s.between.mend()
	end(mended, time.Time{})

	s.note("the first node was sent away after %s, the last after %s", short(s.fleet.firstLoss(began)), short(away))
	s.expect(away <= doubt+allMoved+s.room(), "%s still had nodes %s after it lost the API server and the other master; right are %s and a drain",
		active.Pod, short(away), short(doubt))
}

// nodesCutOff cuts the active master from its nodes only. It stays active: it renews its Lease, and no other master is asked.
func nodesCutOff(s *Stage) {
	active := s.service.active()
	began, end := s.measure()
	active.Nodes.cut()
	wait(nodesCutFor)
	mended := time.Now()
	active.Nodes.mend()
	end(mended, began)

	back := s.Row.Without.Max - mended.Sub(began)
	s.note("all nodes were back %s after the link was", short(back))
	s.expect(back <= allBack+s.handshakes()+s.room(), "all nodes were back %s after the link was; right are %s and the %s of their handshakes",
		short(back), short(allBack), short(s.handshakes()))
	s.expectReady()
	s.expect(s.service.active() == active, "another master took over, from one that had its Lease")
}

// nodesCutFor is longer than the alive timeout, so that every session ends, and shorter than that and the grace of readiness.
const nodesCutFor = 60 * time.Second
