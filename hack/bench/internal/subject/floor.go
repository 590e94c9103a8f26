package subject

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
)

// floor is the least that a server can do which receives and sends the bytes of a session: it counts them. One goroutine a connection,
// from accepting to closing, with a buffer that is borrowed until the session stands.
type floor struct {
	config *tls.Config
	// The messages of the opening, in order: so many bytes are awaited, and answered with these.
	awaited [3]int
	answers [2][]byte
}

var floorBuffers = sync.Pool{New: func() any { return new([4096]byte) }}

func startFloor(address string, config *tls.Config, s Setting) (string, error) {
	f := &floor{
		config:  config,
		awaited: [3]int{len(establishMessage), len(authStartMessage(s.Credentials.ClientCertificate)), len(authAckMessage)},
		answers: [2][]byte{[]byte(startAuthMessage), []byte(grantMessage)},
	}
	return listen(Floor, address, func(l net.Listener) error {
		for {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			go f.session(conn)
		}
	})
}

func (f *floor) session(conn net.Conn) {
	defer func() { _ = conn.Close() }() // The connection is over either way.
	if f.config != nil {
		conn = tls.Server(conn, f.config)
	}
	if f.open(conn) != nil {
		return
	}
	echo(conn)
}

// open plays the master's part of the opening: it reads three messages and answers the first two. Over TLS, the first
// read performs the TLS handshake.
func (f *floor) open(conn net.Conn) error {
	buffer := floorBuffers.Get().(*[4096]byte)
	defer floorBuffers.Put(buffer)
	for i, n := range f.awaited {
		if _, err := io.ReadFull(conn, buffer[:n]); err != nil {
			return err
		}
		if i < len(f.answers) {
			if _, err := conn.Write(f.answers[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// echo answers every heartbeat with the same bytes.
func echo(conn net.Conn) {
	buffer := make([]byte, 64)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}
