package attack

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// identity is a certificate and its key, PEM, that the master and all nodes share.
type identity struct{ Certificate, Key string }

func newIdentity(t *testing.T) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"master"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return identity{encode("CERTIFICATE", der), encode("PRIVATE KEY", pkcs8)}
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
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: n.source}, Timeout: 5 * time.Second}
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
