package outage

import (
	"slices"
	"sync"
	"syscall"
	"time"
)

// masterRestarted kills the active master, and runs its container again at once, as the kubelet does.
func masterRestarted(s *Stage) { s.restarted(s.service.active()) }

// mastersRestarted does that to both at once.
func mastersRestarted(s *Stage) { s.restarted(s.masters...) }

func (s *Stage) restarted(killed ...*masterProcess) {
	s.Helper()
	began, end := s.measure()
	var ended sync.WaitGroup
	for _, m := range killed {
		ended.Go(func() { m.end(syscall.SIGKILL) })
	}
	ended.Wait()
	for _, m := range killed {
		m.start()
	}
	until(s, "a master listening", func() bool { return slices.ContainsFunc(s.masters, (*masterProcess).listens) })
	listens := time.Since(began)
	end(began, began)

	s.note("a master listened after %s", short(listens))
	s.expect(s.Row.Without.Max <= allBack+s.handshakes()+s.room(), "all nodes were back after %s; right are %s and the %s of their handshakes",
		short(s.Row.Without.Max), short(allBack), short(s.handshakes()))
	s.expectReady()
	s.expect(s.Row.Writes == 0, "%d writes of one Refinery whose nodes all came back", s.Row.Writes)
}

// rollout replaces both masters as a Deployment does: a new pod is ready before an old one is deleted. The active one goes
// first, so that nodes may have to move twice. One newcomer after another connects meanwhile.
func rollout(s *Stage) {
	active := s.service.active()
	began, end := s.measure()
	rolled := make(chan struct{})
	var newcomers sync.WaitGroup
	var count int
	var slowest time.Duration
	newcomers.Go(func() {
		for ; !over(rolled); count++ {
			came := time.Now()
			for !s.admits(s.service.active()) {
			}
			slowest = max(slowest, time.Since(came))
		}
	})
	for _, old := range []*masterProcess{active, s.other(active)} {
		s.startMaster()
		old.end(syscall.SIGTERM)
	}
	took := time.Since(began)
	close(rolled)
	newcomers.Wait()
	end(began.Add(took), time.Time{})

	s.note("it took %s; %d newcomers connected meanwhile, the slowest within %s", short(took), count, short(slowest))
	s.expectNoGap()
	s.expect(slowest <= gap+s.room(), "a newcomer was let in after %s; right is %s", short(slowest), short(gap))
}

func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
