package subject

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

// startMochi runs mochi-mqtt as it comes, without its log, and lets everyone in.
func startMochi(_ string, config *tls.Config, _ Setting) (string, error) {
	srv := mqtt.New(&mqtt.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := srv.AddHook(new(auth.AllowHook), nil); err != nil {
		return "", err
	}
	l := listeners.NewTCP(listeners.Config{ID: "benchmark", Address: "127.0.0.1:0", TLSConfig: config})
	if err := srv.AddListener(l); err != nil {
		return "", err
	}
	return l.Address(), srv.Serve()
}

// mochiDialect is MQTT 3.1.1, with PINGREQ and PINGRESP.
func mochiDialect(Setting) Dialect {
	var clients atomic.Uint64
	open := func(conn net.Conn, config *tls.Config) (net.Conn, error) {
		return openMochi(conn, config, clients.Add(1))
	}
	return Dialect{Open: open, RoundTrips: 2, Heartbeat: []byte{0xc0, 0}, Answer: 2}
}

// openMochi needs the client's number, as each client has a name of its own.
func openMochi(conn net.Conn, config *tls.Config, number uint64) (net.Conn, error) {
	if config != nil {
		conn = tls.Client(conn, config)
	}
	client := "press-" + strconv.FormatUint(number, 10)
	const cleanSession, keepAliveSeconds = 2, 600
	connect := []byte{0x10, byte(10 + 2 + len(client)), 0, 4, 'M', 'Q', 'T', 'T', 4, cleanSession,
		keepAliveSeconds >> 8, keepAliveSeconds & 0xff, 0, byte(len(client))}
	var answer [4]byte
	if err := Exchange(conn, append(connect, client...), answer[:]); err != nil {
		return nil, fmt.Errorf("waiting for CONNACK: %w", err)
	}
	if answer != [4]byte{0x20, 2, 0, 0} {
		return nil, fmt.Errorf("heard % x, not CONNACK", answer)
	}
	return conn, nil
}
