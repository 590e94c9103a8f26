package relay

import "sync/atomic"

// Outcome is what became of a connection that was accepted.
type Outcome string

const (
	// Relayed has a connection to the upstream.
	Relayed Outcome = "relayed"
	// Limited was one more than there may be.
	Limited Outcome = "limit"
	// NoUpstream has waited for an upstream in vain.
	NoUpstream Outcome = "no_upstream"
	// Unreachable is for an upstream that takes no connection.
	Unreachable Outcome = "unreachable"
	// Looped is for an upstream that is the relay itself.
	Looped Outcome = "loop"

	// notAccepted is in the log only.
	notAccepted Outcome = "accept"
)

// Cause is why the relay ended a connection.
type Cause string

const (
	// Moved is for a connection to a former upstream when the drain time was over.
	Moved Cause = "moved"
	// Idle is for a connection on which nothing has moved for too long.
	Idle Cause = "idle"
)

// Direction is where bytes went.
type Direction string

// The directions, by their end.
const (
	ToUpstream Direction = "to_upstream"
	ToWorkload Direction = "to_workload"
)

// Counters count from the start on. Their keys stay the same.
type Counters struct {
	// Open connections there are, those that wait for the upstream too.
	Open        atomic.Int64
	Connections map[Outcome]*atomic.Uint64
	Cut         map[Cause]*atomic.Uint64
	// Bytes that were handed on. What went over a connection that is open is in it after a sweep.
	Bytes map[Direction]*atomic.Uint64
}

func newCounters() Counters {
	return Counters{
		Connections: counters(Relayed, Limited, NoUpstream, Unreachable, Looped),
		Cut:         counters(Moved, Idle),
		Bytes:       counters(ToUpstream, ToWorkload),
	}
}

func counters[K comparable](keys ...K) map[K]*atomic.Uint64 {
	all := map[K]*atomic.Uint64{}
	for _, key := range keys {
		all[key] = new(atomic.Uint64)
	}
	return all
}
