package protocol

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// meteredConn counts the bytes that are read from it, and the bytes of each write.
type meteredConn struct {
	net.Conn
	read   *atomic.Int64
	writes *[]int
}

func (c meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

func (c meteredConn) Write(p []byte) (int, error) {
	*c.writes = append(*c.writes, len(p))
	return c.Conn.Write(p)
}

func metered(c net.Conn) meteredConn { return meteredConn{c, new(atomic.Int64), new([]int)} }

// steady returns a client's certificate whose proof has the same length each time, as ECDSA's has not.
func steady(t *testing.T) tls.Certificate {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// a flight of as many bytes as the bound is read, and of a longer one no more than those.
func TestEachFlightOfATLSHandshakeIsBounded(t *testing.T) {
	serverConfig, clientConfig := mutual(t)
	short := clientConfig.Clone()
	short.Certificates = []tls.Certificate{steady(t)}
	hello, certificates := short.Clone(), short.Clone()
	for i := range 40 { // The hello is the longer flight.
		hello.NextProtos = append(hello.NextProtos, strings.Repeat("p", 50)+fmt.Sprint(10+i))
	}
	leaf := short.Certificates[0]
	leaf.Certificate = slices.Repeat(leaf.Certificate, 20)
	certificates.Certificates = []tls.Certificate{leaf}
	for name, config := range map[string]*tls.Config{"hello": hello, "certificates": certificates} {
		sizes := flightsTo(t, serverConfig, config)
		longest := slices.Max(sizes[:])
		for over, limit := range map[string]int{"-1": longest + 1, "0": longest, "1": longest - 1} {
			t.Run(name+" over the bound by "+over, func(t *testing.T) {
				refused := make(refusals, 1)
				o := DefaultServerOptions()
				o.TLSConfig, o.TLSFlightBytes, o.OnRefused = serverConfig, limit, refused.hook
				l := newPipeListener()
				serve(t, l, newRecorder(), o)
				here, there := net.Pipe()
				defer here.Close()
				master := metered(there)
				l.conns <- fromAddr{master, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}}
				conn := tls.Client(here, config)
				err := conn.Handshake() // TLS 1.3: over for the client before the master has read it all
				if limit >= longest {
					if err != nil {
						t.Fatal(err)
					}
					say(t, conn, testEstablish)
					hear(t, conn, "conn:startAuth;;<EOF>")
					return
				}
				refused.expect(t, ErrTLS)
				want := limit
				if name == "certificates" {
					want += sizes[0]
				}
				if n := master.read.Load(); n != int64(want) {
					t.Errorf("%d bytes were read, want %d", n, want)
				}
			})
		}
	}
}

// flightsTo returns the bytes of a client's hello, and of its certificates with the proof.
func flightsTo(t *testing.T, server, client *tls.Config) (sizes [2]int) {
	t.Helper()
	here, there := net.Pipe()
	refinery := metered(here)
	done := make(chan error, 1)
	go func() { done <- tls.Server(there, server).Handshake() }()
	if err := tls.Client(refinery, client).Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	sizes[0] = (*refinery.writes)[0]
	for _, n := range (*refinery.writes)[1:] {
		sizes[1] += n
	}
	return sizes
}
