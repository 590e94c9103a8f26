package loopback

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Forward opens an address whose connections lead to another one, until the test ends.
func Forward(t testing.TB, from, to string) {
	t.Helper()
	l, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(ctx, func() { _ = l.Close() })
	var pipes sync.WaitGroup
	t.Cleanup(func() { cancel(); pipes.Wait() })
	pipe := func(to, from net.Conn) {
		stop := context.AfterFunc(ctx, func() { _ = from.Close() })
		defer stop()
		_, _ = io.Copy(to, from)
		_ = to.Close()
		_ = from.Close()
	}
	pipes.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			pipes.Go(func() { pipe(near, far) })
			pipes.Go(func() { pipe(far, near) })
		}
	})
}
