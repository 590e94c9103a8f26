package protocol

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// refusals is an OnRefused that can be waited for.
type refusals chan error

func (r refusals) hook(_ net.Addr, reason error) { r <- reason }

// serveRefusing runs a server in memory, and returns whom it refuses too.
func serveRefusing(t *testing.T, o ServerOptions) (*pipeListener, *Server, refusals) {
	t.Helper()
	refused := make(refusals, 10)
	o.OnRefused = refused.hook
	l := newPipeListener()
	return l, serve(t, l, newRecorder(), o), refused
}

func (r refusals) expect(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-r:
		if !errors.Is(err, want) {
			t.Fatalf("refused because of %v, want %v", err, want)
		}
	case <-time.After(patience):
		t.Fatalf("nothing was refused, want %v", want)
	}
}

// fromAddr is a connection that comes from any address a test likes.
type fromAddr struct {
	net.Conn
	addr net.Addr
}

func (c fromAddr) RemoteAddr() net.Addr { return c.addr }

func (l *pipeListener) dialFrom(ip string) net.Conn {
	here, there := net.Pipe()
	l.conns <- fromAddr{there, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 1))}
	return here
}

func TestReconfigureHoldsForNewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultServerOptions()
		o.MaxHandshakes = 1
		h := newRecorder()
		l := newPipeListener()
		srv := serve(t, l, h, o)
		first, second := l.dial(), l.dial()
		defer first.Close()
		synctest.Wait()
		o.MaxHandshakes = 2
		if err := srv.Reconfigure(o); err != nil {
			t.Fatal(err)
		}
		enter(t, second) // It waited, and the new limit gave it its turn.
		o.MaxSessions = 0
		if err := srv.Reconfigure(o); err == nil || !strings.Contains(err.Error(), "MaxSessions is 0") {
			t.Fatalf("Reconfigure returned %v", err)
		}
		o.MaxSessions = 2
		if err := srv.Reconfigure(o); err != nil {
			t.Fatal(err)
		}
		third := l.dial()
		if _, err := third.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a connection over the new limit reads %v, want EOF", err)
		}
		say(t, second, "conn:alive;;<EOF>")
		hear(t, second, "conn:alive;;<EOF>")
	})
}

// flaky fails its first Accepts.
type flaky struct {
	net.Listener
	errs []error
}

func (l *flaky) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

func TestAcceptErrorsThatPassAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := make(refusals, 100)
		o := DefaultServerOptions()
		o.OnRefused = refused.hook
		memory := newPipeListener()
		full := &net.OpError{Op: "accept", Err: syscall.EMFILE}
		h := newRecorder()
		begin := time.Now()
		serve(t, &flaky{memory, []error{full, full, full, full, full, full, full, full, full, full}}, h, o)
		c := memory.dial()
		defer c.Close()
		// 5, 10, 20, 40, 80, 160, 320 and 640 ms, then a second each.
		if waited := time.Since(begin); waited != 3275*time.Millisecond {
			t.Errorf("the listener was left alone for %v", waited)
		}
		enter(t, c)
		for range 10 {
			refused.expect(t, syscall.EMFILE)
		}
	})
}

func TestAcceptErrorsAreTemporaryUnlessTheListenerIsOfNoUse(t *testing.T) {
	for number, want := range map[syscall.Errno]bool{
		syscall.EMFILE: true, syscall.ECONNABORTED: true, syscall.EPROTO: true, syscall.EHOSTUNREACH: true, syscall.ENETDOWN: true,
		syscall.EPERM: true, syscall.ETIMEDOUT: true, syscall.EBADF: false, syscall.EINVAL: false, syscall.ENOTSOCK: false,
	} {
		err := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", number)}
		if got := temporary(err); got != want {
			t.Errorf("%v: temporary %v, want %v", err, got, want)
		}
	}
}

func TestServeReturnsAnAcceptErrorThatStays(t *testing.T) {
	srv, err := NewServer(newRecorder(), DefaultServerOptions())
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := srv.Serve(&flaky{newPipeListener(), []error{broken}}); !errors.Is(err, broken) {
		t.Errorf("Serve returned %v", err)
	}
}

// listening returns how many listeners are being served.
func (srv *Server) listening() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return len(srv.listeners)
}

func TestServeThatIsClosedAsItBeginsSaysSo(t *testing.T) {
	for range 200 {
		l := listen(t)
		srv, err := NewServer(newRecorder(), DefaultServerOptions())
		if err != nil {
			t.Fatal(err)
		}
		served, begun := make(chan error, 1), make(chan struct{})
		go func() {
			close(begun)
			served <- srv.Serve(l)
		}()
		<-begun
		for srv.listening() == 0 {
			continue
		}
		_ = srv.Close()
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Fatalf("Serve returned %v", err)
		}
	}
}

// Who lost its place is no session, however long its Handler takes to notice.
func TestStatsCountNoSessionThatWasNeverAuthenticated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		decide := make(chan struct{})
		h := newRecorder()
		h.establish = func(context.Context, *Session) error { <-decide; return nil }
		o := DefaultServerOptions()
		o.MaxHandshakes, o.MaxSlowHandshakes = 1, 1
		l := newPipeListener()
		srv := serve(t, l, h, o)
		for range 2 {
			c := l.dialFrom("10.0.0.1")
			defer c.Close()
			go func() { _, _ = c.Write([]byte(testEstablish)) }()
			time.Sleep(DefaultHandshakeTurn)
		}
		defer l.dialFrom("10.0.0.2").Close()
		time.Sleep(DefaultHandshakeTurn)
		synctest.Wait()
		expectStats(t, srv, Stats{Accepted: 3, Handshaking: 2})
		close(decide)
	})
}
