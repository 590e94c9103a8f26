package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is after how long a test gives up on what must happen. It says nothing about how soon that has to be.
const patience = time.Minute

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

// clock is where a relay's timers are. It stands still until it is advanced.
type clock struct {
	mu     sync.Mutex
	now    time.Duration
	timers map[*timer]struct{}
}

type timer struct {
	length, due time.Duration
	f           func()
}

func (c *clock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := &timer{d, c.now + d, f}
	c.timers[one] = struct{}{}
	return func() bool { return c.remove(one) }
}

func (c *clock) remove(one *timer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, there := c.timers[one]
	delete(c.timers, one)
	return there
}

// running is how many timers of a length there are.
func (c *clock) running(length time.Duration) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for one := range c.timers {
		if one.length == length {
			n++
		}
	}
	return n
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	c.now += d
	var due []*timer
	for one := range c.timers {
		if one.due <= c.now {
			due = append(due, one)
			delete(c.timers, one)
		}
	}
	c.mu.Unlock()
	for _, one := range due {
		one.f()
	}
}

// plant is a relay and what is around it.
type plant struct {
	*Relay
	clock   *clock
	address string
	stop    func() error // returns what Serve returned
	log     *bytes.Buffer

	mu       sync.Mutex
	upstream string
	changed  chan struct{}
}

// newPlant starts a relay of these options, without an upstream.
func newPlant(t *testing.T, o Options) *plant {
	t.Helper()
	p := &plant{clock: &clock{timers: map[*timer]struct{}{}}, changed: make(chan struct{}), log: &bytes.Buffer{}}
	o.Upstream, o.AfterFunc = p.current, p.clock.AfterFunc
	o.Log = slog.New(slog.NewTextHandler(p.log, nil)) // it locks its writer; the log is read when all has ended
	if o.MaxConnections == 0 {
		o.MaxConnections = 100
	}
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Relay, p.address = New(o), l.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, l) }()
	p.stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if n := p.Open.Load(); n != 0 {
			t.Errorf("%d connections are open after the end", n)
		}
	})
	eventually(t, "it sweeps", func() bool { return p.clock.running(sweepInterval) == 1 })
	return p
}

func (p *plant) current() (string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.upstream, p.changed
}

func (p *plant) move(to string) {
	p.mu.Lock()
	p.upstream = to
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
}

// moved waits until the relay has acted on the upstream that there is.
func (p *plant) moved(t *testing.T) {
	t.Helper()
	now, _ := p.current()
	eventually(t, "the relay knows the upstream "+now, func() bool {
		p.Relay.mu.Lock()
		defer p.Relay.mu.Unlock()
		return p.Relay.current == now
	})
}

// sweeps lets the time of so many sweeps pass.
func (p *plant) sweeps(t *testing.T, n int) {
	t.Helper()
	for range n {
		p.clock.advance(sweepInterval)
		eventually(t, "it sweeps again", func() bool { return p.clock.running(sweepInterval) == 1 })
	}
}

func (p *plant) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	return bounded(t, conn.(*net.TCPConn))
}

// isRefused checks that a connection that says something is reset, which may be so soon that it does not get so far.
func (p *plant) isRefused(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", p.address)
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(bounded(t, conn.(*net.TCPConn)), "a secret"); errors.Is(err, syscall.ECONNRESET) {
		return
	}
	isCut(t, conn.(*net.TCPConn))
}

// bounded closes a connection with the test, and ends what waits for it for too long.
func bounded(t *testing.T, conn *net.TCPConn) *net.TCPConn {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// site is where an upstream listens.
type site struct{ *net.TCPListener }

func newSite(t *testing.T) site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return site{l.(*net.TCPListener)}
}

func (s site) address() string { return s.Addr().String() }

func (s site) accept(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := s.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	return bounded(t, conn)
}

// pair is a connection of the workload, and its other end at the upstream.
type pair struct{ client, upstream *net.TCPConn }

// connect makes a connection that must arrive at s. No timer of its opening is left.
func (p *plant) connect(t *testing.T, s site) pair {
	t.Helper()
	before := p.Connections[Relayed].Load()
	c := pair{p.dial(t), s.accept(t)}
	eventually(t, "it is relayed", func() bool { return p.Connections[Relayed].Load() > before })
	return c
}

// works sends a word in both directions.
func (p pair) works(t *testing.T) {
	t.Helper()
	for _, way := range [][2]*net.TCPConn{{p.client, p.upstream}, {p.upstream, p.client}} {
		const word = "word"
		if _, err := io.WriteString(way[0], word); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(word))
		if _, err := io.ReadFull(way[1], got); err != nil || string(got) != word {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

// isCut checks that an end of a connection sees that it did not end in order.
func isCut(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %d bytes and got %v, not a reset", n, err)
	}
}

// descriptors is how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the system does not say how many descriptors are open")
	}
	return len(entries)
}
