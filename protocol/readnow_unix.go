//go:build unix

package protocol

import (
	"io"
	"net"
	"os"
	"syscall"
)

// readNow reads what the kernel holds for c. Where it holds nothing, or c is not a plain socket, the error is
// os.ErrDeadlineExceeded, after which a TLS connection can still be read.
func readNow(c net.Conn, p []byte) (n int, err error) {
	raw, err := plainSocket(c)
	if err != nil {
		return 0, err
	}
	var failure error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, failure = syscall.Read(int(fd), p)
			if failure != syscall.EINTR {
				return true
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failure == syscall.EAGAIN:
		return 0, os.ErrDeadlineExceeded
	case failure != nil:
		return 0, os.NewSyscallError("read", failure)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// silent reports whether the kernel holds nothing of c to be read, not even the end of the stream. It may be called while
// another goroutine reads. If c is not a plain socket it returns true.
func silent(c net.Conn) bool {
	raw, err := plainSocket(c)
	if err != nil {
		return true
	}
	var failure error
	err = raw.Control(func(fd uintptr) {
		_, _, failure = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
	})
	return err == nil && failure == syscall.EAGAIN
}

// plainSocket returns the socket of c, or os.ErrDeadlineExceeded if c is more than a socket.
func plainSocket(c net.Conn) (syscall.RawConn, error) {
	switch c := c.(type) {
	// Only these: a type that embeds one of them may do more in its Read than the socket does.
	case *net.TCPConn:
		return c.SyscallConn()
	case *Forwarded:
		return c.SyscallConn()
	case *net.UnixConn:
		return c.SyscallConn()
	}
	return nil, os.ErrDeadlineExceeded
}
