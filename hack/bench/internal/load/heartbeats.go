package load

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

// Beat sends heartbeats over all sessions for a time, on each the next as soon as the last is answered, and one at
// least. Done counts the answers.
func (l *Load) Beat(duration time.Duration, done *Done) error {
	var count atomic.Int64
	began := time.Now()
	err := inParallel(len(l.sessions), func(i int) error {
		conn, answer := l.sessions[i], make([]byte, l.dialect.Answer)
		_ = conn.SetDeadline(began.Add(duration + patience)) // A socket that fails here fails at the next read.
		mine := 0
		for ; mine == 0 || time.Since(began) < duration; mine++ {
			if err := subject.Exchange(conn, l.dialect.Heartbeat, answer); err != nil {
				return fmt.Errorf("heartbeat %d of session %d: %w", mine+1, i, err)
			}
		}
		count.Add(int64(mine))
		return nil
	})
	*done = Done{Count: int(count.Load()), Elapsed: time.Since(began)}
	return err
}

// Pace says how often every session sends a heartbeat, and for how long.
type Pace struct{ Interval, For time.Duration }

// paceTick is how often the heartbeats that are due are sent.
const paceTick = time.Millisecond

// Pace sends heartbeats over all sessions, evenly spread over the interval, and waits until all of them are answered.
func (l *Load) Pace(p Pace, done *Done) error {
	began := time.Now()
	total := int(int64(len(l.sessions)) * int64(p.For) / int64(p.Interval))
	answered := make(chan error, len(l.sessions))
	for i, conn := range l.sessions {
		mine := (total + len(l.sessions) - 1 - i) / len(l.sessions)
		_ = conn.SetDeadline(began.Add(p.For + patience)) // A socket that fails here fails at the next read.
		go func() { answered <- readAnswers(conn, mine, l.dialect.Answer) }()
	}
	tick := time.NewTicker(paceTick)
	defer tick.Stop()
	for sent := 0; sent < total; <-tick.C {
		due := int(int64(len(l.sessions)) * int64(time.Since(began)) / int64(p.Interval))
		for ; sent < min(due, total); sent++ {
			if _, err := l.sessions[sent%len(l.sessions)].Write(l.dialect.Heartbeat); err != nil {
				return fmt.Errorf("sending a heartbeat: %w", err)
			}
		}
	}
	for range l.sessions {
		if err := <-answered; err != nil {
			return err
		}
	}
	*done = Done{Count: total, Elapsed: time.Since(began)}
	return nil
}

func readAnswers(conn net.Conn, count, length int) error {
	answer := make([]byte, length)
	for range count {
		if _, err := io.ReadFull(conn, answer); err != nil {
			return fmt.Errorf("waiting for the answer to a heartbeat: %w", err)
		}
	}
	return nil
}
