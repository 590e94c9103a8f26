// Package loopback reserves addresses of 127.0.0.1 for programs that a test starts and that open their own listeners, and leads
// one address to another.
package loopback

import (
	"fmt"
	"syscall"
	"testing"
)

// Reserve returns an address of 127.0.0.1 that a program of the test can listen on, also again and again, until the test
// ends. The kernel gives its port to nobody else meanwhile: a socket is bound to it that does not listen, and lets others
// bind that, as Go's listeners do, set SO_REUSEADDR.
func Reserve(t testing.TB) (address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
}
