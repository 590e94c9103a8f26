package protocol

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refinery-operator/refinery-operator/protocol/internal/wire"
)

// selfSigned returns a certificate for both sides.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"master"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// mutual returns the configurations of a master that wants a client certificate, and of a refinery that has one.
func mutual(t *testing.T) (server, client *tls.Config) {
	cert := selfSigned(t)
	server = &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert,
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return server, &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots, ServerName: "master"}
}

func TestPeerCertificatesAreThereWhileTheHandlerDecides(t *testing.T) {
	serverConfig, clientConfig := mutual(t)
	certificates := make(chan int, 10)
	h := newRecorder()
	h.onEvent = func(_ string, s *Session) { certificates <- len(s.PeerCertificates()) }
	h.authenticate = func(_ context.Context, s *Session, _ string) (string, error) {
		if cn := s.PeerCertificates()[0].Subject.CommonName; cn != "test" {
			return "", errors.New(cn)
		}
		return "up:1", nil
	}
	o := DefaultServerOptions()
	o.TLSConfig = serverConfig
	l := listen(t)
	serve(t, l, h, o)
	co := DefaultClientOptions()
	co.ID, co.Version, co.Type = "a", "0.1.0", "refinery"
	c, err := Handshake(t.Context(), tls.Client(dial(t, l), clientConfig), co)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.cause(t); !errors.Is(err, ErrPeerClosed) {
		t.Errorf("closed with %v", err)
	}
	h.expect(t, "establish a 0.1.0 refinery", "authenticate ", "authenticated up:1", "closed: closed by the peer")
	for i, want := range []int{1, 1, 0, 0} {
		if got := <-certificates; got != want {
			t.Errorf("callback %d saw %d certificates, want %d", i+1, got, want)
		}
	}
}

func TestASessionTellsWhetherTLSCarriesIt(t *testing.T) {
	serverConfig, clientConfig := mutual(t)
	for _, secure := range []bool{true, false} {
		told := make(chan bool, 1)
		h := newRecorder()
		h.authenticate = func(_ context.Context, s *Session, _ string) (string, error) {
			told <- s.TLS()
			return "", errors.New("refused")
		}
		o := DefaultServerOptions()
		l := listen(t)
		if secure {
			o.TLSConfig = serverConfig
		}
		serve(t, l, h, o)
		conn := dial(t, l)
		if secure {
			conn = tls.Client(conn, clientConfig)
		}
		co := DefaultClientOptions()
		co.ID, co.Version, co.Type = "a", "0.1.0", "refinery"
		if _, err := Handshake(t.Context(), conn, co); !errors.Is(err, ErrDenied) {
			t.Fatal(err)
		}
		if got := <-told; got != secure {
			t.Errorf("told %v, is %v", got, secure)
		}
	}
}

func TestOverTLSTooBytesAheadOfTheirTurnAreRefused(t *testing.T) {
	serverConfig, clientConfig := mutual(t)
	for _, tc := range []struct {
		name   string
		writes []string
	}{
		{"in one record", []string{testEstablish + testAuthStart}},
		{"in records that arrive together", []string{testEstablish, testAuthStart}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newRecorder()
			h.establish = func(context.Context, *Session) error { return nil }
			o := DefaultServerOptions()
			o.TLSConfig = serverConfig
			l := listen(t)
			serve(t, l, h, o)
			socket := &corked{Conn: dial(t, l)}
			c := tls.Client(socket, clientConfig)
			if err := c.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			socket.cork = true
			for _, w := range tc.writes {
				say(t, c, w)
			}
			if err := socket.flush(); err != nil {
				t.Fatal(err)
			}
			p, ok := errors.AsType[*ProtocolError](h.cause(t))
			if !ok || p.Rule != ruleAhead || p.State != StateEstablishing {
				t.Errorf("closed with %v", p)
			}
		})
	}
}

// what TLS has read along with the message that a refinery is about to answer, it has received.
func TestOverTLSTooARefineryRefusesBytesAheadOfTheirTurn(t *testing.T) {
	serverConfig, clientConfig := mutual(t)
	const start = "conn:startAuth;;<EOF>"
	for _, tc := range []struct {
		name    string
		answers [][]string // to each message of the refinery, the records of one segment
		want    error
		state   State
	}{
		{"before auth:start", [][]string{{start, testGrant}}, ErrProtocol, StateAuthenticating},
		{"before auth:ack", [][]string{{start}, {testGrant, "conn:alive;;<EOF>"}}, ErrProtocol, StateAcknowledging},
		{"conn:close before auth:start", [][]string{{start, "conn:close;;<EOF>"}}, ErrPeerClosed, 0},
		{"nothing", [][]string{{start}, {testGrant}}, nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := listen(t)
			defer l.Close()
			conn := dial(t, l)
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			socket := &corked{Conn: accepted}
			var master sync.WaitGroup
			master.Go(func() {
				defer accepted.Close()
				c := tls.Server(socket, serverConfig)
				for _, answers := range tc.answers {
					_, _ = c.Read(make([]byte, 4096))
					socket.cork = true
					for _, m := range answers {
						_, _ = c.Write([]byte(m))
					}
					_ = socket.flush()
				}
				_, _ = c.Read(make([]byte, 4096))
			})
			o := DefaultClientOptions()
			o.ID, o.Version, o.Type = "a", "0.1.0", "refinery"
			c, err := Handshake(t.Context(), tls.Client(conn, clientConfig), o)
			if err == nil {
				_ = c.Close()
			}
			master.Wait()
			if !errors.Is(err, tc.want) {
				t.Fatalf("Handshake returned %v, want %v", err, tc.want)
			}
			if p, ok := errors.AsType[*ProtocolError](err); ok && (p.Rule != ruleAhead || p.State != tc.state) {
				t.Errorf("Handshake returned %v", p)
			}
		})
	}
}

