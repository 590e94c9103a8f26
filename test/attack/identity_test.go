package attack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"github.com/refinery-operator/refinery-operator/internal/pki/pkitest"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// identity is a certificate and its key, PEM, that the master and all nodes share.
type identity struct{ Certificate, Key string }

// newIdentity is of an authority that is everybody at once.
func newIdentity() identity {
	certificate, key := pkitest.NewAuthority("master", pkitest.Server("master"), pkitest.Client()).PEM()
	return identity{string(certificate), string(key)}
}

func (i identity) parts() (tls.Certificate, *x509.CertPool) {
	pair, err := tls.X509KeyPair([]byte(i.Certificate), []byte(i.Key))
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(i.Certificate))
	return pair, pool
}

func (i identity) server() *tls.Config {
	pair, pool := i.parts()
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
	}
}

func (i identity) client() *tls.Config {
	pair, pool := i.parts()
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "master", MinVersion: tls.VersionTLS13}
}

// node is someone who connects: the master's address, the address to come from, and the TLS configuration.
type node struct {
	address string
	source  net.IP
	config  *tls.Config
	cert    string
}

// dial opens a plain connection.
func (n node) dial(ctx context.Context) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: n.source}, Timeout: patience}
	conn, err := d.DialContext(ctx, "tcp", n.address)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.New("not a TCP connection")
	}
	return tcp, nil
}

// secure opens a connection with TLS.
func (n node) secure(ctx context.Context) (*tls.Conn, error) {
	tcp, err := n.dial(ctx)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(tcp, n.config)
	ctx, cancel := context.WithTimeout(ctx, protocol.DefaultHandshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return conn, nil
}

// join opens a session. What is sent on conn after it is the caller's.
func (n node) join(ctx context.Context, id string) (conn *tls.Conn, client *protocol.Client, err error) {
	if conn, err = n.secure(ctx); err != nil {
		return nil, nil, err
	}
	o := protocol.DefaultClientOptions()
	o.ID, o.Version, o.Type, o.Certificate = id, "0.1.0", "refinery", n.cert
	client, err = protocol.Handshake(ctx, conn, o)
	return conn, client, err
}
