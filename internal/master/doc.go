// Package master is the master pod: it speaks the Cluster Protocol as server, decides who is let in,
// assigns upstreams, and writes what it sees into the status of the Refineries that name it.
//
// One process is active, by a Lease and an epoch (Election); the others stand by with warm caches and
// do not listen. What the API server says is kept in a Directory; what the connected nodes do is kept
// in a Registry. Both are memory only. The Authenticator decides from the Directory alone, statuses are
// computed from both by pure functions, and the Reporter writes them when they differ from what is there.
package master
