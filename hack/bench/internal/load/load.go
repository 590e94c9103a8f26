// Package load is the process that asks for what a scenario measures.
package load

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/refinery-operator/refinery-operator/hack/bench/internal/process"
	"github.com/refinery-operator/refinery-operator/hack/bench/internal/subject"
)

// patience bounds every single exchange: a contender fails rather than hangs.
const patience = 20 * time.Second

// Load is the receiver of the load process. Target comes first; the rest works on what Open opened.
type Load struct {
	process.Usage
	setting subject.Setting
	address string
	config  *tls.Config
	dialect subject.Dialect
	dialer  net.Dialer
	dialed  atomic.Uint32

	sessions []net.Conn
	fleet    *fleet // if there is one
}

// Target says whom to load.
type Target struct {
	Subject string
	Setting subject.Setting
	Address string
}

// Target sets the server to load.
func (l *Load) Target(t Target, _ *struct{}) (err error) {
	l.setting, l.address = t.Setting, t.Address
	if l.config, err = t.Setting.ClientConfig(); err != nil {
		return err
	}
	l.dialer = net.Dialer{Timeout: patience, KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1, Control: portAtConnect}
	l.dialect, err = subject.DialectOf(t.Subject, t.Setting)
	return err
}

// Done is how often something was done, in which time.
type Done struct {
	Count   int
	Elapsed time.Duration
}

// sources is how many addresses of loopback connections come from, in turn. A connection that was closed keeps its port for
// a second: the 28,000 ports of one address would bound how many handshakes there are in that time.
const sources = 8

// portAtConnect lets the kernel choose the port when the destination is known, and not when the source is.
func portAtConnect(_, _ string, c syscall.RawConn) error {
	var failure error
	err := c.Control(func(fd uintptr) {
		failure = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(err, failure)
}

// connect makes one session that idles.
func (l *Load) connect() (net.Conn, error) {
	dialer := l.dialer
	dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+l.dialed.Add(1)%sources))}
	conn, err := dialer.Dial("tcp", l.address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience)) // A socket that fails here fails at the next read.
	session, err := l.dialect.Open(conn, l.config)
	if err != nil {
		_ = conn.Close() // It has failed already.
		return nil, err
	}
	return session, session.SetDeadline(time.Time{})
}

// OpenWorkers is how many connections are being opened at a time.
const OpenWorkers = 32

// Handshakes asks for handshakes from so many workers for a time. Every worker connects, opens a session, closes it, waits until the
// server has closed it too, and begins again.
type Handshakes struct {
	Workers int
	For     time.Duration
}

// Handshakes opens and closes sessions for a time, one by each worker at least.
func (l *Load) Handshakes(h Handshakes, done *Done) error {
	var count atomic.Int64
	began := time.Now()
	err := inParallel(h.Workers, func(int) error {
		for first := true; first || time.Since(began) < h.For; first = false {
			session, err := l.connect()
			if err == nil {
				err = partOrderly(session)
			}
			if err != nil {
				return fmt.Errorf("after %d handshakes: %w", count.Load(), err)
			}
			count.Add(1)
		}
		return nil
	})
	*done = Done{Count: int(count.Load()), Elapsed: time.Since(began)}
	return err
}

// partOrderly closes the sending side and waits until the server has closed: then all of the session was handled.
func partOrderly(conn net.Conn) error {
	_ = conn.SetDeadline(time.Now().Add(patience)) // A socket that fails here fails at the next read.
	err := conn.(interface{ CloseWrite() error }).CloseWrite()
	var rest [64]byte
	for err == nil {
		_, err = conn.Read(rest[:])
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, conn.Close())
}

// Open opens so many more sessions, which idle.
func (l *Load) Open(sessions int, _ *struct{}) error {
	opened := make([]net.Conn, sessions)
	err := forEach(sessions, func(i int) (err error) {
		if opened[i], err = l.connect(); err != nil {
			return fmt.Errorf("session %d of %d: %w", i+1, sessions, err)
		}
		return nil
	})
	l.sessions = append(l.sessions, opened...)
	return err
}

// Part closes every session, in order.
func (l *Load) Part(struct{}, *struct{}) error {
	sessions := l.sessions
	l.sessions = nil
	return forEach(len(sessions), func(i int) error { return partOrderly(sessions[i]) })
}

// forEach does n things, OpenWorkers of them at a time, until one fails.
func forEach(n int, do func(i int) error) error {
	var next atomic.Int64
	return inParallel(min(OpenWorkers, n), func(int) error {
		for i := next.Add(1); i <= int64(n); i = next.Add(1) {
			if err := do(int(i) - 1); err != nil {
				return err
			}
		}
		return nil
	})
}

// inParallel runs n workers and returns the first error, when all of them have ended.
func inParallel(n int, work func(worker int) error) error {
	ended := make(chan error, n)
	for worker := range n {
		go func() { ended <- work(worker) }()
	}
	var first error
	for range n {
		first = cmp.Or(first, <-ended)
	}
	return first
}
