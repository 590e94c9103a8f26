package protocol_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol"
)

// pinned lets in the nodes whose certificates it has on a list, whoever issued them.
type pinned struct {
	gate
	nodes map[[sha256.Size]byte]string // names by fingerprint
}

func fingerprint(c *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(c.Raw) }

// verify is for tls.Config.VerifyConnection. Of everything that TLS has read, only that the peer holds the key of its
// leaf is proven when it is called; what the certificate is worth is decided here.
func (p pinned) verify(state tls.ConnectionState) error {
	leaf := state.PeerCertificates[0]
	if now := time.Now(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return errors.New("the certificate is not valid now")
	}
	if _, listed := p.nodes[fingerprint(leaf)]; !listed {
		return errors.New("the certificate is not listed")
	}
	return nil
}

// Authenticate takes the name from the certificate, and compares what the node says of itself with it (R-8.1): id is a
// claim, and the certificate in auth:start proves nothing but that the node knows what TLS has shown.
func (p pinned) Authenticate(_ context.Context, s *protocol.Session, certificate string) (string, error) {
	leaf := s.PeerCertificates()[0]
	switch {
	case p.nodes[fingerprint(leaf)] != s.ID():
		return "", errors.New("the certificate is another node's")
	case certificate != encode(leaf):
		return "", errors.New("auth:start holds another certificate than TLS")
	}
	return "ingest.example.com:34307", nil
}

// Mutual TLS with a verification of one's own, on both sides.
func ExampleServerOptions_tls() {
	masterPair, masterLeaf := issue("master")
	nodePair, nodeLeaf := issue("press/1")
	handler := pinned{nodes: map[[sha256.Size]byte]string{fingerprint(nodeLeaf): "press/1"}}

	options := protocol.DefaultServerOptions()
	options.TLSConfig = &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{masterPair},
		ClientAuth:             tls.RequireAnyClientCert, // VerifyConnection does the rest.
		VerifyConnection:       handler.verify,
		SessionTicketsDisabled: true, // Resumption would not verify again (R-8.3).
	}
	refused := make(chan error, 1)
	options.OnRefused = func(_ net.Addr, reason error) { refused <- reason }
	server, err := protocol.NewServer(handler, options)
	if err != nil {
		fmt.Println(err)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { _ = server.Serve(listener) }() // Shutdown ends it.

	strangerPair, strangerLeaf := issue("press/1")
	for _, who := range []struct {
		pair tls.Certificate
		leaf *x509.Certificate
	}{{strangerPair, strangerLeaf}, {nodePair, nodeLeaf}} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			fmt.Println(err)
			return
		}
		secure := tls.Client(conn, trusting(masterLeaf, who.pair))
		node := protocol.DefaultClientOptions()
		node.ID, node.Version, node.Type, node.Certificate = "press/1", "0.1.0", "refinery", encode(who.leaf)
		// TLS is the first thing that Handshake does, within its timeout.
		client, err := protocol.Handshake(context.Background(), secure, node)
		if err != nil {
			fmt.Println("node: not let in")
			continue
		}
		fmt.Println("node: upstream", client.Upstream())
		_ = client.Close()
	}
	fmt.Println("master: refused:", <-refused)
	_ = server.Shutdown(context.Background())

	// Unordered output:
	// master: refused: TLS handshake failed: the certificate is not listed
	// node: not let in
	// master: authenticated press/1
	// node: upstream ingest.example.com:34307
	// master: press/1 closed by the peer
}

// trusting is for a node, which knows its master by the fingerprint.
func trusting(master *x509.Certificate, node tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{node},
		InsecureSkipVerify: true, // VerifyConnection verifies instead.
		VerifyConnection: func(state tls.ConnectionState) error {
			if fingerprint(state.PeerCertificates[0]) != fingerprint(master) {
				return errors.New("this is not the master")
			}
			return nil
		},
	}
}

func encode(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// issue makes a certificate and its key.
func issue(name string) (tls.Certificate, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, leaf
}
