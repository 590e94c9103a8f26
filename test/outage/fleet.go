package outage

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/agent"
	"github.com/refinery-operator/refinery-operator/test/loopback"
)

// readinessTick is how often each node is asked whether it is ready.
const readinessTick = 100 * time.Millisecond

// fleet is the nodes of a scenario. They run in this process.
type fleet struct {
	testing.TB
	directory string
	nodes     []*node
	// joined is how long each took to be let in, one after the other with nothing else to do: the least that a node needs
	// on this machine.
	joined []time.Duration
}

// node is an agent, and what was seen of it.
type node struct {
	refinery, id string
	health       string // address

	mu      sync.Mutex
	session timeline
	ready   timeline
	unready string // what it answered when it was not ready last
}

// join runs one node more, and returns when it has a session and is ready.
func (f *fleet) join(refinery, id string, args ...string) *node {
	f.Helper()
	began := time.Now()
	n := f.run(refinery, id, args...)
	until(f, id+" in session and ready", func() bool { return n.hasSession() && n.isReady() })
	f.joined = append(f.joined, n.inSessionAfter(began))
	return n
}

// run runs one node more.
func (f *fleet) run(refinery, id string, args ...string) *node {
	f.Helper()
	n := &node{refinery: refinery, id: id, health: loopback.Reserve(f)}
	config, err := agent.ParseFlags(append([]string{"--id=" + id, "--health-address=" + n.health, "--http-address=", "--upstream-file="}, args...))
	if err != nil {
		f.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(f.directory, refinery+".nodes.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.Fatal(err)
	}
	a, err := agent.New(config, slog.New(&sessionLog{slog.NewTextHandler(log, nil).WithAttrs([]slog.Attr{slog.String("node", id)}), n}))
	if err != nil {
		f.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(ctx); err != nil {
			f.Errorf("%s: %v", id, err)
		}
	})
	running.Go(func() { n.watchReadiness(ctx) })
	f.Cleanup(func() {
		stop()
		running.Wait()
		_ = log.Close()
	})
	f.nodes = append(f.nodes, n)
	return n
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

// sessionLog takes from an agent's log when it has a session.
type sessionLog struct {
	slog.Handler
	node *node
}

// Handle implements slog.Handler.
func (h *sessionLog) Handle(ctx context.Context, r slog.Record) error {
	now := time.Now()
	switch r.Message {
	case "authenticated":
		h.node.changed(now, true)
	case "session ended":
		h.node.changed(now, false)
	}
	return h.Handler.Handle(ctx, r)
}

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

// watchReadiness asks what a kubelet asks, more often.
func (n *node) watchReadiness(ctx context.Context) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	ticks := time.NewTicker(readinessTick)
	defer ticks.Stop()
	for {
		if ready, answer := probe(ctx, client, "http://"+n.health+"/readyz"); ctx.Err() == nil {
			n.mu.Lock()
			n.ready.add(time.Now(), ready)
			if len(n.ready) > 1 && !ready { // it has been ready
				n.unready = answer
			}
			n.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
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
	for _, n := range f.nodes {
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
	for _, n := range f.nodes {
		if d := n.sessionEndedAfter(after); d != never && (first == never || d < first) {
			first = d
		}
	}
	return first
}

// patience is after how long a test gives up on what must happen. It says nothing about how soon that has to be.
const patience = 2 * time.Minute

// until polls, and reports whether it was so in time. If not, the test has failed.
func until(t testing.TB, what string, is func() bool) bool {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("not in %v: %s", patience, what)
			return false
		}
	}
	return true
}