// corked holds writes back, so that several TLS records leave in one segment.
type corked struct {
	net.Conn
	cork bool
	held []byte
}

func (c *corked) Write(p []byte) (int, error) {
	if !c.cork {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

func (c *corked) flush() error {
	_, err := c.Conn.Write(c.held)
	c.held = nil
	return err
}

func TestWhatIsNoTLSIsRefused(t *testing.T) {
	serverConfig, clientConfig := mutual(t)
	noCertificate := clientConfig.Clone()
	noCertificate.Certificates = nil
	for _, tc := range []struct {
		name string
		talk func(net.Conn)
		want error
	}{
		{"the plaintext protocol", func(c net.Conn) { _, _ = c.Write([]byte(testEstablish)) }, ErrTLS},
		{"garbage", func(c net.Conn) { _, _ = c.Write(make([]byte, 1000)) }, ErrTLS},
		{"no client certificate", func(c net.Conn) { _ = tls.Client(c, noCertificate).Handshake() }, ErrTLS},
		{"a look whether the port is open", func(c net.Conn) { _ = c.Close() }, ErrPeerClosed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refused := make(refusals, 1)
			o := DefaultServerOptions()
			o.TLSConfig, o.OnRefused = serverConfig, refused.hook
			l := listen(t)
			serve(t, l, newRecorder(), o)
			tc.talk(dial(t, l))
			refused.expect(t, tc.want)
		})
	}
}

func TestAStormOfRefineriesAllGetIn(t *testing.T) {
	serverConfig, clientConfig := mutual(t)
	h := newRecorder()
	o := DefaultServerOptions()
	o.TLSConfig, o.MaxHandshakes, o.MaxHandshakesPerSource = serverConfig, 8, 1000
	l := listen(t)
	srv := serve(t, l, h, o)
	const many = 100
	var wg sync.WaitGroup
	release := make(chan struct{})
	var in sync.WaitGroup
	in.Add(many)
	for range many {
		conn := dial(t, l)
		wg.Go(func() {
			co := DefaultClientOptions()
			co.ID, co.Version, co.Type = "a", "0.1.0", "refinery"
			c, err := Handshake(t.Context(), tls.Client(conn, clientConfig), co)
			in.Done()
			if err != nil {
				t.Error(err)
				return
			}
			<-release
			_ = c.Close()
		})
	}
	in.Wait()
	close(release)
	wg.Wait()
	for range many {
		if err := h.cause(t); !errors.Is(err, ErrPeerClosed) {
			t.Errorf("closed with %v", err)
		}
	}
	if got := srv.Stats().Authenticated; got != many {
		t.Errorf("%d were authenticated, want %d", got, many)
	}
}

func TestASessionOverTLSEndsWithTheAlertThatTLSAsksFor(t *testing.T) {
	for _, end := range []struct {
		name string
		by   func(*tls.Conn) error
	}{
		{"conn:close", func(c *tls.Conn) error { _, err := c.Write(wire.Close); return err }},
		{"the end of the peer's side", (*tls.Conn).CloseWrite},
	} {
		h, pipe, conn := enterOverTLS(t, nil)
		if err := end.by(conn); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(pipe); err != nil || len(rest) == 0 {
			t.Errorf("after %s came %d bytes below TLS, and %v", end.name, len(rest), err)
		}
		if err := h.cause(t); !errors.Is(err, ErrPeerClosed) {
			t.Errorf("after %s the session closed with %v", end.name, err)
		}
	}
}

func TestASessionOverTLSOutlivesReadTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serverConfig, clientConfig := mutual(t)
		h := newRecorder()
		o := DefaultServerOptions()
		o.TLSConfig = serverConfig
		l := newPipeListener()
		serve(t, l, h, o)
		co := DefaultClientOptions()
		co.ID, co.Version, co.Type = "a", "0.1.0", "refinery"
		// The read deadline of the refinery passes before it is moved, again and again.
		co.AliveInterval, co.AliveTimeout = 100*time.Millisecond, 2500*time.Millisecond
		beats := make(chan struct{}, 1000)
		co.Load = func() (string, string, bool) {
			select {
			case beats <- struct{}{}:
			default:
			}
			return "ok", "0.5", true
		}
		c, err := Handshake(t.Context(), tls.Client(l.dialFrom("10.0.0.1"), clientConfig), co)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		for range 60 {
			select {
			case <-beats:
			case err := <-ended:
				t.Fatalf("Run returned %v", err)
			}
		}
		synctest.Wait() // the last beat is answered: a pipe holds nothing for a refinery that has stopped reading
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		if err := h.cause(t); !errors.Is(err, ErrPeerClosed) {
			t.Errorf("closed with %v", err)
		}
	})
}
