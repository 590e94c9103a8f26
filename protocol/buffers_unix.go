//go:build unix

package protocol

import (
	"net"
	"os"
	"syscall"
)

// boundBuffers bounds what the kernel holds of each connection that a TCP listener accepts from here on.
func boundBuffers(l net.Listener, bytes int) error {
	tcp, ok := l.(*net.TCPListener)
	if !ok || bytes == 0 {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	if err := raw.Control(func(fd uintptr) {
		for _, option := range [...]int{syscall.SO_RCVBUF, syscall.SO_SNDBUF} {
			if failure == nil {
				failure = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, option, bytes))
			}
		}
	}); err != nil {
		return err
	}
	return failure
}
