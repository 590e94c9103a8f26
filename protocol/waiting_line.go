package protocol

import (
	"container/heap"
	"container/list"
	"net/netip"
)

// source is where arrivals come from: an IP address, or, on a transport without any, one connection.
type source struct {
	address netip.Addr
	waiting []*arrival // in the order in which they came
	begun   int        // handshakes in flight
	served  uint64     // what the line had counted when it last gave a turn to one of them
	places  [2]int     // in the rankings of the line, plus one; 0 is in none
}

// arrivals counts what came from the source and is not authenticated yet.
func (s *source) arrivals() int { return len(s.waiting) + s.begun }

// waitingLine is where connections wait for their turn. Whatever is asked of it takes a time that hardly grows with its length:
// a fleet that comes back fills it.
type waitingLine struct {
	all  list.List // in the order in which they came
	came uint64    // counts those who came, and turns
	// next and most rank the sources from which someone waits: by who is next, and by who has most to give away.
	next, most ranking
}

func newWaitingLine() waitingLine {
	return waitingLine{
		next: ranking{number: 0, before: func(a, b *source) bool {
			if a.begun != b.begun {
				return a.begun < b.begun
			}
			return max(a.served, a.waiting[0].number) < max(b.served, b.waiting[0].number)
		}},
		most: ranking{number: 1, before: func(a, b *source) bool { return a.arrivals() > b.arrivals() }},
	}
}

func (l *waitingLine) len() int { return l.all.Len() }

// oldest returns the connection that has waited longest, or nil.
func (l *waitingLine) oldest() *arrival {
	if e := l.all.Front(); e != nil {
		return e.Value.(*arrival)
	}
	return nil
}

// first returns the connection whose turn is next, or nil: it is of a source with the fewest handshakes in flight, and
// of these the one whose last turn, if it had one since, or whose first connection is longest ago. So a source that has many
// keeps only itself waiting, however soon it gives its turns back.
func (l *waitingLine) first() *arrival {
	if s := l.next.top(); s != nil {
		return s.waiting[0]
	}
	return nil
}

// spare returns the connection that came last of the source that has most arrivals, if that has at least two more than
// from. Who comes alone is nobody's spare.
func (l *waitingLine) spare(from *source) *arrival {
	if s := l.most.top(); s != nil && s.arrivals() >= from.arrivals()+2 {
		return s.waiting[len(s.waiting)-1]
	}
	return nil
}

func (l *waitingLine) push(c *arrival) {
	l.came++
	c.number, c.place = l.came, l.all.PushBack(c)
	c.from.waiting = append(c.from.waiting, c)
	l.rank(c.from)
}

// serve takes out the first connection of a source, which begins its handshake.
func (l *waitingLine) serve(c *arrival) {
	l.came++
	c.from.served = l.came
	c.from.begun++
	l.remove(c)
}

// remove takes out the first or the last connection of a source.
func (l *waitingLine) remove(c *arrival) {
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
	l.next.update(s)
	l.most.update(s)
}

// ranking is a heap of sources.
type ranking struct {
	number  int // of source.places
	before  func(a, b *source) bool
	sources []*source
}

func (r *ranking) top() *source {
	if len(r.sources) == 0 {
		return nil
	}
	return r.sources[0]
}

func (r *ranking) update(s *source) {
	place, waits := s.places[r.number], len(s.waiting) > 0
	switch {
	case place == 0 && waits:
		heap.Push(r, s)
	case place > 0 && waits:
		heap.Fix(r, place-1)
	case place > 0:
		heap.Remove(r, place-1)
	}
}

func (r *ranking) Len() int           { return len(r.sources) }
func (r *ranking) Less(i, j int) bool { return r.before(r.sources[i], r.sources[j]) }

func (r *ranking) Swap(i, j int) {
	r.sources[i], r.sources[j] = r.sources[j], r.sources[i]
	r.sources[i].places[r.number], r.sources[j].places[r.number] = i+1, j+1
}

func (r *ranking) Push(x any) {
	s := x.(*source)
	r.sources = append(r.sources, s)
	s.places[r.number] = len(r.sources)
}

func (r *ranking) Pop() any {
	last := len(r.sources) - 1
	s := r.sources[last]
	r.sources[last] = nil
	r.sources = r.sources[:last]
	s.places[r.number] = 0
	return s
}
