// Package peer is the link between the masters of one ClusterMaster. Over it they settle what they otherwise settle through the
// API server: whether another master may be active. Only masters hold the key pair that it takes, so nobody else has a say.
package peer

import (
	"cmp"
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"
)

const (
	// promiseFor is for how long a master that confirmed that it lost the API server does not become active.
	// It is the bound of how long two masters may let nodes in, as far as the one that promised cannot tell the other.
	promiseFor = 6 * time.Second
	// askTimeout bounds one request to another master.
	askTimeout = time.Second
	// lookupPeriod is how often the addresses of the other masters are looked up.
	lookupPeriod = 10 * time.Second
	// knownFor is for how long those that were found stay all that there are. After that there may be one that nobody found.
	knownFor = time.Minute
)

// Master is the process at this end of a link.
type Master interface {
	// LostAPIServer reports whether its last try to reach the API server failed.
	LostAPIServer() bool
	// Superseded is called when a master is active in a newer term.
	Superseded(epoch int64)
	// Released is called when another master has given the Lease back.
	Released()
}

// Link is one master's end of the links to all others.
type Link struct {
	// Pod is who this master is.
	Pod string
	// Addresses are where the masters of the ClusterMaster are found, as host:port. A name stands for all its IP addresses, of
	// which one may be this master's own.
	Addresses []string
	// Directory holds the key pair of the masters in tls.crt and tls.key.
	Directory string
	Master    Master
	Clock     clock.Clock
	Log       logr.Logger

	mu       sync.Mutex
	known    []string  // host:port of the masters, as they were last found; nil before
	found    time.Time // when they were
	epoch    int64     // of the term in which this master is active; 0 while it stands by
	promised time.Time // until when this master does not become active
}

// Run looks up the other masters until ctx is done. What was found last stays known while nothing is found.
func (l *Link) Run(ctx context.Context) {
	for {
		l.lookUp(ctx)
		select {
		case <-ctx.Done():
			return
		case <-l.Clock.After(lookupPeriod):
		}
	}
}

func (l *Link) lookUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookupPeriod/2)
	defer cancel()
	var found []string
	for _, address := range l.Addresses {
		name, port, err := net.SplitHostPort(address)
		if err != nil {
			return
		}
		hosts, err := net.DefaultResolver.LookupHost(ctx, name)
		if err != nil {
			l.Log.V(1).Info("cannot look up the other masters; those found before stay known", "name", name, "error", err.Error())
			return
		}
		for _, host := range hosts {
			found = append(found, net.JoinHostPort(host, port))
		}
	}
	slices.Sort(found)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known, l.found = slices.Compact(found), l.Clock.Now()
}

// Confirm asks every other master whether it lost the API server too. If all of them say so, none of them becomes active before
// the time that it returns; if one does not, or no answer comes, the time is zero. A master that is active in a newer term says
// that instead.
func (l *Link) Confirm(ctx context.Context, epoch int64) (until time.Time) {
	began := l.Clock.Now()
	answers, all := l.askAll(ctx, confirmPath, epoch)
	for _, a := range answers {
		if a.Epoch > epoch {
			l.Master.Superseded(a.Epoch)
			return time.Time{}
		}
		all = all && a.Lost
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !all || began.Sub(l.found) > knownFor {
		return time.Time{}
	}
	return began.Add(promiseFor)
}

// TakeOver tells every other master that this one is active. If this one has promised not to be, and one of the others cannot be
// told, it returns only when the promise is over.
func (l *Link) TakeOver(ctx context.Context, epoch int64) {
	l.mu.Lock()
	l.epoch = epoch
	promised := l.promised
	l.mu.Unlock()
	if _, all := l.askAll(ctx, activePath, epoch); all {
		return
	}
	if rest := promised.Sub(l.Clock.Now()); rest > 0 {
		l.Log.Info("the former master cannot be told; waiting until it lets no node in any more", "for", rest.String())
		select {
		case <-ctx.Done():
		case <-l.Clock.After(rest):
		}
	}
}

// StandBy notes that this master is not active any more.
func (l *Link) StandBy() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = 0
}

// Release tells every other master that the Lease was given back, so that one of them takes it at once.
func (l *Link) Release(ctx context.Context) { l.askAll(ctx, releasedPath, 0) }

// askAll sends a request to every other master, and returns their answers and whether all gave one. While no master was ever
// found there is none to answer.
func (l *Link) askAll(ctx context.Context, path string, epoch int64) (answers []message, all bool) {
	l.mu.Lock()
	known := slices.Clone(l.known)
	l.mu.Unlock()
	type result struct {
		message
		err error
	}
	results := make(chan result, len(known))
	for _, address := range known {
		go func() {
			answer, err := l.ask(ctx, address, path, message{Pod: l.Pod, Epoch: epoch})
			results <- result{answer, err}
		}()
	}
	all = len(known) > 0
	for range known {
		switch r := <-results; {
		case r.err != nil:
			l.Log.V(1).Info("another master does not answer", "error", r.err.Error())
			all = false
		case r.Pod != l.Pod: // else it is this one
			answers = append(answers, r.message)
		}
	}
	slices.SortFunc(answers, func(a, b message) int { return cmp.Compare(b.Epoch, a.Epoch) })
	return answers, all
}

// answer is what this master says to another.
func (l *Link) answer(path string, asked message) message {
	if asked.Pod == l.Pod {
		return message{Pod: l.Pod} // it asked itself
	}
	switch path {
	case activePath:
		l.Master.Superseded(asked.Epoch)
	case releasedPath:
		l.Master.Released()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	answer := message{Pod: l.Pod, Epoch: l.epoch}
	if path == confirmPath && l.epoch == 0 && l.Master.LostAPIServer() {
		answer.Lost = true
		l.promised = l.Clock.Now().Add(promiseFor)
	}
	return answer
}
