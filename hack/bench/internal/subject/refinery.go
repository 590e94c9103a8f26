package subject

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// upstream is what every node is given.
const upstream = "ingest-east.plant.svc:34307"

// The messages of a session, as protocol/spec.md writes them. The length of each but auth:start is the same for every node.
const (
	establishMessage = `conn:establish;;{"id":"press/press-5f6b-abcde","version":"0.1.0","type":"refinery"}<EOF>`
	startAuthMessage = `conn:startAuth;;<EOF>`
	grantMessage     = `auth:ack;;{"upstream":"` + upstream + `"}<EOF>`
	authAckMessage   = `auth:ack;;<EOF>`
	aliveMessage     = `conn:alive;;<EOF>`
)

func authStartMessage(certificate []byte) string {
	return `auth:start;;{"cert":"` + strings.ReplaceAll(string(certificate), "\n", `\n`) + `"}<EOF>`
}

// gate lets everyone in: what the protocol costs is measured, not what a master decides.
type gate struct{}

func (gate) Establish(context.Context, *protocol.Session) error { return nil }

func (gate) Authenticate(context.Context, *protocol.Session, string) (string, error) {
	return upstream, nil
}
func (gate) Authenticated(*protocol.Session)        {}
func (gate) Acknowledged(*protocol.Session, string) {}
func (gate) Closed(*protocol.Session, error)        {}

// startRefinery runs protocol.Server with its defaults, but for the limit per source: all of the load comes from one address.
func startRefinery(address string, config *tls.Config, _ Setting) (string, error) {
	o := protocol.DefaultServerOptions()
	o.TLSConfig = config
	o.MaxHandshakesPerSource = o.MaxSessions
	srv, err := protocol.NewServer(gate{}, o)
	if err != nil {
		return "", err
	}
	return listen(Refinery, address, srv.Serve)
}

// refineryDialect is the load's own and small, so that the load is as cheap as it can be.
func refineryDialect(s Setting) Dialect {
	o := refineryOpening{[]byte(authStartMessage(s.Credentials.ClientCertificate))}
	return Dialect{Open: o.open, RoundTrips: 3, Heartbeat: []byte(aliveMessage), Answer: len(aliveMessage)}
}

type refineryOpening struct{ authStart []byte }

func (o refineryOpening) open(conn net.Conn, config *tls.Config) (net.Conn, error) {
	if config != nil {
		conn = tls.Client(conn, config)
	}
	var answer [128]byte
	for _, step := range []struct {
		say  []byte
		hear string
	}{
		{[]byte(establishMessage), startAuthMessage},
		{o.authStart, grantMessage},
	} {
		heard := answer[:len(step.hear)]
		if err := Exchange(conn, step.say, heard); err != nil {
			return nil, fmt.Errorf("waiting for %s: %w", step.hear, err)
		}
		if string(heard) != step.hear {
			return nil, fmt.Errorf("heard %q, not %q", heard, step.hear)
		}
	}
	_, err := conn.Write([]byte(authAckMessage))
	return conn, err
}
