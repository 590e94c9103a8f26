// Package ranking has a heap whose members know their place in it.
package ranking

import "container/heap"

// Ranking is a heap whose members know their place in it, so that each can be ranked anew, or leave.
type Ranking[T any] struct {
	Before  func(a, b T) bool
	Place   func(T) *int32 // where a member keeps its index, plus one; 0 is not in it
	Members []T
}

// First returns the member that stands before all others, or zero.
func (r *Ranking[T]) First() (member T) {
	if len(r.Members) > 0 {
		member = r.Members[0]
	}
	return member
}

// Rank gives x, which may not be in it yet, the place that is its own now.
func (r *Ranking[T]) Rank(x T) {
	if at := *r.Place(x); at > 0 {
		heap.Fix((*byRank[T])(r), int(at)-1)
		return
	}
	heap.Push((*byRank[T])(r), x)
}

// Drop takes x out, if it is in it.
func (r *Ranking[T]) Drop(x T) {
	if at := *r.Place(x); at > 0 {
		heap.Remove((*byRank[T])(r), int(at)-1)
	}
}

// Len returns how many members there are.
func (r *Ranking[T]) Len() int { return len(r.Members) }

// RankAll gives every member its place, after several have changed.
func (r *Ranking[T]) RankAll() { heap.Init((*byRank[T])(r)) }

// byRank is a Ranking as container/heap takes it.
type byRank[T any] Ranking[T]

func (r *byRank[T]) Len() int           { return len(r.Members) }
func (r *byRank[T]) Less(i, j int) bool { return r.Before(r.Members[i], r.Members[j]) }

func (r *byRank[T]) Swap(i, j int) {
	r.Members[i], r.Members[j] = r.Members[j], r.Members[i]
	*r.Place(r.Members[i]), *r.Place(r.Members[j]) = int32(i+1), int32(j+1) //nolint:gosec // MaxSessions is at most 1<<30.
}

func (r *byRank[T]) Push(x any) {
	r.Members = append(r.Members, x.(T))
	*r.Place(x.(T)) = int32(len(r.Members)) //nolint:gosec // The same.
}

func (r *byRank[T]) Pop() any {
	var none T
	last := len(r.Members) - 1
	x := r.Members[last]
	r.Members[last] = none
	r.Members = r.Members[:last]
	*r.Place(x) = 0
	return x
}
