package protocol

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/ranking"
)

// wakeGap is the least time between two checks, so that many timeouts close together cost one wake-up. A timeout is
// noticed this much late at most, and never early.
const wakeGap = 50 * time.Millisecond

// liveness ends the sessions of a server whose peers are silent, do not acknowledge or do not read. It has one timer for
// all of them: reading or writing a message only stores a time. Each session is queued by the earliest time at which it
// could be overdue. At that time it is checked, and usually queued again.
//
// Times are durations since epoch, which is before the first of them; 0 means never.
type liveness struct {
	epoch    time.Time
	alive    atomic.Int64 // AliveTimeout, nanoseconds
	patience atomic.Int64 // Patience, nanoseconds
	write    atomic.Int64 // WriteTimeout, nanoseconds
	writing  atomic.Int64 // writes in flight, over all sessions
	watching atomic.Bool  // a check of the writes is scheduled

	mu    sync.Mutex
	queue ranking.Ranking[*Session]
	timer *time.Timer
	wake  time.Duration // when the timer fires; 0 if it is not set
	last  time.Duration // when a session was last checked
}

// checkQueue returns an empty queue of sessions, by when each is to be checked.
func checkQueue() ranking.Ranking[*Session] {
	return ranking.Ranking[*Session]{
		Before: func(a, b *Session) bool { return a.checkAt < b.checkAt },
		Place:  func(s *Session) *int32 { return &s.queueIndex },
	}
}

func (l *liveness) now() time.Duration { return time.Since(l.epoch) }

// configure sets the timeouts, also for the sessions that there are.
func (l *liveness) configure(o *ServerOptions) {
	shorter := int64(o.AliveTimeout) < l.alive.Swap(int64(o.AliveTimeout))
	l.patience.Store(int64(o.Patience))
	l.write.Store(int64(o.WriteTimeout))
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for _, s := range l.queue.Members {
		s.checkAt = now
		if shorter {
			s.forgetRhythm()
		}
	}
	l.schedule(now)
}

func (l *liveness) add(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	s.checkAt, _ = s.overdue(now)
	l.queue.Rank(s)
	l.schedule(now)
}

func (l *liveness) remove(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue.Drop(s)
	if l.queue.Len() == 0 && l.timer != nil {
		l.timer.Stop()
		l.wake = 0
	}
}

// count returns how many sessions there are.
func (l *liveness) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.Len()
}

// writeBegins makes sure that a write is checked for hanging, within a fraction of its timeout. Writes close
// together share a check, and while there are no writes the timer does not fire for them.
func (l *liveness) writeBegins() {
	l.writing.Add(1)
	if l.watching.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watching.Store(true)
	l.schedule(l.now())
}

func (l *liveness) writeEnds() { l.writing.Add(-1) }

// schedule sets the timer to the next check: that of the first session in the queue, or of the writes in flight.
func (l *liveness) schedule(now time.Duration) {
	if l.queue.Len() == 0 {
		return
	}
	at := l.queue.First().checkAt
	if l.watching.Load() {
		at = min(at, now+time.Duration(l.write.Load())/4)
	}
	at = max(at, l.last+wakeGap, now)
	if l.wake != 0 && l.wake <= at && l.wake > now {
		return
	}
	l.wake = at
	if l.timer == nil {
		l.timer = time.AfterFunc(at-now, l.check)
		return
	}
	l.timer.Reset(at - now)
}

// check checks every session whose time has come, and all that write.
func (l *liveness) check() {
	type verdict struct {
		session *Session
		cause   error
	}
	var overdue []verdict
	l.mu.Lock()
	now := l.now()
	l.wake = 0
	if l.queue.Len() > 0 && l.queue.First().checkAt <= now {
		l.last = now
	}
	l.watching.Store(false) // First: a write that begins after the next line then schedules a check of its own.
	if l.writing.Load() > 0 {
		l.watching.Store(true)
		for _, s := range l.queue.Members {
			if s.writes() {
				s.checkAt = now
			}
		}
		l.queue.RankAll()
	}
	for l.queue.Len() > 0 && l.queue.First().checkAt <= now {
		s := l.queue.First()
		at, cause := s.overdue(now)
		if cause != nil {
			// It stays in the queue: the conn:close that it may be sent can hang as well.
			overdue = append(overdue, verdict{s, cause})
			at = now + time.Duration(l.write.Load())
		}
		s.checkAt = at
		l.queue.Rank(s)
	}
	l.schedule(now)
	l.mu.Unlock()
	for _, v := range overdue {
		v.session.expire(v.cause)
	}
}
