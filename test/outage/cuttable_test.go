package outage

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// connected returns both ends of a connection, the first over a link.
func connected(t *testing.T, over *link) (near, far net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if far, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); _ = far.Close(); _ = listener.Close() })
	return newCuttable(conn, over, t.Context().Done()), far
}

func read(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v, want %q", b, err, want)
	}
}

// readNothing reads for a moment.
func readNothing(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 9)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v, want none until the deadline", n, err)
	}
}

func TestNothingGoesThroughALinkThatIsCut(t *testing.T) {
	l := newLink()
	near, far := connected(t, l)
	for range 2 {
		for what, c := range map[string][2]net.Conn{"to": {near, far}, "fro": {far, near}} {
			if _, err := c[0].Write([]byte(what)); err != nil {
				t.Fatal(err)
			}
			read(t, c[1], what)
		}
		l.cut()
		for _, c := range [][2]net.Conn{{near, far}, {far, near}} {
			if _, err := c[0].Write([]byte("late")); err != nil {
				t.Fatal(err)
			}
			readNothing(t, c[1])
		}
		l.mend()
		read(t, near, "late")
		read(t, far, "late")
	}
}

func TestTheEndOfAConnectionWaitsForItsLinkToo(t *testing.T) {
	l := newLink()
	near, far := connected(t, l)
	l.cut()
	ended := make(chan error, 1)
	go func() {
		_, err := near.Read(make([]byte, 9))
		ended <- err
	}()
	if _, err := near.Write([]byte("bye")); err != nil {
		t.Fatal(err)
	}
	if err := near.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read ended with %v", err)
	}
	readNothing(t, far)
	l.mend()
	read(t, far, "bye")
	if _, err := far.Read(make([]byte, 9)); !errors.Is(err, io.EOF) {
		t.Errorf("%v after the last byte", err)
	}
}

func TestADeadlineThatIsMovedEndsAReadOverACutLink(t *testing.T) {
	l := newLink()
	near, far := connected(t, l)
	l.cut()
	if _, err := far.Write([]byte("held")); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := near.Read(make([]byte, 9))
		ended <- err
	}()
	_ = near.SetReadDeadline(time.Unix(1, 0))
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it ended with %v", err)
	}
	l.mend()
	read(t, near, "held")
}
