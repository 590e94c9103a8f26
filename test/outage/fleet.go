package outage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/refinery-operator/refinery-operator/internal/agent"
)

// readinessTick is how often each node is asked whether it is ready.
const readinessTick = 100 * time.Millisecond

// fleet is the nodes of a scenario. They run in this process.
type fleet struct {
	testing.TB
	service *service
	ctx     context.Context
	running sync.WaitGroup

	mu    sync.Mutex
	nodes []*node
	// joined is how long some nodes took to be let in, one after the other with nothing else to do: the least that a node needs
	// on this machine.
	joined []time.Duration
}

// node is an agent, and what was seen of it.
type node struct {
	refinery, id string
	agent        *agent.Agent

	mu      sync.Mutex
	session timeline
	ready   timeline
	unready string // why it ceased to be ready last
}

// newFleet is of no nodes. It ends with the test.
func newFleet(t testing.TB, service *service) *fleet {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	f := &fleet{TB: t, service: service, ctx: ctx}
	service.done = ctx.Done()
	f.running.Go(f.watchReadiness)
	t.Cleanup(func() {
		stop()
		f.running.Wait()
	})
	return f
}

// all are the nodes that there are now.
func (f *fleet) all() []*node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clip(f.nodes)
}

// join runs one node more, and returns when it has a session and is ready.
func (f *fleet) join(id string, args ...string) *node {
	f.Helper()
	began := time.Now()
	n := f.run(id, args...)
	until(f, id+" in session and ready", func() bool { return n.hasSession() && n.isReady() })
	f.joined = append(f.joined, n.inSessionAfter(began))
	return n
}

// run runs one node more.
func (f *fleet) run(id string, args ...string) *node {
	f.Helper()
	config, err := agent.ParseFlags(append([]string{"--id=" + id, "--address=" + f.service.address, "--health-address=", "--http-address=", "--upstream-file="}, args...))
	if err != nil {
		f.Fatal(err)
	}
	refinery, _, _ := strings.Cut(id, "/")
	n := &node{refinery: refinery, id: id}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n.agent, err = agent.NewIn(config, slog.New(sessionLog{n}), agent.Process{Dial: f.service.way(len(f.nodes)), Watch: unwatched}); err != nil {
		f.Fatal(err)
	}
	f.running.Go(func() {
		if err := n.agent.Run(f.ctx); err != nil {
			f.Errorf("%s: %v", id, err)
		}
	})
	f.nodes = append(f.nodes, n)
	return n
}

// unwatched leaves the watchers of this machine to others: thousands of nodes would take all of them.
func unwatched() (*fsnotify.Watcher, error) {
	return nil, errors.New("too many nodes are in one process")
}

// rate is how many nodes a second were let in that began after a time, all at once. It is that of most of them: the first ones
// and the last ones, some of which the master had refused as its line was full, do not count.
func (f *fleet) rate(began time.Time) float64 {
	var in []time.Duration
	for _, n := range f.all() {
		if at := n.inSessionAfter(began); at != never {
			in = append(in, at)
		}
	}
	slices.Sort(in)
	first, last := len(in)/10, len(in)*9/10
	return float64(last-first) / (in[last] - in[first]).Seconds()
}

// inSessionAfter is how long after a time the node got a session, and sessionEndedAfter when one ended; negative for never.
func (n *node) inSessionAfter(when time.Time) time.Duration    { return n.after(true, when) }
func (n *node) sessionEndedAfter(when time.Time) time.Duration { return n.after(false, when) }

func (n *node) after(session bool, when time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at, ok := n.session.first(session, when); ok {
		return at.Sub(when)
	}
	return never
}

// never is how long something took that has not happened.
const never time.Duration = -1

// sessionLog takes from an agent's log when it has a session, and writes nothing: all nodes would wait for a disk that is slow.
type sessionLog struct{ node *node }

// Handle implements slog.Handler.
func (l sessionLog) Handle(_ context.Context, r slog.Record) error {
	switch r.Message {
	case "authenticated":
		l.node.changed(r.Time, true)
	case "session ended":
		l.node.changed(r.Time, false)
	}
	return nil
}

// Enabled implements slog.Handler.
func (l sessionLog) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler.
func (l sessionLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l sessionLog) WithGroup(string) slog.Handler { return l }

func (n *node) changed(at time.Time, session bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.session = append(n.session, change{at, session}) // one may replace another that still is
}

func (n *node) hasSession() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.session.at(time.Now())
}

func (n *node) isReady() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ready.at(time.Now())
}

// watchReadiness asks each node what a kubelet asks it over HTTP, and more often.
func (f *fleet) watchReadiness() {
	ticks := time.NewTicker(readinessTick)
	defer ticks.Stop()
	for {
		for _, n := range f.all() {
			if ready, why := n.agent.Ready(); f.ctx.Err() == nil {
				n.notice(ready, why)
			}
		}
		select {
		case <-f.ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

func (n *node) notice(ready bool, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if before := len(n.ready); before > 0 && n.ready[before-1].on && !ready {
		n.unready = why
	}
	n.ready.add(time.Now(), ready)
}

// probe reports whether a GET is answered with 200, and what the answer is.
func probe(ctx context.Context, client *http.Client, url string) (ok bool, answer string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err.Error()
	}
	response, err := client.Do(request)
	if err != nil {
		return false, err.Error()
	}
	body, _ := io.ReadAll(response.Body) // what could be read is all there is to say
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK, string(bytes.TrimSpace(body))
}

// inSession counts the nodes of each Refinery that have a session.
func (f *fleet) inSession() (total int, of map[string]int) {
	of = map[string]int{}
	for _, n := range f.all() {
		if n.hasSession() {
			total++
			of[n.refinery]++
		}
	}
	return total, of
}

// noticed is what the nodes noticed from one time to another. A session that a node had at severed counts as ended then, unless
// severed is zero.
func (f *fleet) noticed(nodes []*node, from, to, severed time.Time) (without, notReady Spread, lost int) {
	var offs, unready []time.Duration
	for _, n := range nodes {
		n.mu.Lock()
		session := n.session
		lost += session.offs(from, to)
		if !severed.IsZero() {
			session = session.cutOff(severed)
		}
		offs = append(offs, session.longestOff(from, to))
		unready = append(unready, n.ready.longestOff(from, to))
		n.mu.Unlock()
	}
	return spread(offs), spread(unready), lost
}

// firstLoss is how long after a time the first node lost its session.
func (f *fleet) firstLoss(after time.Time) time.Duration {
	first := never
	for _, n := range f.all() {
		if d := n.sessionEndedAfter(after); d != never && (first == never || d < first) {
			first = d
		}
	}
	return first
}

// patience is after how long a test gives up on what must happen. It says nothing about how soon that has to be.
const patience = 2 * time.Minute

// until polls. If it was not so in time, the test has failed.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	untilWithin(t, patience, 5*time.Millisecond, what, is)
}

// untilWithin is until for what takes longer, or costs more to look at. It reports whether it was so.
func untilWithin(t testing.TB, limit, interval time.Duration, what string, is func() bool) bool {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("not in %v: %s", limit, what)
			return false
		}
	}
	return true
}
