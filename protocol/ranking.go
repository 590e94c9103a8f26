package protocol

import "container/heap"

// ranking is a heap whose members know their place in it, so that each can be ranked anew, or leave.
type ranking[T any] struct {
	before  func(a, b T) bool
	place   func(T) *int32 // where a member keeps its index, plus one; 0 is not in it
	members []T
}

// first returns the member that stands before all others, or zero.
func (r *ranking[T]) first() (member T) {
	if len(r.members) > 0 {
		member = r.members[0]
	}
	return member
}

// rank gives x, which may not be in it yet, the place that is its own now.
func (r *ranking[T]) rank(x T) {
	if at := *r.place(x); at > 0 {
		heap.Fix(r, int(at)-1)
		return
	}
	heap.Push(r, x)
}

// drop takes x out, if it is in it.
func (r *ranking[T]) drop(x T) {
	if at := *r.place(x); at > 0 {
		heap.Remove(r, int(at)-1)
	}
}

// Len, Less, Swap, Push and Pop are for container/heap.
func (r *ranking[T]) Len() int           { return len(r.members) }
func (r *ranking[T]) Less(i, j int) bool { return r.before(r.members[i], r.members[j]) }

func (r *ranking[T]) Swap(i, j int) {
	r.members[i], r.members[j] = r.members[j], r.members[i]
	*r.place(r.members[i]), *r.place(r.members[j]) = int32(i+1), int32(j+1) //nolint:gosec // MaxSessions is at most 1<<30.
}

func (r *ranking[T]) Push(x any) {
	r.members = append(r.members, x.(T))
	*r.place(x.(T)) = int32(len(r.members)) //nolint:gosec // The same.
}

func (r *ranking[T]) Pop() any {
	var none T
	last := len(r.members) - 1
	x := r.members[last]
	r.members[last] = none
	r.members = r.members[:last]
	*r.place(x) = 0
	return x
}
