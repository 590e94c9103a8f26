package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/refinery-operator/refinery-operator/internal/pemtext"
	"github.com/refinery-operator/refinery-operator/protocol"
)

// dialTimeout bounds how long a connection to the master may take. A master whose machine is gone never answers: the sooner the
// node dials again, the sooner it finds the next one.
const dialTimeout = 3 * time.Second

// result is how an attempt to authenticate ended; a label of refinery_agent_handshakes_total.
type result string

const (
	resultAuthenticated  result = "authenticated"
	resultDenied         result = "denied"
	resultVersionRefused result = "version_refused"
	resultUnreachable    result = "unreachable"
	resultTLS            result = "tls_failed"
	resultTimeout        result = "timeout"
	resultClosed         result = "closed"
	resultProtocol       result = "protocol_error"
	resultUpstream       result = "upstream_unusable"
	resultNetwork        result = "network_error"
)

var results = []result{
	resultAuthenticated, resultDenied, resultVersionRefused, resultUnreachable, resultTLS,
	resultTimeout, resultClosed, resultProtocol, resultUpstream, resultNetwork,
}

// errDial and errTLS mark the step in which an attempt failed.
var (
	errDial = errors.New("the master cannot be reached")
	errTLS  = errors.New("TLS with the master failed")
)

// DialFunc is net.Dialer's DialContext.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// connector makes one authenticated session: dial, TLS, handshake.
type connector struct {
	config    Config
	dial      DialFunc
	publisher *publisher
	loads     *loads
}

// attemptTimeout is the most that connect takes.
const attemptTimeout = dialTimeout + handshakeTimeout

const (
	// handshakeTimeout bounds TLS and the protocol's opening together.
	handshakeTimeout = 10 * time.Second
	// lateAfter is how late an answer may be before the node looks for another master.
	lateAfter = 3 * time.Second
	// lateTimeout is handshakeTimeout for that: it may have reached the same master again, which is frozen.
	lateTimeout = 4 * time.Second
)

// connect returns an authenticated client whose Run has not been called.
func (c *connector) connect(ctx context.Context, a *attempt) (*protocol.Client, error) {
	number, creds := a.number, a.credentials
	conn, err := c.reach(ctx, creds.master.Address)
	if err != nil {
		return nil, unreached{creds.master.Address, err}
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if config := creds.tlsConfig(c.config.serverName(creds.master)); config != nil {
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // it has failed already
			return nil, fmt.Errorf("%w: %w", errTLS, err)
		}
		conn = secured
	}
	options := protocol.DefaultClientOptions()
	options.ID, options.Type, options.Version = c.config.ID, c.config.Type, c.config.Version
	options.Certificate = creds.proof
	options.AliveInterval, options.AliveTimeout = creds.master.AliveInterval, creds.master.AliveTimeout
	options.OnUpstream = func(upstream string) error {
		if err := c.publisher.publish(number, upstream); err != nil {
			return err
		}
		a.granted.Store(true)
		return nil
	}
	options.Load = c.loads.report
	if creds.master.AliveTimeout >= 4*lateAfter { // otherwise the session is over soon anyway
		options.LateAfter = lateAfter
		options.OnLate = func() {
			select {
			case a.late <- struct{}{}:
			default: // it has been told
			}
		}
	}
	client, err := protocol.Handshake(ctx, conn, options)
	if errors.Is(err, protocol.ErrDenied) && creds.certificate != nil {
		return nil, deniedWith{err, creds.certificate.Leaf}
	} else if err != nil {
		return nil, err
	}
	if err := c.publisher.adopt(number, client.Upstream()); err != nil {
		_ = client.Close() // the error to tell is the one before
		return nil, err
	}
	return client, nil
}

// reach dials, for a bounded time.
func (c *connector) reach(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return c.dial(ctx, "tcp", address)
}

// unreached says where no connection could be made.
type unreached struct {
	address string
	cause   error
}

// Error says why.
func (u unreached) Error() string { return fmt.Sprintf("%v: %v", errDial, u.cause) }

// Unwrap returns what it is, and why.
func (u unreached) Unwrap() []error { return []error{errDial, u.cause} }

// classify maps the error of connect, or of a session, to its result.
func classify(err error) result {
	switch {
	case err == nil:
		return resultAuthenticated
	case errors.Is(err, errDial):
		return resultUnreachable
	case errors.Is(err, errTLS), isAlert(err):
		return resultTLS // in TLS 1.3 the peer's refusal of a certificate comes with the first read
	case errors.Is(err, protocol.ErrDenied):
		return resultDenied
	case errors.Is(err, protocol.ErrVersionRefused):
		return resultVersionRefused
	case errors.Is(err, errUpstream):
		return resultUpstream
	case errors.Is(err, protocol.ErrHandshakeTimeout), errors.Is(err, context.DeadlineExceeded):
		return resultTimeout
	case errors.Is(err, protocol.ErrPeerClosed):
		return resultClosed
	case errors.Is(err, protocol.ErrProtocol):
		return resultProtocol
	}
	return resultNetwork
}

// isAlert reports whether the master has ended TLS, as it does with a certificate that it does not accept.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// deniedWith is a denial of a node that presented a certificate.
type deniedWith struct {
	error
	certificate *x509.Certificate
}

// Unwrap returns the denial.
func (d deniedWith) Unwrap() error { return d.error }

// validity says when a certificate is valid.
func validity(c *x509.Certificate) string {
	return "valid from " + c.NotBefore.UTC().Format(time.RFC3339) + " to " + c.NotAfter.UTC().Format(time.RFC3339)
}

// refused reports whether the master has refused the node itself, and not only could not be reached.
func refused(err error) bool { return errors.Is(err, protocol.ErrDenied) || isAlert(err) }

// explain is the reason for people. The names of a forged certificate may be in it, so it is escaped and bounded.
func (c *connector) explain(err error) string { return pemtext.Printable(c.reason(err)) }

// reason is the same text for the same failure, so without the ports of single connections.
func (c *connector) reason(err error) string {
	const denied = "denied by the master (auth:dec); its log and the status of the Refinery say why"
	var op *net.OpError
	with, presented := errors.AsType[deniedWith](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	at, _ := errors.AsType[unreached](err)
	switch r := classify(err); {
	case r == resultDenied && presented:
		return denied + "; the node's certificate is " + validity(with.certificate)
	case r == resultDenied:
		return denied
	case isInvalid && invalid.Reason == x509.Expired:
		return fmt.Sprintf("%v: a certificate of the master is %s, which is not now by the clock of this machine", errTLS, validity(invalid.Cert))
	case r == resultVersionRefused:
		return fmt.Sprintf("refused by the master before authentication (conn:close); it does not accept version %q, type %q or id %q",
			c.config.Version, c.config.Type, c.config.ID)
	case !errors.As(err, &op):
		return err.Error()
	case r == resultUnreachable:
		return fmt.Sprintf("%v at %s: %v", errDial, at.address, op.Err)
	case r == resultTLS:
		return fmt.Sprintf("%v: %s: %v", errTLS, op.Op, op.Err)
	default:
		return fmt.Sprintf("%s: %v", op.Op, op.Err)
	}
}
