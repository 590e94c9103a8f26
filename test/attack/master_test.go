package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// masterConfig has an alive interval that is short, so that a heartbeat that is missed shows within an attack: after
// missedBeats of them. Everything else is the default.
type masterConfig struct {
	Identity      identity
	AliveInterval time.Duration
}

const missedBeats = 3

// masterReport is what the master answers to any order.
type masterReport struct {
	Address      string
	Stats        protocol.Stats
	Closed       map[string]int // sessions by why they were closed
	GoodClosed   map[string]int // of these, those of the fleet
	Refused      map[string]int // connections, the same
	AcceptErrors int
	Strangers    int // connections that were not authenticated, at most at a time
	Panics       int
	Resident     int // KiB
	Peak         int // KiB, since the order "peak"
	Goroutines   int
	Descriptors  int
}

// counting is a Handler that lets everyone in, panics where an id asks for it, and counts how sessions end.
type counting struct {
	mu     sync.Mutex
	report masterReport
}

func panicIf(s *protocol.Session, step string) {
	if s.ID() == "panic/"+step {
		panic("as the test wants it: " + step)
	}
}

func (c *counting) Establish(_ context.Context, s *protocol.Session) error {
	panicIf(s, "establish")
	return nil
}

func (c *counting) Authenticate(_ context.Context, s *protocol.Session, _ string) (string, error) {
	panicIf(s, "authenticate")
	return "upstream.example.com:34307", nil
}

func (c *counting) Authenticated(s *protocol.Session)      { panicIf(s, "authenticated") }
func (c *counting) Acknowledged(*protocol.Session, string) {}

func (c *counting) Closed(s *protocol.Session, cause error) {
	c.mu.Lock()
	c.report.Closed[nameOf(cause)]++
	if strings.HasPrefix(s.ID(), "good/") {
		c.report.GoodClosed[nameOf(cause)]++
	}
	c.mu.Unlock()
	panicIf(s, "closed")
}

func (c *counting) refused(remote net.Addr, reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if remote == nil {
		c.report.AcceptErrors++
		return
	}
	c.report.Refused[nameOf(reason)]++
}

func (c *counting) panicked(*protocol.Session, *protocol.PanicError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Panics++
}

// nameOf is the rule that was broken, or the error that a caller would look for.
func nameOf(err error) string {
	if p, ok := errors.AsType[*protocol.ProtocolError](err); ok {
		return p.Rule
	}
	if _, ok := errors.AsType[*protocol.PanicError](err); ok {
		return "panic"
	}
	for _, known := range []error{
		protocol.ErrPeerClosed, protocol.ErrHandshakeTimeout, protocol.ErrAliveTimeout, protocol.ErrWriteTimeout, protocol.ErrTLS,
		protocol.ErrTooManySessions, protocol.ErrTooManyHandshakes, protocol.ErrTooManyFromSource, protocol.ErrServerClosed,
		syscall.ECONNRESET, syscall.EPIPE,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return err.Error()
}

// runMaster serves until its orders end. "peak" forgets what was the most so far, "free" gives back what is free,
// "descriptors N" bounds the open ones, "report" does nothing else.
func runMaster(config masterConfig, orders <-chan string, answer func(any)) error {
	c := &counting{report: masterReport{Closed: map[string]int{}, GoodClosed: map[string]int{}, Refused: map[string]int{}}}
	o := protocol.DefaultServerOptions()
	o.TLSConfig = config.Identity.server()
	o.AliveInterval, o.AliveTimeout = config.AliveInterval, missedBeats*config.AliveInterval
	o.OnRefused, o.OnPanic = c.refused, c.panicked
	server, err := protocol.NewServer(c, o)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	c.report.Address = listener.Addr().String()
	go c.watch(server)
	answer(c.current(server))
	for order := range orders {
		if err := c.obey(order); err != nil {
			return fmt.Errorf("%s: %w", order, err)
		}
		answer(c.current(server))
	}
	_ = server.Close()
	if err := <-served; !errors.Is(err, protocol.ErrServerClosed) {
		return err
	}
	return nil
}

// watch notes how many connections are not authenticated, for as long as the process runs.
func (c *counting) watch(server *protocol.Server) {
	for range time.Tick(5 * time.Millisecond) {
		stats := server.Stats()
		c.mu.Lock()
		c.report.Strangers = max(c.report.Strangers, stats.Handshaking+stats.Waiting)
		c.mu.Unlock()
	}
}

func (c *counting) obey(order string) error {
	word, rest, _ := strings.Cut(order, " ")
	switch word {
	case "peak":
		c.mu.Lock()
		c.report.Strangers = 0
		c.mu.Unlock()
		return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	case "free":
		debug.FreeOSMemory()
	case "descriptors":
		n, err := strconv.ParseUint(rest, 10, 64)
		if err != nil {
			return err
		}
		limit := syscall.Rlimit{Max: n}
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
		limit.Cur = min(n, limit.Max)
		return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
	return nil
}

// current returns a copy of the report as of now.
func (c *counting) current(server *protocol.Server) masterReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.report
	r.Stats = server.Stats()
	r.Resident, r.Peak = statusField("VmRSS"), statusField("VmHWM")
	r.Goroutines = runtime.NumGoroutine()
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		r.Descriptors = len(fds)
	}
	return r
}

// statusField returns a number of /proc/self/status.
func statusField(name string) int {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	panic("no " + name)
}
