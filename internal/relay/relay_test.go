package relay

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDataGoesBothWaysAndEitherSideMayEndFirst(t *testing.T) {
	for name, ends := range map[string]func(pair) (first, second *net.TCPConn){
		"the workload": func(p pair) (*net.TCPConn, *net.TCPConn) { return p.client, p.upstream },
		"the upstream": func(p pair) (*net.TCPConn, *net.TCPConn) { return p.upstream, p.client },
	} {
		t.Run(name, func(t *testing.T) {
			p, s := newPlant(t, Options{}), newSite(t)
			p.move(s.address())
			first, second := ends(p.connect(t, s))
			question, answer := make([]byte, 3<<20), make([]byte, 2<<20)
			rand.Read(question)
			rand.Read(answer)
			sent := make(chan error, 1)
			go func() {
				_, err := first.Write(question)
				sent <- errors.Join(err, first.CloseWrite())
			}()
			if got, err := io.ReadAll(second); err != nil || !bytes.Equal(got, question) {
				t.Fatalf("%d bytes of %d came (%v)", len(got), len(question), err)
			}
			go func() {
				_, err := second.Write(answer)
				sent <- errors.Join(err, second.Close())
			}()
			if got, err := io.ReadAll(first); err != nil || !bytes.Equal(got, answer) {
				t.Fatalf("after the half-close %d bytes of %d came (%v)", len(got), len(answer), err)
			}
			if err := errors.Join(<-sent, <-sent); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the link has ended by itself", func() bool { return p.Open.Load() == 0 })
			if got, want := p.Bytes[ToUpstream].Load()+p.Bytes[ToWorkload].Load(), uint64(len(question)+len(answer)); got != want {
				t.Errorf("%d bytes were counted of %d", got, want)
			}
		})
	}
}

func TestNewConnectionsGoToTheNewUpstreamAndOldOnesStayUntilTheDrainIsOver(t *testing.T) {
	const drain = time.Minute
	p, east, west := newPlant(t, Options{Drain: drain}), newSite(t), newSite(t)
	p.move(east.address())
	old := p.connect(t, east)
	old.works(t)

	p.move(west.address())
	p.moved(t)
	fresh := p.connect(t, west)
	p.clock.advance(drain - 1)
	old.works(t)
	fresh.works(t)

	p.clock.advance(1)
	isCut(t, old.client)
	isCut(t, old.upstream)
	fresh.works(t)
	eventually(t, "one is left", func() bool { return p.Open.Load() == 1 })
	if n := p.Cut[Moved].Load(); n != 1 {
		t.Errorf("%d were counted", n)
	}

	p.move(east.address())
	p.moved(t)
	fresh.client.Close()
	fresh.upstream.Close()
	eventually(t, "none is left", func() bool { return p.Open.Load() == 0 })
	if n := p.clock.running(drain); n != 0 {
		t.Errorf("%d timers are left of a link that has ended", n)
	}
}

func TestAConnectionWhoseUpstreamIsTheCurrentOneAgainStays(t *testing.T) {
	const drain = time.Minute
	p, east, west := newPlant(t, Options{Drain: drain}), newSite(t), newSite(t)
	p.move(east.address())
	old := p.connect(t, east)
	old.works(t)
	for _, to := range []string{west.address(), east.address()} {
		p.move(to)
		p.moved(t)
	}
	p.clock.advance(drain)
	old.works(t)
	if n := p.clock.running(drain); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}

func TestAConnectionWaitsForTheFirstUpstreamButNotForEver(t *testing.T) {
	p, s := newPlant(t, Options{}), newSite(t)
	late := p.dial(t)
	eventually(t, "it waits", func() bool { return p.clock.running(openTimeout) == 1 })
	p.clock.advance(openTimeout)
	isCut(t, late)
	if n := p.Connections[NoUpstream].Load(); n != 1 {
		t.Errorf("%d were counted", n)
	}

	waits := p.dial(t)
	eventually(t, "it waits", func() bool { return p.clock.running(openTimeout) == 1 })
	p.move(s.address())
	pair{waits, s.accept(t)}.works(t)
}

func TestAnUpstreamThatIsDownEndsTheConnectionAndIsLoggedOnceAMinute(t *testing.T) {
	p, s := newPlant(t, Options{}), newSite(t)
	s.Close()
	p.move(s.address())
	for range 3 {
		p.isRefused(t)
	}
	p.sweeps(t, quietSweeps)
	p.isRefused(t)
	eventually(t, "all are counted", func() bool { return p.Connections[Unreachable].Load() == 4 })
	p.stop()
	if log := p.log.String(); strings.Count(log, "reason=unreachable") != 2 || !strings.Contains(log, s.address()) || strings.Contains(log, "secret") {
		t.Error(log)
	}
}

