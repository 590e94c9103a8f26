package admission

import (
	"container/list"
	"net/netip"

	"github.com/refinery-operator/refinery-operator/protocol/internal/ranking"
)

// source is where arrivals come from: an IPv4 or link-local address, the network of another IPv6 address, or, on a transport without IP
// addresses, one connection.
type source struct {
	network        netip.Addr
	waiting        list.List // in the order in which they came
	inFlight       int       // handshakes in flight
	served         uint64    // the number of the last turn that one of them was given; 0 if none
	inNext, inMost int32     // its places in the rankings of waitingLine
}

// arrivals counts what came from the source and is not authenticated yet.
func (s *source) arrivals() int { return s.waiting.Len() + s.inFlight }

// oldest returns the connection that has waited longest. There is one.
func (s *source) oldest() *Arrival { return s.waiting.Front().Value.(*Arrival) }

// waitingLine holds the connections that wait for their turn. No method takes more than logarithmic time: a fleet that
// comes back fills the line.
type waitingLine struct {
	all   list.List // in the order in which they came
	count uint64    // of arrivals and turns
	// next and most rank the sources from which connections wait: by whose turn is next, and by who has the most arrivals.
	next, most ranking.Ranking[*source]
}

func newWaitingLine() waitingLine {
	return waitingLine{
		next: ranking.Ranking[*source]{
			Before: func(a, b *source) bool {
				if a.inFlight != b.inFlight {
					return a.inFlight < b.inFlight
				}
				return max(a.served, a.oldest().number) < max(b.served, b.oldest().number)
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

// first returns the connection whose turn is next, or nil. It is the oldest of the source with the fewest handshakes in
// flight; of several such sources, of the one for which the last turn, or the arrival of its oldest connection if that is
// later, is longest ago. So a source with many connections keeps only itself waiting, however short its turns are.
func (l *waitingLine) first() *Arrival {
	if s := l.next.First(); s != nil {
		return s.oldest()
	}
	return nil
}

// spare returns the connection to displace for one from that source, or nil. It is the last to come of the source with
// the most arrivals, if that has at least two more than from: so a single one is never displaced.
func (l *waitingLine) spare(from *source) *Arrival {
	if s := l.most.First(); s != nil && s.arrivals() >= from.arrivals()+2 {
		return s.waiting.Back().Value.(*Arrival)
	}
	return nil
}

func (l *waitingLine) push(c *Arrival) {
	l.count++
	c.number, c.place = l.count, l.all.PushBack(c)
	c.queued = c.source.waiting.PushBack(c)
	l.rank(c.source)
}

// serve removes a connection whose handshake begins.
func (l *waitingLine) serve(c *Arrival) {
	l.count++
	c.source.served = l.count
	c.source.inFlight++
	l.remove(c)
}

func (l *waitingLine) remove(c *Arrival) {
	l.all.Remove(c.place)
	c.source.waiting.Remove(c.queued)
	c.place, c.queued = nil, nil
	l.rank(c.source)
}

// rank updates both rankings after s has changed.
func (l *waitingLine) rank(s *source) {
	for _, r := range [...]*ranking.Ranking[*source]{&l.next, &l.most} {
		if s.waiting.Len() > 0 {
			r.Rank(s)
		} else {
			r.Drop(s)
		}
	}
}
