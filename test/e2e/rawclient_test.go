package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/refinery-operator/refinery-operator/api/v1alpha1"
)

// endMark ends a message, whatever packets it came in.
const endMark = "<EOF>"

// answerTimeout is after how long a raw client gives up on the master's next message: long after the default handshake
// timeout of 10 s, so that a master that answers nothing is seen to close.
const answerTimeout = time.Minute

// rawClient speaks the Cluster Protocol byte by byte, with no code of the product: it can say what the
// product's own client never would.
type rawClient struct {
	conn net.Conn
	rest []byte
}

// message is one message of the protocol: prefix:command and the payload's bytes.
type message struct{ Code, Payload string }

// dialPlain connects without TLS. The client is closed when the spec ends.
func dialPlain(ctx context.Context, m *v1alpha1.ClusterMaster) *rawClient {
	GinkgoHelper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", endpoint(ctx, m))
	Expect(err).NotTo(HaveOccurred())
	c := &rawClient{conn: conn}
	DeferCleanup(func() { c.close() })
	return c
}

// dialTLS connects over TLS 1.3 with these certificates, none included. The error is the handshake's: with
// TLS 1.3 a refused client certificate shows only at the first read.
func dialTLS(ctx context.Context, m *v1alpha1.ClusterMaster, certificates ...tls.Certificate) (*rawClient, error) {
	GinkgoHelper()
	roots := x509.NewCertPool()
	Expect(roots.AppendCertsFromPEM(secret(ctx, m.Namespace, m.CertificateSecretName()).Data[v1alpha1.AuthorityKey])).To(BeTrue())
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    roots,
		ServerName: serverName(m),
		// Sends the certificate even if the master's list of acceptable authorities does not name its signer.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(certificates) == 0 {
				return &tls.Certificate{}, nil
			}
			return &certificates[0], nil
		},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", endpoint(ctx, m))
	if err != nil {
		return nil, err
	}
	c := &rawClient{conn: conn}
	DeferCleanup(func() { c.close() })
	return c, nil
}

func (c *rawClient) close() { _ = c.conn.Close() }

// send writes bytes as they are.
func (c *rawClient) send(bytes string) error {
	_, err := c.conn.Write([]byte(bytes))
	return err
}

// receive reads the next message.
func (c *rawClient) receive() (message, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return message{}, err
	}
	buffer := make([]byte, 4096)
	for {
		if text, rest, ok := strings.Cut(string(c.rest), endMark); ok {
			c.rest = []byte(rest)
			code, payload, ok := strings.Cut(text, ";;")
			if !ok {
				return message{}, fmt.Errorf("no message: %q", text)
			}
			return message{Code: code, Payload: payload}, nil
		}
		n, err := c.conn.Read(buffer)
		c.rest = append(c.rest, buffer[:n]...)
		if err != nil && n == 0 {
			return message{}, err
		}
	}
}

// exchange sends bytes and reads the answer.
func (c *rawClient) exchange(bytes string) (message, error) {
	if err := c.send(bytes); err != nil {
		return message{}, err
	}
	return c.receive()
}

// closed waits until the master has closed the connection, past a conn:close if it sends one. Anything else
// it says is an error.
func (c *rawClient) closed() error {
	got, err := c.receive()
	return c.closedAfter(got, err)
}

func (c *rawClient) closedAfter(got message, err error) error {
	if err == nil {
		if got.Code != "conn:close" {
			return fmt.Errorf("got %s instead of conn:close or the end", got.Code)
		}
		if got, err = c.receive(); err == nil {
			return fmt.Errorf("got %s after conn:close", got.Code)
		}
	}
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return fmt.Errorf("still open: %w", err)
	}
	return nil
}

// refused waits until the master has closed the connection, having granted nothing.
func (c *rawClient) refused() error {
	got, err := c.receive()
	if err == nil && got.Code == "conn:startAuth" {
		return c.closed()
	}
	return c.closedAfter(got, err)
}

func establish(id, version, nodeType string) string {
	return "conn:establish;;" + object("id", id, "version", version, "type", nodeType) + endMark
}

func start(certificate []byte) string {
	return "auth:start;;" + object("cert", strings.TrimSpace(string(certificate))) + endMark
}

// object is a JSON object of strings.
func object(keysAndValues ...string) string {
	values := map[string]string{}
	for i := 0; i < len(keysAndValues); i += 2 {
		values[keysAndValues[i]] = keysAndValues[i+1]
	}
	// json.Marshal escapes '<', so no mark of the protocol stands in a payload.
	text, err := json.Marshal(values)
	Expect(err).NotTo(HaveOccurred())
	return string(text)
}

// attempt goes through the opening as far as the master lets it, and returns the codes that the master sent,
// in order. It acknowledges nothing: the session is authenticated only after acknowledge.
func (c *rawClient) attempt(id string, certificate []byte) []string {
	var codes []string
	for _, request := range []string{establish(id, acceptedVersion, "refinery"), start(certificate)} {
		answer, err := c.exchange(request)
		if err != nil {
			return append(codes, "closed")
		}
		codes = append(codes, answer.Code)
		if answer.Code == "conn:close" {
			return codes
		}
	}
	return codes
}

// acknowledge completes the opening.
func (c *rawClient) acknowledge() {
	GinkgoHelper()
	Expect(c.send("auth:ack;;" + endMark)).To(Succeed())
}

// open goes through the whole opening, which must succeed, and shows that the session lives.
func (c *rawClient) open(id string, certificate []byte) {
	GinkgoHelper()
	Expect(c.attempt(id, certificate)).To(Equal([]string{"conn:startAuth", "auth:ack"}))
	c.acknowledge()
	c.expectAlive()
}

// expectAlive shows that the session is open: conn:alive is answered.
func (c *rawClient) expectAlive() {
	GinkgoHelper()
	answer, err := c.exchange("conn:alive;;" + endMark)
	Expect(err).NotTo(HaveOccurred(), "the session is not alive")
	Expect(answer.Code).To(Equal("conn:alive"))
}
