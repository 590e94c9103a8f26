package subject

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	nats "github.com/nats-io/nats-server/v2/server"
)

// startNATS runs nats-server as it comes, without its log and its first ping after two seconds, which the load would have to answer.
func startNATS(_ string, config *tls.Config, s Setting) (string, error) {
	srv, err := nats.NewServer(&nats.Options{
		Host: "127.0.0.1", Port: nats.RANDOM_PORT, NoLog: true, NoSigs: true, DisableShortFirstPing: true,
		TLSConfig: config, TLS: config != nil, TLSVerify: s.Transport == MutualTLS, TLSTimeout: 60,
	})
	if err != nil {
		return "", err
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return "", errors.New("nats-server does not accept connections")
	}
	return srv.Addr().String(), nil
}

// natsDialect has two round trips, as the greeting comes by itself with the connection.
func natsDialect(Setting) Dialect {
	return Dialect{Open: openNATS, RoundTrips: 2, Heartbeat: []byte("PING\r\n"), Answer: len("PONG\r\n")}
}

// openNATS: the server greets with INFO, then comes TLS, then CONNECT and PING, which PONG answers.
func openNATS(conn net.Conn, config *tls.Config) (net.Conn, error) {
	if err := readUntil(conn, "\r\n"); err != nil {
		return nil, fmt.Errorf("waiting for INFO: %w", err)
	}
	if config != nil {
		conn = tls.Client(conn, config)
	}
	if _, err := conn.Write([]byte("CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"go\",\"version\":\"0.1.0\"}\r\nPING\r\n")); err != nil {
		return nil, err
	}
	if err := readUntil(conn, "PONG\r\n"); err != nil {
		return nil, fmt.Errorf("waiting for PONG: %w", err)
	}
	return conn, nil
}

// readUntil reads until what came ends in suffix. The server must not say more before it is answered.
func readUntil(conn net.Conn, suffix string) error {
	var buffer [4096]byte
	for n := 0; n < len(buffer); {
		k, err := conn.Read(buffer[n:])
		n += k
		if bytes.HasSuffix(buffer[:n], []byte(suffix)) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("%d bytes came without %q", len(buffer), suffix)
}