func TestAnUpstreamThatDoesNotAnswerIsGivenUp(t *testing.T) {
	p := newPlant(t, Options{})
	p.move(silent(t))
	conn := p.dial(t)
	eventually(t, "it dials", func() bool { return p.clock.running(dialTimeout) == 1 })
	p.clock.advance(dialTimeout)
	isCut(t, conn)
	if n := p.Connections[Unreachable].Load(); n != 1 {
		t.Errorf("%d were counted", n)
	}
}

func TestAConnectionThatDialsAFormerUpstreamInVainGoesToTheNewOne(t *testing.T) {
	p, s := newPlant(t, Options{}), newSite(t)
	p.move(silent(t))
	conn := p.dial(t)
	eventually(t, "it dials", func() bool { return p.clock.running(dialTimeout) == 1 })
	p.move(s.address())
	p.clock.advance(dialTimeout)
	pair{conn, s.accept(t)}.works(t)
}

// silent is an address where connections are neither accepted nor refused: the line of those that wait is full.
func silent(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	own, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: own.(*syscall.SockaddrInet4).Port}).String()
	first, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Close() })
	return address
}

func TestOneConnectionMoreThanThereMayBeIsRefusedUntilAnotherEnds(t *testing.T) {
	p, s := newPlant(t, Options{MaxConnections: 1}), newSite(t)
	p.move(s.address())
	only := p.connect(t, s)
	p.isRefused(t)
	only.works(t)
	if n := p.Connections[Limited].Load(); n != 1 {
		t.Errorf("%d were counted", n)
	}
	only.client.Close()
	only.upstream.Close()
	eventually(t, "there is room", func() bool { return p.Open.Load() == 0 })
	p.connect(t, s).works(t)
}

func TestAResetIsPassedOnAsAReset(t *testing.T) {
	p, s := newPlant(t, Options{}), newSite(t)
	p.move(s.address())
	one, other := p.connect(t, s), p.connect(t, s)
	one.works(t)
	other.works(t)
	abort(one.upstream)
	isCut(t, one.client)
	abort(other.client)
	isCut(t, other.upstream)
}

// What a reader does not take stays with the sender, but for buffers.
func TestASlowReaderEatsNoMemoryAndMissesNothing(t *testing.T) {
	const enough, bound = 64 << 20, 32 << 20 // bound: TCP buffers of two connections by Linux's defaults, and a pipe
	p, s := newPlant(t, Options{IdleTimeout: 2 * sweepInterval}), newSite(t)
	p.move(s.address())
	c := p.connect(t, s)
	block, sent := make([]byte, 64<<10), 0
	for sent < enough {
		c.upstream.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)) // a machine that is slower fills less
		n, err := c.upstream.Write(block)
		sent += n
		if err != nil {
			break
		}
	}
	if sent > bound {
		t.Errorf("%d bytes were taken, and nobody reads them", sent)
	}
	p.sweeps(t, 5) // it is not idle
	c.upstream.CloseWrite()
	if n, err := io.Copy(io.Discard, c.client); err != nil || n != int64(sent) {
		t.Errorf("%d bytes of %d came: %v", n, sent, err)
	}
}

func TestSweepsInATransferLoseNothing(t *testing.T) {
	p, s := newPlant(t, Options{}), newSite(t)
	p.move(s.address())
	c := p.connect(t, s)
	content := make([]byte, 16<<20)
	rand.Read(content)
	sent := make(chan error, 1)
	go func() {
		var err error
		for rest := content; len(rest) > 0 && err == nil; rest = rest[min(len(rest), 100<<10):] {
			_, err = c.client.Write(rest[:min(len(rest), 100<<10)])
			p.clock.advance(sweepInterval)
		}
		sent <- errors.Join(err, c.client.CloseWrite())
	}()
	got, err := io.ReadAll(c.upstream)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes of %d came: %v", len(got), len(content), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestWhatALinkHasMovedIsCountedWhileItIsOpen(t *testing.T) {
	p, s := newPlant(t, Options{}), newSite(t)
	p.move(s.address())
	c := p.connect(t, s)
	for range 3 {
		c.works(t)
	}
	p.sweeps(t, 1)
	for _, direction := range []Direction{ToUpstream, ToWorkload} {
		eventually(t, string(direction)+" is counted", func() bool { return p.Bytes[direction].Load() == uint64(3*len("word")) })
	}
	c.works(t)
}

func TestALinkOnWhichNothingMovesIsEndedAfterTheIdleTime(t *testing.T) {
	p, s := newPlant(t, Options{IdleTimeout: 3 * sweepInterval}), newSite(t)
	p.move(s.address())
	quiet, busy := p.connect(t, s), p.connect(t, s)
	quiet.works(t)
	for range 6 {
		busy.works(t)
		p.sweeps(t, 1)
	}
	isCut(t, quiet.client)
	isCut(t, quiet.upstream)
	busy.works(t)
	if n := p.Cut[Idle].Load(); n != 1 {
		t.Errorf("%d were counted", n)
	}
}

