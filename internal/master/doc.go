// Package master is the runtime of a master pod: it speaks the Cluster Protocol as server, asks package admit who is let in
// and where each node is placed, and writes what it sees into the status of the Refineries that name it.
//
// One process is active, by a Lease and an epoch (election.go); the others stand by with warm caches and do not listen. What
// the API server says is kept in a directory; what the connected nodes do is kept in a registry. Both are memory only.
// Statuses are computed from both by pure functions, and the reporter writes them when they differ from what is there.
package master
