//go:build unix

package protocol

import (
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
)

//
func TestTheKernelHoldsNoMoreOfAConnectionThanSocketBytes(t *testing.T) {
	buffers := func(bytes int) (sizes [2]int) {
		h := newRecorder()
		o := DefaultServerOptions()
		o.SocketBytes = bytes
		l := listen(t)
		serve(t, l, h, o)
		enter(t, dial(t, l)) // It may have come before Serve was called.
		h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "authenticated up:1")
		enter(t, dial(t, l))
		h.expect(t, "establish a 0.1.0 refinery", "authenticate PEM", "authenticated up:1")
		raw, err := h.last.Load().socket.Conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			sizes[0], _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
			sizes[1], _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF)
		}); err != nil {
			t.Fatal(err)
		}
		return sizes
	}
	for _, bytes := range []int{8 << 10, DefaultSocketBytes, 64 << 10} {
		sizes := buffers(bytes)
		if runtime.GOOS == "linux" { // It takes, and tells, twice what was asked for: socket(7).
			bytes *= 2
		}
		if want := [2]int{bytes, bytes}; sizes != want {
			t.Errorf("buffers of %d bytes, want %d", sizes, want)
		}
	}
	for i, size := range buffers(0) {
		if size <= 2*DefaultSocketBytes {
			t.Errorf("without a bound buffer %d has only %d bytes", i, size)
		}
	}
}

// the bound does not stand in the way of the longest message.
func TestTheLongestMessageGetsThroughBoundedBuffers(t *testing.T) {
	o := DefaultServerOptions()
	o.SocketBytes = 4 << 10
	l := listen(t)
	serve(t, l, newRecorder(), o)
	c := dial(t, l)
	say(t, c, testEstablish)
	hear(t, c, "conn:startAuth;;<EOF>")
	go func() { _, _ = io.WriteString(c, padded(testAuthStart, DefaultAuthStartBytes)) }()
	hear(t, c, testGrant)
}
