package conformance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"
)

// probe goes through one opening, to tell a peer that cannot be tested from one that fails cases.
func (s *suite) probe(ctx context.Context, o *Options) error {
	conn, err := s.connect(ctx, usual)
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted before anything was tested")
	}
	if w, ok := conn.(wrapped); ok && errors.Is(err, errNotTLS) {
		return o.withoutTLS(o.peerName(w), err, w.tap.seen())
	}
	if err != nil {
		return o.unreachable(err)
	}
	x := newExchange(ctx, conn, s.peer, s.patience, s.secrets...)
	defer x.close()
	if s.peer == refinery {
		_, err := x.next(time.Now().Add(s.patience))
		return x.foreign(o, err, s.patience)
	}
	return x.probeMaster(o)
}

// unreachable says what was tried, and why there is no connection.
func (o *Options) unreachable(err error) error {
	if o.peer == refinery {
		return err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // The rest names the address once more.
	}
	return fmt.Errorf("%s cannot be reached: %w", o.Address, err)
}

func (x *exchange) probeMaster(o *Options) error {
	m := &masterCases{o: o, members: membersOf(o)}
	x.write(m.message(establish))
	waited := x.patience
	reply, err := x.next(time.Now().Add(x.patience))
	if errors.Is(err, errSilent) && len(x.buf) == 0 {
		x.write("\r\n\r\n") // Many protocols answer a line, if only with an error.
		waited += x.patience
		reply, err = x.next(time.Now().Add(x.patience))
	}
	if err != nil || reply.code != startAuth {
		if err == nil && reply.code == closing {
			return fmt.Errorf("%s refuses id %q, version %q or type %q: give what it lets in", o.Address, o.ID, o.Version, o.Type)
		}
		return x.foreign(o, err, waited)
	}
	x.write(m.message(authStart))
	if reply, err = x.next(time.Now().Add(x.patience)); err == nil && reply.code == authDec {
		return fmt.Errorf("%s denies the certificate: give one that it lets in, with --cert or --auth-cert, and an --id that goes with it", o.Address)
	}
	return nil
}

// foreign returns an error if what came first is not of the protocol, or nothing came. err is that of next, after a wait.
func (x *exchange) foreign(o *Options, err error, waited time.Duration) error {
	came := string(x.buf)
	if message := x.firstReceived(); message != "" {
		came = message
	}
	code, _, _ := strings.Cut(came, separator)
	name := o.peerName(x.conn)
	switch {
	case slices.Contains(codes, code):
		return nil
	case came == "" && errors.Is(err, errEnded):
		return o.endedAtOnce(name, x.endError)
	case came == "" && o.peer == master:
		return fmt.Errorf("%s took the connection and said nothing for %v", name, waited)
	case came == "":
		return fmt.Errorf("%s connected and said nothing for %v", name, waited)
	}
	return fmt.Errorf("%s does not speak the Cluster Protocol%s", name, firstSeen(came))
}

// peerName is what errors call the peer.
func (o *Options) peerName(conn net.Conn) string {
	if o.peer == master {
		return o.Address
	}
	return "the peer at " + conn.RemoteAddr().String()
}

// endedAtOnce says why a peer closed a connection on which it had said nothing. With TLS 1.3 a master refuses a client's
// certificate only when the client takes TLS for established.
func (o *Options) endedAtOnce(name string, err error) error {
	if fault := o.tlsFault(name, err); fault != nil {
		return fault
	}
	switch {
	case o.peer == master && o.Transport == MutualTLS:
		return fmt.Errorf("%s closed the connection behind the TLS handshake, without an alert: does it trust the certificate of --cert?", name)
	case o.peer == master && o.Transport == ServerTLS:
		return fmt.Errorf("%s closed the connection behind the TLS handshake, without an alert: see --transport, it may want a client certificate", name)
	}
	return fmt.Errorf("%s closed the connection without a word: see --transport, or it speaks something else", name)
}

// withoutTLS says why there is no TLS; first is what the peer sent first.
func (o *Options) withoutTLS(name string, err error, first string) error {
	if fault := o.tlsFault(name, err); fault != nil {
		return fault
	}
	if first == "" && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		return fmt.Errorf("no TLS with %s, which closed the connection: see --transport, or it speaks something else", name)
	}
	if looksLikeTLS(first) {
		first = "" // It is what was asked for, and nobody can read it.
	}
	return fmt.Errorf("no TLS with %s: %w%s", name, err, firstSeen(first))
}

// The alerts of TLS (RFC 8446, section 6.2) that are about the certificate of who receives them.
var certificateAlerts = []tls.AlertError{42, 43, 44, 45, 46, 48, 49, certificateRequired}

const certificateRequired tls.AlertError = 116

// tlsFault explains an error of TLS in which one side has refused the other's certificate, or asked for one, or sent another
// alert; nil for any other error.
func (o *Options) tlsFault(name string, err error) error {
	if alert := remoteAlert(err); alert != nil {
		aboutOurs := slices.ContainsFunc(certificateAlerts, func(a tls.AlertError) bool { return a.Error() == alert.Err.Error() })
		switch {
		case aboutOurs && o.own == nil:
			return fmt.Errorf("%s wants a client certificate (%w): test it with --transport=MutualTLS", name, alert)
		case aboutOurs:
			return fmt.Errorf("%s refused the certificate of --cert: %w", name, alert)
		}
		return fmt.Errorf("%s ended TLS: %w", name, alert)
	}
	invalid, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok {
		if o.peer == refinery && err != nil && strings.Contains(err.Error(), "didn't provide a certificate") {
			return fmt.Errorf("%s shows no client certificate: give it one, or see --transport", name)
		}
		return nil
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("%s shows a certificate that no authority of --ca has issued: %w", name, invalid.Err)
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Errorf("%s shows a certificate for another name: %w: see --server-name", name, invalid.Err)
	}
	return fmt.Errorf("%s shows a certificate that cannot be verified with --ca: %w", name, invalid.Err)
}

// remoteAlert returns the alert of TLS that the peer sent; nil if it sent none.
func remoteAlert(err error) *net.OpError {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return op
	}
	return nil
}

func looksLikeTLS(first string) bool {
	return strings.HasPrefix(first, "\x16\x03") || strings.HasPrefix(first, "\x15\x03")
}

// firstSeen says what a peer sent first, and what that looks like.
func firstSeen(first string) string {
	if first == "" {
		return ""
	}
	hint := ""
	switch {
	case looksLikeTLS(first):
		hint = " (TLS: see --transport)"
	case slices.ContainsFunc(codes, func(code string) bool { return strings.HasPrefix(first, code) }):
		hint = " (the protocol without TLS: see --transport)"
	}
	return fmt.Sprintf("; the first bytes it sent: %q%s", first[:min(len(first), firstBytes)], hint)
}
