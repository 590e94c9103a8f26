package admission

import (
	"container/list"
	"net/netip"

	"github.com/refinery-operator/refinery-operator/protocol/internal/ranking"
)

// source is where arrivals come from: an IP address, the network of a global IPv6 address, or, on a transport without any,
// one connection.
type source struct {
	network        netip.Addr
	waiting        []*Arrival // in the order in which they came
	begun          int        // handshakes in flight
	served         uint64     // what the line had counted when it last gave a turn to one of them
	inNext, inMost int32      // its places in the rankings of the line
}

// arrivals counts what came from the source and is not authenticated yet.
func (s *source) arrivals() int { return len(s.waiting) + s.begun }

// waitingLine is where connections wait for their turn. Whatever is asked of it takes a time that hardly grows with its length:
// a fleet that comes back fills it.
type waitingLine struct {
	all  list.List // in the order in which they came
	came uint64    // counts those who came, and turns
	// next and most rank the sources from which someone waits: by who is next, and by who has most to give away.
	next, most ranking.Ranking[*source]
}

func newWaitingLine() waitingLine {
	return waitingLine{
		next: ranking.Ranking[*source]{
			Before: func(a, b *source) bool {
				if a.begun != b.begun {
					return a.begun < b.begun
				}
				return max(a.served, a.waiting[0].number) < max(b.served, b.waiting[0].number)
			},
			Place: func(s *source) *int32 { return &s.inNext },
		},
		most: ranking.Ranking[*source]{
			Before: func(a, b *source) bool { return a.arrivals() > b.arrivals() },
			Place:  func(s *source) *int32 { return &s.inMost },
		},
	}
}

func (l *waitingLine) len() int { return l.all.Len() }

// oldest returns the connection that has waited longest, or nil.
func (l *waitingLine) oldest() *Arrival {
	if e := l.all.Front(); e != nil {
		return e.Value.(*Arrival)
	}
	return nil
}

// first returns the connection whose turn is next, or nil: it is of a source with the fewest handshakes in flight, and
// of these the one whose last turn, if it had one since, or whose first connection is longest ago. So a source that has many
// keeps only itself waiting, however soon it gives its turns back.
func (l *waitingLine) first() *Arrival {
	if s := l.next.First(); s != nil {
		return s.waiting[0]
	}
	return nil
}

// spare returns the connection that came last of the source that has most arrivals, if that has at least two more than
// from. Who comes alone is nobody's spare.
func (l *waitingLine) spare(from *source) *Arrival {
	if s := l.most.First(); s != nil && s.arrivals() >= from.arrivals()+2 {
		return s.waiting[len(s.waiting)-1]
	}
	return nil
}

func (l *waitingLine) push(c *Arrival) {
	l.came++
	c.number, c.place = l.came, l.all.PushBack(c)
	c.from.waiting = append(c.from.waiting, c)
	l.rank(c.from)
}

// serve takes out the first connection of a source, which begins its handshake.
func (l *waitingLine) serve(c *Arrival) {
	l.came++
	c.from.served = l.came
	c.from.begun++
	l.remove(c)
}

// remove takes out the first or the last connection of a source.
func (l *waitingLine) remove(c *Arrival) {
	l.all.Remove(c.place)
	c.place = nil
	if s := c.from; s.waiting[0] == c {
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
	} else {
		last := len(s.waiting) - 1
		s.waiting[last] = nil
		s.waiting = s.waiting[:last]
	}
	l.rank(c.from)
}

// rank is called when what s is ranked by has changed.
func (l *waitingLine) rank(s *source) {
	for _, r := range [...]*ranking.Ranking[*source]{&l.next, &l.most} {
		if len(s.waiting) > 0 {
			r.Rank(s)
		} else {
			r.Drop(s)
		}
	}
}
