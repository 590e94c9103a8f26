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
	var sc syscall.Conn
	switch c := c.(type) {
	// Only these: a type that embeds one of them may do more in its Read than the socket does.
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return 0, os.ErrDeadlineExceeded
	}
	raw, err := sc.SyscallConn()
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