func TestWithoutAnIdleTimeOnlyALinkThatHalfEndedIsEnded(t *testing.T) {
	p, s := newPlant(t, Options{}), newSite(t)
	p.move(s.address())
	whole, half := p.connect(t, s), p.connect(t, s)
	half.client.CloseWrite()
	if _, err := half.upstream.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	p.sweeps(t, int(halfOpenTimeout/sweepInterval)+2)
	isCut(t, half.client)
	whole.works(t)
}

func TestALinkIsNotIdleBeforeItWasThereForSoLong(t *testing.T) {
	p, s := newPlant(t, Options{IdleTimeout: sweepInterval}), newSite(t)
	p.move(s.address())
	c := p.connect(t, s)
	p.sweeps(t, 1)
	c.works(t)
}

func TestWhoEndsOneSideOfALinkThatWasQuietForLongGetsTheAnswer(t *testing.T) {
	p, s := newPlant(t, Options{}), newSite(t)
	p.move(s.address())
	c := p.connect(t, s)
	p.sweeps(t, 2*int(halfOpenTimeout/sweepInterval))
	c.client.CloseWrite()
	if _, err := c.upstream.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	p.sweeps(t, 2)
	io.WriteString(c.upstream, "the answer")
	c.upstream.CloseWrite()
	if got, err := io.ReadAll(c.client); err != nil || string(got) != "the answer" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestALinkEndsWhoseReaderNeverReadsAgain(t *testing.T) {
	p, s := newPlant(t, Options{}), newSite(t)
	p.move(s.address())
	c := p.connect(t, s)
	block := make([]byte, 64<<10)
	for err := error(nil); err == nil; _, err = c.upstream.Write(block) {
		c.upstream.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)) // a machine that is slower fills less
	}
	p.sweeps(t, int(halfOpenTimeout/sweepInterval)+2)
	eventually(t, "it has ended", func() bool { return p.Cut[Idle].Load() == 1 })
}

func TestARelayDoesNotConnectToItself(t *testing.T) {
	p := newPlant(t, Options{})
	_, port, _ := net.SplitHostPort(p.address)
	for i, itself := range []string{p.address, net.JoinHostPort("localhost", port), net.JoinHostPort("0.0.0.0", port)} {
		p.move(itself)
		p.isRefused(t)
		if n := p.Connections[Looped].Load(); n != uint64(i+1) {
			t.Errorf("%s: %d were counted", itself, n)
		}
	}
}

func TestTheEndClosesEverythingAndLeavesNothing(t *testing.T) {
	p, s := newPlant(t, Options{Drain: time.Minute}), newSite(t)
	before := descriptors(t) // with the listeners of both
	p.move(s.address())
	var pairs []pair
	for range 20 {
		pairs = append(pairs, p.connect(t, s))
	}
	for _, c := range pairs {
		c.works(t)
	}
	p.move("")
	waits := p.dial(t)
	eventually(t, "it waits", func() bool { return p.clock.running(openTimeout) == 1 })
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	isCut(t, waits)
	for _, c := range pairs {
		isCut(t, c.client)
		isCut(t, c.upstream)
		c.client.Close()
		c.upstream.Close()
	}
	waits.Close()
	if _, err := net.Dial("tcp", p.address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("it still listens: %v", err)
	}
	if n := len(p.clock.timers); n != 0 {
		t.Errorf("%d timers are left", n)
	}
	eventually(t, "all descriptors are closed", func() bool {
		runtime.GC() // pipes that wait to be used again are closed when they are collected
		return descriptors(t) <= before-1
	})
}

func TestALinkThatIdlesTakesNoDescriptorsButItsSockets(t *testing.T) {
	p, s := newPlant(t, Options{}), newSite(t)
	p.move(s.address())
	before := descriptors(t)
	const links, sockets = 20, 4 // both ends are here
	var pairs []pair
	for range links {
		pairs = append(pairs, p.connect(t, s))
	}
	for _, c := range pairs {
		c.works(t)
	}
	eventually(t, "the pipes are gone", func() bool {
		p.sweeps(t, 1)
		runtime.GC()
		return descriptors(t) <= before+links*sockets
	})
	for _, c := range pairs {
		c.works(t)
	}
}

func TestAListenerThatIsClosedEndsServe(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c := &clock{timers: map[*timer]struct{}{}}
	r := New(Options{Upstream: func() (string, <-chan struct{}) { return "", nil }, AfterFunc: c.AfterFunc})
	if err := r.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
