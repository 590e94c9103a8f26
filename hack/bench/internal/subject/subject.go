// Package subject has what the benchmark compares: this project's server, the floor and the peers. Each is a server to start and the way
// in which the load speaks to it.
package subject

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net"
)

// The subjects, by the names that reports show.
const (
	Refinery = "refinery" // protocol.Server
	// Floor exchanges the same bytes in the same round trips over bare sockets, or bare crypto/tls, and understands none of them.
	Floor = "floor"
	NATS  = "nats-server"
	Mochi = "mochi-mqtt"
)

// Transport is what carries the connections.
type Transport string

// The transports, by the names that ClusterMaster spec.security.transport has for them.
const (
	Plaintext Transport = "Plaintext"
	ServerTLS Transport = "ServerTLS"
	MutualTLS Transport = "MutualTLS"
)

// Setting is how a subject is run.
type Setting struct {
	Transport Transport
	// X25519Only leaves X25519MLKEM768, the default, out.
	X25519Only  bool
	Credentials Credentials
}

// Dialect is how the load speaks to a subject.
type Dialect struct {
	// Open takes a new connection to where it may idle, over TLS if config is not nil, and returns what to go on with.
	Open func(conn net.Conn, config *tls.Config) (net.Conn, error)
	// RoundTrips is how often Open waits for the other side, the TCP connection included and TLS not.
	RoundTrips int
	// Heartbeat is the request that keeps a connection alive, and Answer how long the answer to it is.
	Heartbeat []byte
	Answer    int
}

var subjects = map[string]struct {
	start   func(address string, config *tls.Config, s Setting) (string, error)
	dialect func(Setting) Dialect
}{
	Refinery: {startRefinery, refineryDialect},
	Floor:    {startFloor, refineryDialect},
	NATS:     {startNATS, natsDialect},
	Mochi:    {startMochi, mochiDialect},
}

// DialectOf returns how to speak to a subject.
func DialectOf(name string, s Setting) (Dialect, error) {
	subject, known := subjects[name]
	if !known {
		return Dialect{}, fmt.Errorf("no subject is called %q", name)
	}
	return subject.dialect(s), nil
}

// Serve starts a subject's server on address, on a loopback port that is free if that is empty, and returns where it listens. It runs
// until the process ends. The peers choose their port themselves.
func Serve(name string, s Setting, address string) (string, error) {
	subject, known := subjects[name]
	if !known {
		return "", fmt.Errorf("no subject is called %q", name)
	}
	config, err := s.serverConfig()
	if err != nil {
		return "", err
	}
	return subject.start(address, config, s)
}

// listen lets a subject serve what comes in on address until the process ends, and returns where that is.
func listen(name, address string, serve func(net.Listener) error) (string, error) {
	l, err := net.Listen("tcp", cmp.Or(address, "127.0.0.1:0"))
	if err != nil {
		return "", err
	}
	go func() {
		if err := serve(l); err != nil {
			panic(fmt.Sprintf("%s: %v", name, err)) // Nothing that is measured from here on would be true.
		}
	}()
	return l.Addr().String(), nil
}

// Exchange writes request and reads answer, all of it.
func Exchange(conn net.Conn, request, answer []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, answer)
	return err
}
