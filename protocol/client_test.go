package protocol

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// opened returns a Client that was not told to Run, and its raw master.
func opened(t *testing.T) (*Client, net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { _ = there.Close() })
	acknowledged := make(chan struct{})
	go func() {
		defer close(acknowledged)
		for _, answer := range []string{"conn:startAuth;;<EOF>", testGrant} {
			_, _ = there.Read(make([]byte, 4096))
			_, _ = io.WriteString(there, answer)
		}
		_, _ = there.Read(make([]byte, 4096))
	}()
	o := DefaultClientOptions()
	o.ID, o.Version, o.Type = "a", "0.1.0", "refinery"
	c, err := Handshake(t.Context(), here, o)
	if err != nil {
		t.Fatal(err)
	}
	<-acknowledged
	return c, there
}

// whichever comes first, one conn:close is said, and Run returns.
func TestCloseAndRunAtTheSameTimeCloseOnce(t *testing.T) {
	for range 500 {
		c, master := opened(t)
		ran := make(chan error, 1)
		go func() { ran <- c.Run(t.Context()) }()
		closed := make(chan error, 1)
		go func() { closed <- c.Close() }()
		hear(t, master, "conn:close;;<EOF>")
		_ = master.SetReadDeadline(time.Now().Add(time.Millisecond)) // What comes at all comes at once.
		if n, err := master.Read(make([]byte, 100)); n > 0 {
			t.Fatalf("%d bytes follow conn:close, %v", n, err)
		}
		_ = master.Close()
		if err := <-ran; !errors.Is(err, ErrSessionClosed) {
			t.Errorf("Run returned %v", err)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close returned %v", err)
		}
	}
}

// a conn:alive that was due before conn:close was sent is not sent after it.
func TestNothingFollowsConnClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, master := opened(t)
		closed := make(chan error, 1)
		go func() { closed <- c.Close() }()
		hear(t, master, "conn:close;;<EOF>")
		late := make(chan error, 1)
		go func() { late <- c.send(wire.Alive) }()
		_ = master.SetReadDeadline(time.Now().Add(closeLinger / 2))
		if n, err := master.Read(make([]byte, 100)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes follow conn:close, %v", n, err)
		}
		_ = master.Close()
		if err := errors.Join(<-closed, <-late); err != nil {
			t.Error(err)
		}
	})
}

func TestAClientRunsOnce(t *testing.T) {
	h := newRecorder()
	l := listen(t)
	serve(t, l, h, DefaultServerOptions())
	c := join(t, l)
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("Close returned %v", err)
		}
	}
	if err := c.Run(t.Context()); !errors.Is(err, ErrSessionClosed) {
		t.Errorf("Run after Close returned %v", err)
	}
	if err := c.Run(t.Context()); err == nil || errors.Is(err, ErrSessionClosed) {
		t.Errorf("the second Run returned %v", err)
	}
}

func TestHandshakeWithBadOptionsSendsNothingAndCloses(t *testing.T) {
	here, there := net.Pipe()
	if _, err := Handshake(t.Context(), here, DefaultClientOptions()); err == nil {
		t.Fatal("Handshake accepted options without an ID")
	}
	if n, err := there.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v; want a closed connection", n, err)
	}
}
