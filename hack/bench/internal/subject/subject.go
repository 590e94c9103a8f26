// Package subject has what the benchmark compares: this project's server, the floor and the peers. Each is a server to start and the way
// in which the load speaks to it.
package subject

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
)

// Name of a subject, as reports show it.
type Name string

// The subjects.
const (
	// Refinery is protocol.Server.
	Refinery Name = "refinery"
	// Floor exchanges the same bytes in the same round trips over bare sockets, or bare crypto/tls, and understands none of them.
	Floor Name = "floor"
	// NATS is nats-server.
	NATS Name = "nats-server"
	// Mochi is mochi-mqtt.
	Mochi Name = "mochi-mqtt"
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
type Dialect interface {
	// Open takes a new connection to where it may idle, over TLS if config is not nil, and returns what to go on with.
	Open(conn net.Conn, config *tls.Config) (net.Conn, error)
	// Heartbeat returns the request that keeps a connection alive, and how long the answer to it is.
	Heartbeat() (request []byte, answer int)
	// RoundTrips is how often Open waits for the other side, the TCP connection included and TLS not.
	RoundTrips() int
}

// dialects and servers of the subjects.
var (
	dialects = map[Name]func(Setting) Dialect{
		Refinery: newRefineryDialect,
		Floor:    newRefineryDialect,
		NATS:     func(Setting) Dialect { return natsDialect{} },
		Mochi:    func(Setting) Dialect { return &mochiDialect{} },
	}
	servers = map[Name]func(net.Listener, *tls.Config, Setting) error{
		Refinery: serveRefinery,
		Floor:    serveFloor,
	}
	embedded = map[Name]func(*tls.Config, Transport) (address string, err error){
		NATS:  startNATS,
		Mochi: startMochi,
	}
)

// DialectOf returns how to speak to a subject.
func DialectOf(name Name, s Setting) (Dialect, error) {
	dialect, known := dialects[name]
	if !known {
		return nil, fmt.Errorf("no subject is called %q", name)
	}
	return dialect(s), nil
}

// Serve starts a subject's server on address, on a loopback port that is free if that is empty, and returns where it listens. It runs
// until the process ends. The peers choose their port themselves.
func Serve(name Name, s Setting, address string) (string, error) {
	config, err := s.serverConfig()
	if err != nil {
		return "", err
	}
	if start, is := embedded[name]; is {
		return start(config, s.Transport)
	}
	serve, known := servers[name]
	if !known {
		return "", fmt.Errorf("no subject is called %q", name)
	}
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	go func() {
		if err := serve(l, config, s); err != nil {
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
